//go:build go1.20

package redlockd

import "context"

// withCause derives a context whose context.Cause is the error passed to the cancel function.
func withCause(parent context.Context) (context.Context, func(error)) {
	ctx, cancel := context.WithCancelCause(parent)
	return ctx, cancel
}
