package redlockd

import (
	"golang.org/x/sys/unix"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

// systemNow counts the time of a suspend: a lock expires during a suspend, too.
func systemNow() core.Instant {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		panic("redlockd: the system has no CLOCK_BOOTTIME: " + err.Error())
	}
	return core.Instant(now.Nano())
}
