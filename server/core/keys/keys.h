// What a shard remembers of its keys, the releases of keys, and who observes them.
#pragma once

#include <cstddef>
#include <memory>
#include <unordered_map>

#include "server/core/keys/contention.h"
#include "server/core/keys/observation.h"
#include "server/core/rounds/release.h"

namespace redlock {

// The only owner of what belongs to one key. A key is remembered while a release of it is under
// way, while somebody observes it, or while somebody waits for it, and for a moment longer.
// Strand-confined.
class Keys final : public AnnouncementSink {
 public:
  // They must outlive this object. It must outlive the operations in the registry.
  explicit Keys(const Environment& env) : env_(env) {}

  // Of one key. Null if nobody waits for it.
  [[nodiscard]] Contention* Find(const Key& key) const;
  [[nodiscard]] Contention& Get(const Key& key);
  // Forgets who waits for the keys and who observes them, and ends the subscriptions. The releases
  // under way remain.
  void ForgetCallers();
  // Visits a waiter once, however many keys it waits for.
  void ForEachWaiter(auto visit) const {
    for (const auto& [key, state] : states_) {
      if (!state.contention) continue;
      const Contention& contention = *state.contention;
      contention.queue().ForEach([&](const Acquisition& waiter, std::size_t position) {
        if (waiter.IsWokenBy(contention)) visit(waiter, position);
      });
    }
  }

  // Releases the key or keys, or hands it over if somebody waits for exactly the same at this
  // daemon. A slot is handed over only if the command names it. At the end of a stream there is no
  // hand-over, because it would not look at the stream that the lease belongs to. `done` is called
  // once, never inside this call.
  void Release(ReleaseCommand command, ReleaseDone done);

  // Observes a single key, see Observation::Join().
  [[nodiscard]] std::shared_ptr<void> Observe(const Key& key, ObserverTold told);
  // Visits every key.
  [[nodiscard]] std::size_t observers() const;

  void OnListening(NodeIndex node, Topic topic, const Key& key) override;
  void OnDeaf(NodeIndex node) override;
  void OnAnnounced(NodeIndex node, Topic topic, const Key& key) override;

 private:
  struct State {
    std::size_t releases = 0;  // without a hand-over, and not decided yet
    std::shared_ptr<Contention> contention;
    std::shared_ptr<Observation> observation;
  };
  using States = std::unordered_map<Key, State, HashText>;

  // Of one key.
  void OnReleaseBegins(const Key& key);
  void OnReleased(const Key& key, const ReleaseResult& result);
  void OnContentionEnded(const Key& key);
  void OnObservationEnded(const Key& key);
  void ForgetIfIdle(States::iterator state);

  const Environment& env_;
  ProbePace pace_;
  States states_;
};

}  // namespace redlock
