// The leases of a Session on all shards, and the timer that releases them when the client is
// silent. Outlives a broken stream until the client's disconnect_grace is over.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "server/core/leases/lease_set.h"
#include "server/core/leases/silence_timer.h"
#include "server/rpc/stream_registry.h"
#include "server/runtime/shard_thread.h"
#include "server/sync/mutex.h"

namespace redlock::rpc {

// Shared by the stream and by the work that is posted to shards. Thread-safe, unless noted
// otherwise.
class SessionLeases final : public Lingering, public std::enable_shared_from_this<SessionLeases> {
 public:
  // `home`: the loop on whose strand the stream's messages are read. `registry` owns this object
  // while it waits for the end of the grace. All must outlive this object.
  SessionLeases(runtime::ShardPool& shards, EventLoop& home, StreamRegistry& registry);

  // Starts the silence timer: if no message is read for `grace`, the leases are released and
  // `silent` is called. On the home loop's strand, once.
  void SetGrace(Duration grace, std::function<void()> silent);
  // Restarts the silence timer, because a message has been read. On the home loop's strand.
  void OnRead();

  // Calls `work` with the leases on one shard, on that shard's strand, unless the stream has ended
  // by then. `recorder` may be null.
  template <typename Work>
  void Do(std::size_t shard, LeaseSet::Listener& listener, Source source,
          std::shared_ptr<LeaseRecorder> recorder, Work work);

  // See LeaseSet::Recheck().
  void Recheck();
  // Call when the stream has broken; only the first call counts. The leases expire, or are released
  // once the grace is over. Keeps `listener` until no shard refers to it any more.
  void Break(std::shared_ptr<void> listener);
  // Ends the leases; only the first call counts. Calls `done` once, on any thread, after the last
  // release. Keeps `done` until no shard refers to the listener any more.
  void End(StreamEnd end, std::function<void()> done);
  void Expel() override;

 private:
  struct Part {
    runtime::ShardThread* thread = nullptr;
    // On the shard's strand only.
    std::shared_ptr<LeaseSet> leases;
    bool closed = false;  // no more work is started
  };

  EventLoop& home_;
  StreamRegistry& registry_;
  std::vector<Part> parts_;  // one per shard; the vector is constant
  Mutex mutex_;
  bool has_grace_ REDLOCK_GUARDED_BY(mutex_) = false;
  bool broken_ REDLOCK_GUARDED_BY(mutex_) = false;
  bool ended_ REDLOCK_GUARDED_BY(mutex_) = false;
  std::optional<SilenceTimer> silence_;  // on the home loop's strand only
};

template <typename Work>
void SessionLeases::Do(std::size_t shard, LeaseSet::Listener& listener, Source source,
                       std::shared_ptr<LeaseRecorder> recorder, Work work) {
  parts_[shard].thread->Do([self = shared_from_this(), shard, &listener, source,
                            recorder = std::move(recorder),
                            work = std::move(work)](Shard& core) mutable {
    Part& part = self->parts_[shard];
    if (part.closed) return;
    if (!part.leases) {
      part.leases = std::make_shared<LeaseSet>(core, listener, source, std::move(recorder));
    }
    work(*part.leases);
  });
}

}  // namespace redlock::rpc
