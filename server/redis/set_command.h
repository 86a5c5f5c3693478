// A step on the node set as a command for the node, and the node's reply.
#pragma once

#include <hiredis/hiredis.h>

#include <string>
#include <vector>

#include "server/core/nodes/set_steps.h"

namespace redlock::redis {

// The words of the command. They are sent as EVAL: these steps are rare.
[[nodiscard]] std::vector<std::string> SetCommand(const SetStep& step);

// Anything that the script cannot have returned counts as not answered.
[[nodiscard]] SetReply ParseSetReply(const redisReply& reply);

}  // namespace redlock::redis
