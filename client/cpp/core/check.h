// Checks the invariants of the state machine. A client whose state is inconsistent must not
// continue, because it could trust a lock that another client holds.
#pragma once

#include <cstdio>
#include <cstdlib>

// Aborts the process if `condition` is false, in every build.
#define REDLOCK_CHECK(condition)                                                           \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      std::fprintf(stderr, "redlock client: %s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                        \
    }                                                                                      \
  } while (false)
