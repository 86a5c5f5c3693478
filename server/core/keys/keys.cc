#include "server/core/keys/keys.h"

#include <utility>

#include "server/core/check.h"

namespace redlock {

Contention* Keys::Find(const Key& key) const {
  const auto found = states_.find(key);
  return found == states_.end() ? nullptr : found->second.contention.get();
}

Contention& Keys::Get(const Key& key) {
  auto& contention = states_[key].contention;
  if (!contention) {
    contention =
        std::make_shared<Contention>(env_, pace_, key, [this, key] { OnContentionEnded(key); });
  }
  return *contention;
}

void Keys::OnContentionEnded(const Key& key) {
  const auto state = states_.find(key);
  REDLOCK_CHECK(state != states_.end());
  // It is the caller, so it lives until this call returns.
  const std::shared_ptr<Contention> last = std::exchange(state->second.contention, nullptr);
  ForgetIfIdle(state);
}

void Keys::ForgetIfIdle(States::iterator state) {
  const State& it = state->second;
  if (it.releases == 0 && !it.contention && !it.observation) states_.erase(state);
}

void Keys::ForgetCallers() {
  for (auto& [key, state] : states_) {
    state.contention.reset();
    state.observation.reset();
  }
}

std::shared_ptr<void> Keys::Observe(const Key& key, ObserverTold told) {
  auto& observation = states_[key].observation;
  if (!observation) {
    observation =
        std::make_shared<Observation>(env_, key, [this, key] { OnObservationEnded(key); });
  }
  return observation->Join(std::move(told));
}

void Keys::OnObservationEnded(const Key& key) {
  const auto state = states_.find(key);
  REDLOCK_CHECK(state != states_.end());
  // It is the caller, so it lives until this call returns.
  const std::shared_ptr<Observation> last = std::exchange(state->second.observation, nullptr);
  ForgetIfIdle(state);
}

std::size_t Keys::observers() const {
  std::size_t count = 0;
  for (const auto& [key, state] : states_) {
    if (state.observation) count += state.observation->observers();
  }
  return count;
}

void Keys::Release(ReleaseCommand command, ReleaseDone done) {
  const Key key = command.key.Exclusive();  // the nodes know how the token holds it
  if (!command.at_end_of && command.keep_for == Duration()) {
    // A waiter for exactly these keys is in the queue of each.
    Contention* contention = nullptr;
    key.ForEachKey([&](const Key& one) { contention = Find(one); });
    const Key& released = command.key.IsSemaphore() ? command.key : key;
    if (contention != nullptr && contention->TakeOver(released, command.token, done)) return;
  }
  command.key = key;
  ReleaseOperation::Start(env_, std::move(command),
                          [this, key, done = std::move(done)](ReleaseResult result) {
                            key.ForEachKey([&](const Key& one) { OnReleased(one, result); });
                            done(std::move(result));
                          });
  key.ForEachKey([this](const Key& one) { OnReleaseBegins(one); });
}

void Keys::OnReleaseBegins(const Key& key) {
  State& state = states_[key];
  ++state.releases;
  if (state.contention) state.contention->OnReleaseBegins();
}

void Keys::OnReleased(const Key& key, const ReleaseResult& result) {
  const auto state = states_.find(key);
  REDLOCK_CHECK(state != states_.end() && state->second.releases > 0);
  --state->second.releases;
  if (result.listeners > 0) {
    Get(key).OnReleased(result);
  } else if (state->second.contention) {
    state->second.contention->OnReleased(result);
  } else {
    ForgetIfIdle(state);
  }
}

void Keys::OnListening(NodeIndex node, Topic topic, const Key& key) {
  const auto found = states_.find(key);
  if (found == states_.end()) return;
  const State& state = found->second;
  if (topic == Topic::kChanges) {
    if (state.observation) state.observation->OnListening();
  } else if (state.contention) {
    state.contention->OnListening(node);
  }
}

void Keys::OnDeaf(NodeIndex node) {
  for (const auto& [key, state] : states_) {
    if (state.contention) state.contention->OnDeaf(node);
  }
}

void Keys::OnAnnounced(NodeIndex node, Topic topic, const Key& key) {
  const auto found = states_.find(key);
  if (found == states_.end()) return;
  const State& state = found->second;
  if (topic == Topic::kChanges) {
    if (state.observation) state.observation->OnAnnounced();
  } else if (state.contention) {
    state.contention->OnAnnounced(node, state.releases > 0);
  }
}

}  // namespace redlock
