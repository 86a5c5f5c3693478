// Registers the open streams and the leases that outlive their streams, so that a daemon that shuts
// down can end both.
#pragma once

#include <condition_variable>
#include <memory>
#include <unordered_map>
#include <vector>

#include "server/core/types.h"
#include "server/sync/mutex.h"

namespace redlock::rpc {

// A stream as the registry sees it. Thread-safe.
class OpenStream {
 public:
  virtual ~OpenStream() = default;
  // Sends DRAINING: the client should continue at another daemon.
  virtual void TellDraining() = 0;
  // The tokens or the access list have changed: ends what the caller may no longer do.
  virtual void Recheck() = 0;
  // Ends the stream after the client has had its time to move. Its leases expire.
  virtual void Expel() = 0;
};

// Something that outlives its broken stream: a Session's leases until the client's disconnect_grace
// is over.
class Lingering {
 public:
  virtual ~Lingering() = default;
  // Ends it, because the daemon shuts down. From any thread.
  virtual void Expel() = 0;
};

// Thread-safe.
class StreamRegistry {
 public:
  // Returns false if `bound` streams are open already.
  [[nodiscard]] bool Add(const std::shared_ptr<OpenStream>& stream, std::size_t bound);
  void Remove(const OpenStream* stream);
  // Owns `lingering` until StopLingering() or ExpelAll(). Returns false after ExpelAll(): the
  // daemon shuts down, and nothing may outlive its stream any more.
  [[nodiscard]] bool Linger(const std::shared_ptr<Lingering>& lingering);
  void StopLingering(const Lingering* lingering);
  // Sends DRAINING on every stream, also on streams that are opened later: their clients may be
  // moving here from another daemon.
  void TellDraining();
  // The tokens or the access list have changed. A stream that is added later must check its caller
  // after that.
  void Recheck();
  // Ends every stream and everything that lingers.
  void ExpelAll();
  // Waits until no stream is open. Returns false if `patience` ended first.
  [[nodiscard]] bool WaitUntilEmpty(Duration patience);
  [[nodiscard]] std::size_t size() const;

 private:
  [[nodiscard]] std::vector<std::shared_ptr<OpenStream>> All() const;

  mutable Mutex mutex_;
  std::condition_variable_any empty_;
  std::unordered_map<const OpenStream*, std::weak_ptr<OpenStream>> streams_
      REDLOCK_GUARDED_BY(mutex_);
  std::unordered_map<const Lingering*, std::shared_ptr<Lingering>> lingering_
      REDLOCK_GUARDED_BY(mutex_);
  bool draining_ REDLOCK_GUARDED_BY(mutex_) = false;
  bool expelled_ REDLOCK_GUARDED_BY(mutex_) = false;
};

}  // namespace redlock::rpc
