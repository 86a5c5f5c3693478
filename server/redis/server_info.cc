#include "server/redis/server_info.h"

#include <charconv>
#include <map>

#include "server/redis/replies.h"

namespace redlock::redis {
namespace {

// Parses the "name:value" lines of INFO. Headings are skipped.
std::map<std::string_view, std::string_view> Fields(std::string_view info) {
  std::map<std::string_view, std::string_view> fields;
  while (!info.empty()) {
    const std::string_view line = info.substr(0, info.find("\r\n"));
    info.remove_prefix(std::min(line.size() + 2, info.size()));
    const auto colon = line.find(':');
    if (colon != std::string_view::npos) fields[line.substr(0, colon)] = line.substr(colon + 1);
  }
  return fields;
}

std::string WhyUnsuitable(std::map<std::string_view, std::string_view>& fields) {
  if (fields["cluster_enabled"] == "1") {
    return "it runs in cluster mode: nodes must be independent primaries, so set cluster-enabled "
           "to no";
  }
  if (fields["redis_mode"] == "sentinel" || fields["server_mode"] == "sentinel") {
    return "it is a Sentinel: give the address of the server itself";
  }
  if (fields["role"] == "slave" || fields["role"] == "replica") {
    return "it is a replica: nodes must be primaries";
  }
  return {};
}

}  // namespace

ServerInfo ParseInfo(std::string_view info) {
  auto fields = Fields(info);
  ServerInfo parsed{.run_id = std::string(fields["run_id"]),
                    .unsuitable = WhyUnsuitable(fields),
                    .append_only = fields["aof_enabled"] == "1"};
  const std::string_view valkey = fields["valkey_version"];
  parsed.version = valkey.empty() ? fields["redis_version"] : "valkey " + std::string(valkey);
  const std::string_view uptime = fields["uptime_in_seconds"];
  std::uint32_t seconds = 0;
  std::from_chars(uptime.data(), uptime.data() + uptime.size(), seconds);
  parsed.uptime = std::chrono::seconds(seconds);
  const std::string_view policy = fields["maxmemory_policy"];
  const std::string_view bound = fields["maxmemory"];
  if (!bound.empty() && bound != "0" && policy != "noeviction") parsed.eviction.policy = policy;
  const std::string_view evicted = fields["evicted_keys"];
  std::from_chars(evicted.data(), evicted.data() + evicted.size(), parsed.eviction.evicted);
  return parsed;
}

bool AppendsAlways(const redisReply& reply) {
  if (reply.type != REDIS_REPLY_ARRAY) return false;
  bool always = false;
  bool also_while_rewriting = true;
  for (std::size_t i = 0; i + 1 < reply.elements; i += 2) {
    const std::string_view name = TextOf(*reply.element[i]);
    const std::string_view value = TextOf(*reply.element[i + 1]);
    if (name == "appendfsync") always = value == "always";
    if (name == "no-appendfsync-on-rewrite") also_while_rewriting = value != "yes";
  }
  return always && also_while_rewriting;
}

}  // namespace redlock::redis
