package redlockd

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// logger contains the panics of a caller's handler. It is never used under a mutex: a handler may call the client.
type logger struct{ to *slog.Logger }

func newLogger(to *slog.Logger) logger {
	if to == nil {
		to = slog.New(slog.DiscardHandler)
	}
	return logger{to}
}

func (l logger) log(level slog.Level, event string, fields ...any) {
	defer func() { _ = recover() }() // there is no place to report it
	l.to.Log(context.Background(), level, "redlockd: "+event, fields...)
}

// contain is deferred by functions that run the caller's code. It returns the panic, if there was one.
func (l logger) contain(what string, problem any) {
	if problem != nil {
		l.log(slog.LevelError, what+" panicked", "panic", fmt.Sprint(problem), "stack", string(debug.Stack()))
	}
}
