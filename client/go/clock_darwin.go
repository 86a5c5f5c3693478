package redlockd

import (
	"golang.org/x/sys/unix"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

// systemNow counts the time of a suspend: a lock expires during a suspend, too. CLOCK_MONOTONIC does so on Darwin, unlike
// the clock of Go's runtime there.
func systemNow() core.Instant {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic("redlockd: the system has no CLOCK_MONOTONIC: " + err.Error())
	}
	return core.Instant(now.Nano())
}
