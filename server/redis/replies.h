// What the scripts answer, as the core wants it.
#pragma once

#include <hiredis/hiredis.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "server/core/nodes/node_reply.h"
#include "server/redis/scripts.h"

namespace redlock::redis {

[[nodiscard]] inline std::string_view TextOf(const redisReply& reply) {
  return reply.str == nullptr ? std::string_view() : std::string_view(reply.str, reply.len);
}

// What was asked for in a step, as far as its answer depends on it.
struct AskedStep {
  StepKind kind = StepKind::kInspect;
  FencingToken proposed;  // by kAcquire, kAcquireOrExtend and kHandOver
};

// The answer to a batch of steps, one by one. Anything that the script cannot have said becomes
// kError, with a message.
class BatchReply {
 public:
  // `steps`: the number of steps in the request. `now`: this daemon's clock when the reply arrived.
  BatchReply(const redisReply& reply, std::size_t steps, WallTime now);
  [[nodiscard]] NodeReply At(std::size_t step, const AskedStep& asked) const;

 private:
  // False where it is nothing that the script says.
  [[nodiscard]] bool Parse(const redisReply& element, const AskedStep& asked,
                           NodeReply& parsed) const;

  const redisReply& reply_;
  const WallTime now_;
  std::string failure_;            // of all steps
  std::optional<Duration> clock_;  // of the node
};

// Parses the reply to GET of kMarkKey: kGranted with the stamp and the mark, or kError. An error is
// never taken for a mark.
void ParseMarkReply(const redisReply& reply, NodeReply& parsed);

// Splits the value of kMarkKey.
void ParseMark(std::string_view value, std::string& stamp, std::string& mark);

// What TIME answers; nothing where it is something else.
[[nodiscard]] std::optional<Duration> ParseTime(const redisReply& reply);

}  // namespace redlock::redis
