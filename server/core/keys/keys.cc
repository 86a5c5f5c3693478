#include "server/core/keys/keys.h"

#include <utility>

#include "server/core/check.h"

namespace redlock {

Contention* Keys::Find(const Key& key) const {
  const auto found = states_.find(key.value());
  return found == states_.end() ? nullptr : found->second.contention.get();
}

Contention& Keys::Get(const Key& key) {
  auto& contention = states_[key.value()].contention;
  if (!contention) {
    contention =
        std::make_shared<Contention>(env_, registry_, key, [this, key] { OnContentionEnded(key); });
  }
  return *contention;
}

void Keys::OnContentionEnded(const Key& key) {
  const auto state = states_.find(key.value());
  REDLOCK_CHECK(state != states_.end());
  // It is the caller, so it lives until this call returns.
  const std::shared_ptr<Contention> last = std::exchange(state->second.contention, nullptr);
  ForgetIfIdle(state);
}

void Keys::ForgetIfIdle(States::iterator state) {
  if (state->second.releases == 0 && !state->second.contention) states_.erase(state);
}

void Keys::ForgetWaiters() {
  for (auto& [key, state] : states_) state.contention.reset();
}

std::size_t Keys::waiters() const {
  std::size_t sum = 0;
  for (const auto& [key, state] : states_) {
    if (state.contention) sum += state.contention->queue().size();
  }
  return sum;
}

void Keys::Release(ReleaseCommand command, ReleaseDone done) {
  if (Contention* const contention = Find(command.key)) {
    if (!command.at_end_of && contention->TakeOver(command.token, done)) return;
    contention->OnReleaseBegins();
  }
  const Key key = command.key;
  ReleaseOperation::Start(env_, registry_, std::move(command),
                          [this, key, done = std::move(done)](ReleaseResult result) {
                            OnReleased(key, result.listeners);
                            done(std::move(result));
                          });
  ++states_[key.value()].unanswered;
}

void Keys::OnReleased(const Key& key, int listeners) {
  State& state = states_.at(key.value());
  REDLOCK_CHECK(state.unanswered > 0);
  --state.unanswered;
  if (listeners > 0) {
    Get(key).OnReleased(listeners);
  } else if (state.contention) {
    state.contention->OnReleased(0);
  }
}

void Keys::End(const Key& key) {
  const auto state = states_.find(key.value());
  REDLOCK_CHECK(state != states_.end() && state->second.releases > 0);
  --state->second.releases;
  ForgetIfIdle(state);
}

bool Keys::Contains(const Key& key) const {
  const auto found = states_.find(key.value());
  return found != states_.end() && found->second.releases > 0;
}

void Keys::OnListening(NodeIndex node, const Key& key) {
  if (Contention* const contention = Find(key)) contention->OnListening(node);
}

void Keys::OnDeaf(NodeIndex node) {
  for (const auto& [key, state] : states_) {
    if (state.contention) state.contention->OnDeaf(node);
  }
}

void Keys::OnAnnounced(NodeIndex node, const Key& key) {
  const auto found = states_.find(key.value());
  if (found == states_.end() || !found->second.contention) return;
  const bool releasing = found->second.unanswered > 0;
  found->second.contention->OnAnnounced(node, releasing);
}

}  // namespace redlock
