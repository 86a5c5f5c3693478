//go:build !linux && !darwin

package redlockd

import (
	"time"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

var start = time.Now()

// systemNow returns the monotonic clock of Go's runtime. On Windows it counts suspend time. On other systems it may not:
// there, a process that is suspended while it holds a lock may trust the lock for too long.
func systemNow() core.Instant { return core.Instant(time.Since(start)) }
