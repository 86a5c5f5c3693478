#include "server/rpc/stream_registry.h"

namespace redlock::rpc {

bool StreamRegistry::Add(const std::shared_ptr<OpenStream>& stream, std::size_t bound) {
  bool draining = false;
  {
    const std::lock_guard lock(mutex_);
    if (streams_.size() >= bound) return false;
    streams_.emplace(stream.get(), stream);
    draining = draining_;
  }
  if (draining) stream->TellDraining();
  return true;
}

void StreamRegistry::Remove(const OpenStream* stream) {
  const std::lock_guard lock(mutex_);
  streams_.erase(stream);
  if (streams_.empty()) empty_.notify_all();
}

// Streams are called without the mutex: they may end in the meantime and remove themselves.
std::vector<std::shared_ptr<OpenStream>> StreamRegistry::All() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<OpenStream>> all;
  for (const auto& [raw, stream] : streams_) {
    if (auto alive = stream.lock()) all.push_back(std::move(alive));
  }
  return all;
}

void StreamRegistry::TellDraining() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
  }
  for (const auto& stream : All()) stream->TellDraining();
}

bool StreamRegistry::Linger(const std::shared_ptr<Lingering>& lingering) {
  const std::lock_guard lock(mutex_);
  if (!expelled_) lingering_.emplace(lingering.get(), lingering);
  return !expelled_;
}

void StreamRegistry::StopLingering(const Lingering* lingering) {
  const std::lock_guard lock(mutex_);
  lingering_.erase(lingering);
}

void StreamRegistry::ExpelAll() {
  decltype(lingering_) lingering;
  {
    const std::lock_guard lock(mutex_);
    expelled_ = true;
    lingering.swap(lingering_);
  }
  for (const auto& [raw, each] : lingering) each->Expel();
  for (const auto& stream : All()) stream->Expel();
}

bool StreamRegistry::WaitUntilEmpty(Duration patience) {
  std::unique_lock lock(mutex_);
  return empty_.wait_for(lock, patience, [this] { return streams_.empty(); });
}

std::size_t StreamRegistry::size() const {
  const std::lock_guard lock(mutex_);
  return streams_.size();
}

}  // namespace redlock::rpc
