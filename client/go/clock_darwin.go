package redlockd

import (
	"golang.org/x/sys/unix"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

// systemNow returns a time that counts suspend time, because locks also expire during a suspend. On Darwin,
// CLOCK_MONOTONIC counts it; the clock of Go's runtime does not.
func systemNow() core.Instant {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic("redlockd: the system has no CLOCK_MONOTONIC: " + err.Error())
	}
	return core.Instant(now.Nano())
}
