#include "server/core/shard.h"

#include <numeric>
#include <utility>

#include "server/core/clean_up.h"

namespace redlock {
namespace {

std::vector<Node*> Pointers(const std::vector<std::unique_ptr<Node>>& nodes) {
  std::vector<Node*> pointers;
  for (const auto& node : nodes) pointers.push_back(node.get());
  return pointers;
}

AcquireResult Refused(Reason reason, std::string message) {
  return {.lease = std::nullopt,
          .error = {.reason = reason, .message = std::move(message)},
          .votes = {},
          .attempts = 0,
          .waited = {}};
}

}  // namespace

Shard::Shard(Scheduler& scheduler, Random& random, std::function<OwnerToken()> new_token,
             const LockOptions& options, std::vector<std::unique_ptr<Node>> nodes)
    : options_(options),
      node_pointers_(Pointers(nodes)),
      env_{scheduler, random, std::move(new_token), node_pointers_, fences_, options_},
      nodes_(std::move(nodes)) {}

Shard::~Shard() = default;

std::shared_ptr<Operation> Shard::Acquire(AcquireCommand command, AcquireDone done) {
  if (draining_) {
    done(Refused(Reason::kDraining, "the daemon is shutting down"));
    return nullptr;
  }
  if (registry_.size() >= options_.max_operations) {
    done(Refused(Reason::kOverloaded, "the daemon's bound on operations under way is reached"));
    return nullptr;
  }
  const auto waiting = waiting_.emplace(command.key.value(), nullptr);
  waiting->second =
      Acquisition::Start(env_, registry_, std::move(command),
                         [this, waiting, done = std::move(done)](AcquireResult result) {
                           waiting_.erase(waiting);
                           done(std::move(result));
                         });
  return waiting->second;
}

std::shared_ptr<Operation> Shard::Extend(ExtendCommand command, ExtendDone done) {
  return Extension::Start(env_, registry_, std::move(command), std::move(done));
}

std::shared_ptr<Operation> Shard::Watch(WatchCommand command, WatchEvents events) {
  if (registry_.size() >= options_.max_operations) return nullptr;
  return Watchdog::Start(env_, registry_, std::move(command), std::move(events));
}

void Shard::Release(Key key, OwnerToken token, ReleaseDone done) {
  ReleaseOperation::Start(env_, registry_, std::move(key), std::move(token), std::move(done));
}

void Shard::Inspect(const Key& key, InspectDone done) {
  Inspection::Start(env_, key, std::move(done));
}

void Shard::Undo(const Lease& lease) {
  std::vector<NodeIndex> all(node_pointers_.size());
  std::iota(all.begin(), all.end(), NodeIndex{0});
  CleanUp::Start(env_, registry_, {lease.key, lease.token, lease.attempt, {}}, std::move(all));
}

void Shard::Drain() {
  draining_ = true;
  // Each one that is told leaves the map.
  while (!waiting_.empty()) {
    const std::shared_ptr<Operation> next = waiting_.begin()->second;
    next->Cancel(Reason::kDraining);
  }
}

std::size_t Shard::waiters(const Key& key) const { return waiting_.count(key.value()); }

}  // namespace redlock
