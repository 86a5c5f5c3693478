// The streams that are open, and what outlives them, so that a daemon that shuts down can end both.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "server/core/types.h"

namespace redlock::rpc {

// What the registry asks of a stream; from any thread.
class OpenStream {
 public:
  virtual ~OpenStream() = default;
  // Sends DRAINING: the client is to continue at another daemon.
  virtual void TellDraining() = 0;
  // The client has had its time to move: ends the stream. Its leases expire.
  virtual void Expel() = 0;
};

// What goes on after its stream has broken: a Session's leases until the client's disconnect_grace
// is over.
class Lingering {
 public:
  virtual ~Lingering() = default;
  // The daemon shuts down. May be called from any thread.
  virtual void Expel() = 0;
};

// Thread-safe.
class StreamRegistry {
 public:
  // False where there are `bound` already.
  [[nodiscard]] bool Add(const std::shared_ptr<OpenStream>& stream, std::size_t bound);
  void Remove(const OpenStream* stream);
  // Owns `lingering` until StopLingering() or ExpelAll(). False after ExpelAll(): the daemon shuts
  // down, and nothing may outlive its stream any more.
  [[nodiscard]] bool Linger(const std::shared_ptr<Lingering>& lingering);
  void StopLingering(const Lingering* lingering);
  // Tells every stream, and those that come later: they may be clients that are moving.
  void TellDraining();
  // Ends every stream and everything that lingers.
  void ExpelAll();
  // Waits until all have gone; false if `patience` ended first.
  [[nodiscard]] bool WaitUntilEmpty(Duration patience);
  [[nodiscard]] std::size_t size() const;

 private:
  [[nodiscard]] std::vector<std::shared_ptr<OpenStream>> All() const;

  mutable std::mutex mutex_;
  std::condition_variable empty_;
  std::unordered_map<const OpenStream*, std::weak_ptr<OpenStream>> streams_;
  std::unordered_map<const Lingering*, std::shared_ptr<Lingering>> lingering_;
  bool draining_ = false;
  bool expelled_ = false;
};

}  // namespace redlock::rpc
