// An observer: who holds a key, and every change.
//
//   auto observer = client.observe("scheduler");
//   while (auto state = observer->next()) {
//     if (state->state == HolderState::kHeld) use(state->value, state->fencing_token);
//   }
//
// Compare the fencing token before you use a value: the holder with the higher one is the later
// one. kUndecided means that the state is unknown; the last holder may still hold the key.
#pragma once

#include <redlock/result.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace redlock::client {

enum class HolderState {
  kHeld,       // a quorum of nodes names the same holder with the same fencing token
  kVacant,     // a quorum of nodes has no holder
  kUndecided,  // neither could be confirmed in time: the key may be held
};
// The name of the state, such as "HELD".
[[nodiscard]] REDLOCK_API const char* to_string(HolderState state);

// One holder of a key. Texts are those of another client: escape them for a terminal.
struct Holder {
  std::string owner;     // the label, or empty
  std::string identity;  // the authenticated caller; empty: unknown
  std::string peer;      // its address as the daemon saw it; empty: unknown
  std::string daemon;    // the daemon that granted the lock; empty: unknown
  std::uint64_t fencing_token = 0;
  int slot = 0;                      // of a semaphore
  std::optional<Duration> held_for;  // unset: unknown
  Duration remaining{};              // until the lock expires unless it is extended
  std::string value;                 // that the holder publishes
};

// Durations count from the arrival of the state. The fields after `state` are set for kHeld only,
// unless stated otherwise.
struct KeyState {
  HolderState state = HolderState::kUndecided;
  int holders = 0;    // more than 1 only if they share the key, or if it is a semaphore
  std::string owner;  // the label of the exclusive holder
  std::string value;  // that the exclusive holder publishes
  // Of the holder, or the highest of the holders. Never decreases within an observer.
  std::uint64_t fencing_token = 0;
  std::optional<Duration> held_for;  // by the exclusive holder; unset: unknown
  Duration remaining{};              // until the lock expires unless it is extended
  std::vector<Holder> held_by;       // in the order of their fencing tokens
  bool shared = false;               // the holders share the key
  int max_holders = 0;               // of a semaphore; 0: it is a lock
  // For kVacant: how long nobody will get the key, because of ReleaseOptions::keep_for or
  // AcquireOptions::lock_delay. 0: it is free.
  Duration kept_for{};
  // For kUndecided: why. kQuorumUnavailable: the daemon says so. kUnreachable: no daemon answers.
  Error error;
};

class Driver;

// Ends when it is destroyed. It reconnects automatically, also to other endpoints. Thread-safe,
// except for moves and the destructor. Movable; a moved-from object may only be destroyed or
// assigned to.
class [[nodiscard]] REDLOCK_API Observer {
 public:
  Observer(Observer&&) noexcept;
  Observer& operator=(Observer&&) noexcept;
  ~Observer();

  // Waits for the next state, at most for `wait`, and returns it. The first one comes at once or,
  // if nothing can be decided, after 1 to 2 seconds. A slow caller gets only the latest
  // state. Fails with kDeadlineExceeded after `wait`; the observer goes on. Any other
  // error is the end, and every later call returns it: kCancelled after close() or when the client
  // was destroyed, or why the daemon does not let this client observe the key.
  Result<KeyState> next(std::optional<Duration> wait = {});
  // Ends the observer and the call of next() that waits.
  void close();

 private:
  friend class Client;
  Observer(std::shared_ptr<Driver> driver, std::uint64_t id);
  void Drop();

  std::shared_ptr<Driver> driver_;
  std::uint64_t id_ = 0;
};

}  // namespace redlock::client
