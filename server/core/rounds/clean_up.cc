#include "server/core/rounds/clean_up.h"

#include <utility>

#include "server/core/check.h"

namespace redlock {
namespace {
constexpr Duration kFirstPause = std::chrono::milliseconds(20);
constexpr Duration kLongestPause = std::chrono::milliseconds(500);
}  // namespace

void CleanUp::Start(const Environment& env, ReleaseStep step, std::vector<NodeIndex> nodes,
                    Begin begin) {
  if (nodes.empty()) return;
  const std::shared_ptr<CleanUp> self(new CleanUp(env, std::move(step)));
  env.operations.Add(self);
  self->to_ask_ = std::move(nodes);
  switch (begin) {
    case Begin::kNow:
      self->Ask();
      break;
    case Begin::kAfterPause:
      self->PauseOrEnd();
      break;
  }
}

CleanUp::CleanUp(const Environment& env, ReleaseStep step)
    : env_(env),
      step_(std::move(step)),
      deadline_(env.scheduler.Now() + env.options.release_timeout),
      backoff_(kFirstPause, kLongestPause) {}

void CleanUp::Ask() {
  const auto self = shared_from_this();
  const std::vector<NodeIndex> nodes = std::exchange(to_ask_, {});
  asking_ += nodes.size();
  for (const NodeIndex node : nodes) env_.nodes[node]->Release(step_, self);
}

void CleanUp::OnReply(NodeIndex node, NodeReply&& reply) {
  REDLOCK_CHECK(asking_ > 0);
  --asking_;
  if (IsUnknown(reply.outcome)) to_ask_.push_back(node);
  if (asking_ == 0) PauseOrEnd();
}

void CleanUp::PauseOrEnd() {
  const Duration pause = backoff_.Next();
  if (to_ask_.empty() || env_.scheduler.Now() + pause > deadline_) {
    End();
    return;
  }
  timer_ = env_.scheduler.After(pause, [this] { Ask(); });
}

void CleanUp::End() {
  timer_.Cancel();
  to_ask_.clear();
  env_.operations.Remove(*this);  // may destroy this
}

}  // namespace redlock
