// What a server tells of itself by INFO and CONFIG GET.
#pragma once

#include <hiredis/hiredis.h>

#include <string>
#include <string_view>

#include "server/core/nodes/node.h"

namespace redlock::redis {

struct ServerInfo {
  std::string run_id;
  std::string version;  // "valkey 8.1.1", or Redis' number alone
  bool replica = false;
  bool append_only = false;
  Duration uptime{};
  std::string eviction;  // the policy by which it may drop keys; empty: it drops none
};

[[nodiscard]] ServerInfo ParseInfo(std::string_view info);

// Whether the append-only file is written before anything is confirmed, from the answer to
// `CONFIG GET *append*`. False where that was refused.
[[nodiscard]] bool AppendsAlways(const redisReply& reply);

}  // namespace redlock::redis
