#include "server/core/rounds/put_back.h"

#include <utility>

namespace redlock {

std::shared_ptr<PutBack> PutBack::Start(const Environment& env, const RepairStep& step,
                                        const std::vector<NodeIndex>& nodes, std::size_t needed,
                                        Done done) {
  std::shared_ptr<PutBack> self(new PutBack(nodes.size(), needed, std::move(done)));
  self->timeout_ =
      env.scheduler.After(env.options.node_timeout, [raw = self.get()] { raw->Finish(); });
  for (const NodeIndex node : nodes) env.nodes[node]->Repair(step, self);
  return self;
}

void PutBack::Abandon() {
  done_ = nullptr;
  timeout_.Cancel();
}

void PutBack::OnReply(NodeIndex /*node*/, NodeReply&& reply) {
  --pending_;
  if (!done_) return;
  if (reply.outcome == Outcome::kGranted) ++granted_;
  if (granted_ >= needed_ || pending_ == 0) Finish();
}

void PutBack::Finish() {
  const auto self = shared_from_this();
  timeout_.Cancel();
  std::exchange(done_, nullptr)(granted_);
}

}  // namespace redlock
