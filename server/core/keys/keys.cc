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
  const State& it = state->second;
  if (it.releases == 0 && !it.contention) states_.erase(state);
}

void Keys::ForgetWaiters() {
  for (auto& [key, state] : states_) state.contention.reset();
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
  ReleaseOperation::Start(env_, registry_, std::move(command),
                          [this, key, done = std::move(done)](ReleaseResult result) {
                            key.ForEachKey([&](const Key& one) { OnReleased(one, result); });
                            done(std::move(result));
                          });
  key.ForEachKey([this](const Key& one) { OnReleaseBegins(one); });
}

void Keys::OnReleaseBegins(const Key& key) {
  State& state = states_[key.value()];
  ++state.releases;
  if (state.contention) state.contention->OnReleaseBegins();
}

void Keys::OnReleased(const Key& key, const ReleaseResult& result) {
  const auto state = states_.find(key.value());
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
  const bool releasing = found->second.releases > 0;
  found->second.contention->OnAnnounced(node, releasing);
}

}  // namespace redlock
