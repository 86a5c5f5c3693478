// Bounds the open streams of callers that need no credentials: Health/Watch and reflection.
#pragma once

#include <cstddef>
#include <string>
#include <unordered_map>
#include <utility>

#include "server/sync/mutex.h"

namespace redlock::rpc {

// Thread-safe.
class OpenQuota {
 public:
  // A client needs one or two.
  static constexpr std::size_t kMostPerPeer = 16;
  static constexpr std::size_t kMost = 1'000;

  // One stream of the peer for the lifetime of the object.
  class Place {
   public:
    Place(OpenQuota& quota, std::string peer)
        : quota_(quota), peer_(std::move(peer)), taken_(quota.Take(peer_)) {}
    ~Place() {
      if (taken_) quota_.Return(peer_);
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    // False: there are too many streams.
    [[nodiscard]] bool taken() const { return taken_; }

   private:
    OpenQuota& quota_;
    const std::string peer_;
    const bool taken_;
  };

 private:
  [[nodiscard]] bool Take(const std::string& peer) {
    const MutexLock lock(mutex_);
    std::size_t& open = by_peer_[peer];
    // All callers on Unix sockets have the same name.
    if (open_ >= kMost || (open >= kMostPerPeer && !peer.starts_with("unix:"))) {
      if (open == 0) by_peer_.erase(peer);
      return false;
    }
    ++open;
    ++open_;
    return true;
  }

  void Return(const std::string& peer) {
    const MutexLock lock(mutex_);
    --open_;
    const auto found = by_peer_.find(peer);
    if (--found->second == 0) by_peer_.erase(found);
  }

  Mutex mutex_;
  std::size_t open_ REDLOCK_GUARDED_BY(mutex_) = 0;
  std::unordered_map<std::string, std::size_t> by_peer_ REDLOCK_GUARDED_BY(mutex_);
};

}  // namespace redlock::rpc
