// Checks of the invariants that the code relies on.
//
// A failed check is a fault in the code. The process ends at once with a message: to go on could
// give one lock to two holders, while a daemon that ends only makes its clients reconnect, and
// their leases expire. What the environment can cause (a node, the network, a client, a full disk)
// is an error and never a check.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace redlock::internal {

[[noreturn]] inline void FailCheck(const char* condition, const char* file, int line) {
  alarm(1);  // ends the process if standard error takes nothing
  std::fprintf(stderr, "redlockd: check failed at %s:%d: %s\n", file, line, condition);
  std::abort();
}

}  // namespace redlock::internal

// Always on.
#define REDLOCK_CHECK(condition)      \
  ((condition) ? static_cast<void>(0) \
               : ::redlock::internal::FailCheck(#condition, __FILE__, __LINE__))

// On in builds for development, for tests and with sanitizers (REDLOCK_DEBUG_CHECKS). For what is
// checked on every call of a hot function.
#ifdef REDLOCK_DEBUG_CHECKS
#define REDLOCK_DCHECK(condition) REDLOCK_CHECK(condition)
#else
#define REDLOCK_DCHECK(condition) static_cast<void>(sizeof(!(condition)))
#endif
