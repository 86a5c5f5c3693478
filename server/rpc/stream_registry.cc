#include "server/rpc/stream_registry.h"

#include <chrono>

namespace redlock::rpc {

bool StreamRegistry::Add(const std::shared_ptr<OpenStream>& stream, std::size_t bound) {
  bool draining = false;
  {
    const MutexLock lock(mutex_);
    if (streams_.size() >= bound) return false;
    streams_.emplace(stream.get(), stream);
    draining = draining_;
  }
  if (draining) stream->TellDraining();
  return true;
}

void StreamRegistry::Remove(const OpenStream* stream) {
  const MutexLock lock(mutex_);
  streams_.erase(stream);
  if (streams_.empty()) empty_.notify_all();
}

// Streams are called without the mutex: they may end in the meantime and remove themselves.
std::vector<std::shared_ptr<OpenStream>> StreamRegistry::All() const {
  const MutexLock lock(mutex_);
  std::vector<std::shared_ptr<OpenStream>> all;
  for (const auto& [raw, stream] : streams_) {
    if (auto alive = stream.lock()) all.push_back(std::move(alive));
  }
  return all;
}

void StreamRegistry::TellDraining() {
  {
    const MutexLock lock(mutex_);
    draining_ = true;
  }
  for (const auto& stream : All()) stream->TellDraining();
}

void StreamRegistry::Recheck() {
  for (const auto& stream : All()) stream->Recheck();
}

bool StreamRegistry::Linger(const std::shared_ptr<Lingering>& lingering) {
  const MutexLock lock(mutex_);
  if (!expelled_) lingering_.emplace(lingering.get(), lingering);
  return !expelled_;
}

void StreamRegistry::StopLingering(const Lingering* lingering) {
  const MutexLock lock(mutex_);
  lingering_.erase(lingering);
}

void StreamRegistry::ExpelAll() {
  decltype(lingering_) lingering;
  {
    const MutexLock lock(mutex_);
    expelled_ = true;
    lingering.swap(lingering_);
  }
  for (const auto& [raw, each] : lingering) each->Expel();
  for (const auto& stream : All()) stream->Expel();
}

bool StreamRegistry::WaitUntilEmpty(Duration patience) {
  const auto give_up = std::chrono::steady_clock::now() + patience;
  MutexLock lock(mutex_);
  while (!streams_.empty()) {
    if (empty_.wait_until(lock, give_up) == std::cv_status::timeout) return streams_.empty();
  }
  return true;
}

std::size_t StreamRegistry::size() const {
  const MutexLock lock(mutex_);
  return streams_.size();
}

}  // namespace redlock::rpc
