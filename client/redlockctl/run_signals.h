// The signals of `redlockctl run`.
#pragma once

#include <signal.h>

#include <chrono>
#include <optional>

namespace redlockctl {

// Those that are passed on to the command, except the ones that this process was started to ignore,
// for example by nohup.
[[nodiscard]] sigset_t SignalsToPassOn();
// Whether the signal ends a process by default, and so gives up waiting for the lock.
[[nodiscard]] bool EndsProcess(int signal);
// Waits for one of the signals, which must be blocked. Returns 0 if none arrives within `patience`.
[[nodiscard]] int NextSignal(const sigset_t& signals,
                             std::optional<std::chrono::nanoseconds> patience);

}  // namespace redlockctl
