// The observers of one key at this daemon. However many there are, the nodes see one.
//
// It reads the key from the nodes at once, when a node announces a change, when the holder's TTL
// has passed, each time a subscription to a node is established, and at intervals, because
// announcements can be lost.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "server/core/backoff.h"
#include "server/core/keys/announcements.h"
#include "server/core/keys/observed_state.h"
#include "server/core/rounds/inspection.h"

namespace redlock {

// Receives the first state of a key and every change, never inside the call that starts to observe.
using ObserverTold = std::function<void(const ObservedPtr&)>;

// Strand-confined.
class Observation final : public std::enable_shared_from_this<Observation> {
 public:
  // `ended` is called when the last observer has left. It may drop this object.
  Observation(const Environment& env, Key key, std::function<void()> ended);
  ~Observation();
  Observation(const Observation&) = delete;
  Observation& operator=(const Observation&) = delete;

  // Returns a handle. After the handle is dropped, the observer receives nothing more. The handle
  // may outlive this object.
  [[nodiscard]] std::shared_ptr<void> Join(ObserverTold told);
  [[nodiscard]] std::size_t observers() const { return observers_.size(); }

  void OnListening();
  void OnAnnounced() { ReadAt(env_.scheduler.Now()); }

 private:
  struct Observer {
    ObservedState state;
    std::shared_ptr<const ObserverTold> told;
    bool is_new = true;  // joined since the last read began
  };

  void Leave(std::uint64_t observer);
  void ReadAt(MonotonicTime when);
  void Read();
  void OnRead(InspectResult result);
  void Tell(const ObservedPtr& seen);
  // When to read next if nothing is announced until then.
  [[nodiscard]] MonotonicTime NextRead(const Observed& seen);

  const Environment& env_;
  const Key key_;
  const std::function<void()> ended_;
  std::map<std::uint64_t, Observer> observers_;
  std::uint64_t last_observer_ = 0;
  std::optional<Subscription> subscription_;
  bool reading_ = false;
  std::weak_ptr<Inspection> read_;     // the last one
  bool read_again_ = false;            // the key may have changed since the read under way began
  MonotonicTime began_{};              // the last read
  Backoff backoff_;                    // between reads that find no quorum
  std::optional<MonotonicTime> next_;  // read
  TimerHandle timer_;
};

}  // namespace redlock
