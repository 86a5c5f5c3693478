//go:build go1.20

package redlockd

import "context"

// withCause: context.Cause tells why it was cancelled.
func withCause(parent context.Context) (context.Context, func(error)) {
	ctx, cancel := context.WithCancelCause(parent)
	return ctx, cancel
}
