// Parses what a server reports about itself in INFO and CONFIG GET.
#pragma once

#include <hiredis/hiredis.h>

#include <string>
#include <string_view>

#include "server/core/nodes/node.h"

namespace redlock::redis {

struct ServerInfo {
  std::string run_id;
  std::string version;     // "valkey 8.1.1"; for Redis the number alone
  std::string unsuitable;  // why the server cannot be a node; empty: it can
  bool append_only = false;
  Duration uptime{};
  Eviction eviction;
};

[[nodiscard]] ServerInfo ParseInfo(std::string_view info);

// Whether the server syncs its append-only file before it confirms a write, according to the reply
// to `CONFIG GET *append*`. False if the reply is an error.
[[nodiscard]] bool AppendsAlways(const redisReply& reply);

}  // namespace redlock::redis
