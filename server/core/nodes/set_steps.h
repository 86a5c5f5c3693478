// The steps that read and change what a node stores about the node set. Rare, so that they are not
// part of the script that carries out lock steps. Each is atomic on the node, and answers with the
// node's state as it then is.
#pragma once

#include <algorithm>
#include <memory>
#include <string>

#include "server/core/nodes/set_record.h"

namespace redlock {

struct SetStep {
  enum class Kind {
    kRead,
    // Gives the node `member` as its id and `mark` as its mark, if it has no id, or if it has the
    // id `replaces` and no record. The mark is drawn for this step: while the node carries it, it
    // has not lost anything since.
    kEnroll,
    // Offers the first record of a set to the node `member`, if it has no record and no proposal.
    kFound,
    // Promises to accept no proposal below `ballot`, if `mark` and `epoch` are the node's.
    kPrepare,
    // Accepts the proposal under the same conditions, unless a higher ballot was promised or the
    // node waits. `back`: the record has the members of the epoch before, so it need not wait.
    kAccept,
    // Tells the node `member` that `record` is decided. Does nothing if its record is as new.
    kLearn,
    // Gives everything to a node that has lost its data or has old data, if its mark is `mark`: the
    // id `member`, the record, the promise `ballot`, and the proposal that the others had accepted.
    // Its mark is then `new_mark`.
    kReadmit,
  };

  Kind kind = Kind::kRead;
  std::string member;
  std::string replaces;
  std::string mark;
  std::string new_mark;
  std::uint64_t epoch = 0;
  Ballot ballot;
  SetRecord record;
  std::optional<Proposal> accepted;
  bool back = false;
};

// How long a node accepts no other change after kReadmit. It may have accepted the record, or the
// proposal, just before it lost its data.
[[nodiscard]] inline Duration WaitAfterReadmission(const SetStep& step) {
  const Duration wait = std::max(step.record.max_ttl, step.record.wait);
  return step.accepted ? std::max(wait, step.accepted->record.wait) : wait;
}

struct SetReply {
  bool answered = false;  // otherwise the step may or may not have taken effect
  bool done = false;      // the step's conditions held, or it had been carried out before
  SetState state;         // valid if answered
  std::string error;      // if not answered
};

// Receives the answer to a step. The node keeps the sink alive until it has answered.
class SetSink {
 public:
  virtual ~SetSink() = default;
  virtual void OnSetReply(NodeIndex node, SetReply reply) = 0;
};

}  // namespace redlock
