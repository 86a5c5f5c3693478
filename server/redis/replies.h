// What the scripts answer, as the core wants it.
#pragma once

#include <hiredis/hiredis.h>

#include <string_view>

#include "server/core/node.h"
#include "server/redis/scripts.h"

namespace redlock::redis {

[[nodiscard]] inline std::string_view TextOf(const redisReply& reply) {
  return reply.str == nullptr ? std::string_view() : std::string_view(reply.str, reply.len);
}

// Anything that the script cannot have said becomes kError, with a message.
[[nodiscard]] NodeReply ParseReply(Script script, const redisReply& reply);

// What TIME answers; nothing where it is something else.
[[nodiscard]] std::optional<Duration> ParseTime(const redisReply& reply);

}  // namespace redlock::redis
