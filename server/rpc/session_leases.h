// The leases of a Session on all shards, and the silence after which they are released. Lives on
// when the stream has broken, until the client's disconnect_grace is over.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "server/core/leases/lease_set.h"
#include "server/core/leases/silence_timer.h"
#include "server/rpc/stream_registry.h"
#include "server/runtime/shard_thread.h"

namespace redlock::rpc {

// Shared by the stream and by the work that is posted to shards. From any thread, unless said.
class SessionLeases final : public Lingering, public std::enable_shared_from_this<SessionLeases> {
 public:
  // `home`: in whose turns the stream's messages are read. `registry` owns the leases while they
  // wait for the end of the grace. All must outlive this object.
  SessionLeases(runtime::ShardPool& shards, EventLoop& home, StreamRegistry& registry);

  // In turns of the home loop, once. From now on, silence of that length releases the leases and
  // calls `silent`.
  void SetGrace(Duration grace, std::function<void()> silent);
  // A message has been read. Likewise.
  void OnRead();

  // Does `work` with the leases on one shard, in its turns, unless the stream has ended by then.
  template <typename Work>
  void Do(std::size_t shard, LeaseSet::Listener& listener, Source source, Work work);

  // The stream broke; only the first call counts. Its leases expire, or are released once the grace
  // is over. `listener` is kept until no shard refers to it any more.
  void Break(std::shared_ptr<void> listener);
  // Only the first call counts. `done` is called once in any thread, after the last release, and is
  // kept until no shard refers to the listener.
  void End(StreamEnd end, std::function<void()> done);
  void Expel() override;

 private:
  struct Part {
    runtime::ShardThread* thread = nullptr;
    std::shared_ptr<LeaseSet> leases;  // in the shard's turns only
    bool closed = false;               // likewise: nothing is begun any more
  };

  EventLoop& home_;
  StreamRegistry& registry_;
  std::vector<Part> parts_;  // one a shard; the vector is constant
  std::mutex mutex_;
  bool has_grace_ = false;               // under the mutex
  bool broken_ = false;                  // likewise
  bool ended_ = false;                   // likewise
  std::optional<SilenceTimer> silence_;  // in turns of the home loop only
};

template <typename Work>
void SessionLeases::Do(std::size_t shard, LeaseSet::Listener& listener, Source source, Work work) {
  parts_[shard].thread->Do([self = shared_from_this(), shard, &listener, source,
                            work = std::move(work)](Shard& core) mutable {
    Part& part = self->parts_[shard];
    if (part.closed) return;
    if (!part.leases) part.leases = std::make_shared<LeaseSet>(core, listener, source);
    work(*part.leases);
  });
}

}  // namespace redlock::rpc
