// Invariants of the state machine. A client whose own state contradicts itself must not go on: it
// could trust a lock that another client holds.
#pragma once

#include <cstdio>
#include <cstdlib>

// Active in every build.
#define REDLOCK_CHECK(condition)                                                           \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      std::fprintf(stderr, "redlock client: %s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                        \
    }                                                                                      \
  } while (false)
