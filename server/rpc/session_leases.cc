#include "server/rpc/session_leases.h"

#include <atomic>
#include <utility>

namespace redlock::rpc {

SessionLeases::SessionLeases(runtime::ShardPool& shards, EventLoop& home, StreamRegistry& registry)
    : home_(home), registry_(registry), parts_(shards.shards().size()) {
  for (std::size_t i = 0; i < parts_.size(); ++i) parts_[i].thread = shards.shards()[i].get();
}

void SessionLeases::SetGrace(Duration grace, std::function<void()> silent) {
  {
    const MutexLock lock(mutex_);
    if (ended_) return;
    has_grace_ = true;
  }
  silence_.emplace(home_, grace, [weak = weak_from_this(), silent = std::move(silent)] {
    const auto self = weak.lock();
    if (!self) return;
    self->End(StreamEnd::kSilent, [] {});
    silent();
  });
}

void SessionLeases::OnRead() {
  if (silence_) silence_->OnRead();
}

void SessionLeases::Recheck() {
  for (Part& part : parts_) {
    part.thread->Do([self = shared_from_this(), &part](Shard&) {
      if (part.leases) part.leases->Recheck();
    });
  }
}

void SessionLeases::Break(std::shared_ptr<void> listener) {
  bool waits_for_silence = false;
  {
    const MutexLock lock(mutex_);
    if (ended_ || std::exchange(broken_, true)) return;
    waits_for_silence = has_grace_ && registry_.Linger(shared_from_this());
  }
  if (!waits_for_silence) {
    End(StreamEnd::kBroken, [listener = std::move(listener)] {});
    return;
  }
  // A Session that holds nothing ends at once. The deleter runs when the last part has dropped
  // `holds`.
  const auto holds = std::shared_ptr<std::atomic<bool>>(
      new std::atomic<bool>(false),
      [self = shared_from_this(), listener = std::move(listener)](std::atomic<bool>* any) {
        if (!*any) self->End(StreamEnd::kBroken, [listener] {});
        delete any;
      });
  for (Part& part : parts_) {
    part.thread->Do([self = shared_from_this(), &part, holds](Shard&) {
      part.closed = true;
      if (!part.leases) return;
      part.leases->Break(true);
      if (part.leases->size() > 0) *holds = true;
    });
  }
}

void SessionLeases::End(StreamEnd end, std::function<void()> done) {
  {
    const MutexLock lock(mutex_);
    if (std::exchange(ended_, true)) return;
  }
  registry_.StopLingering(this);
  // `done` is called when the last part has dropped `all`.
  const auto all = std::shared_ptr<void>(nullptr, [done = std::move(done)](void*) { done(); });
  for (Part& part : parts_) {
    part.thread->Do([self = shared_from_this(), &part, end, all](Shard&) {
      part.closed = true;
      if (const auto leases = std::exchange(part.leases, nullptr)) leases->End(end, [all] {});
    });
  }
  home_.Post([self = shared_from_this()] { self->silence_.reset(); });
}

void SessionLeases::Expel() {
  End(StreamEnd::kShutDown, [] {});
}

}  // namespace redlock::rpc
