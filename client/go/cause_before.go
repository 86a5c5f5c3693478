//go:build !go1.20

package redlockd

import "context"

// withCause drops the error: before Go 1.20 a context has no cause. Lock.Err returns it.
func withCause(parent context.Context) (context.Context, func(error)) {
	ctx, cancel := context.WithCancel(parent)
	return ctx, func(error) { cancel() }
}
