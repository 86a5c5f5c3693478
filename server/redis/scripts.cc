#include "server/redis/scripts.h"

namespace redlock::redis {
namespace {

// Scripts that grant a lock compare the guard's mark first ('' for none) and end with the clock.

// KEYS: key, meta, mark. ARGV: token, ttl ms, fence, owner, retention ms, adopt (1 or 0), attempt,
// mark. The fence is compared before the key is taken, so a refusal leaves no trace.
constexpr std::string_view kAcquireSource = R"(
local key, meta = KEYS[1], KEYS[2]
local token, ttl, fence = ARGV[1], ARGV[2], ARGV[3]
if ARGV[8] ~= '' then
  local mark = redis.call('GET', KEYS[3])
  if mark ~= ARGV[8] then return {5, mark or ''} end
end
local seen = redis.call('HGET', meta, 'f')
local stale = seen and tonumber(seen) >= tonumber(fence)
if not stale and redis.call('SET', key, token, 'PX', ttl, 'NX') then
  redis.call('HSET', meta, 'f', fence, 'o', ARGV[4], 'a', ARGV[7])
  redis.call('PEXPIRE', meta, ARGV[5])
  local t = redis.call('TIME')
  return {1, fence, t[1] * 1000000 + t[2]}
end
local holder = redis.call('GET', key)
if not holder then return {4, seen} end
local left = redis.call('PTTL', key)
if holder ~= token or ARGV[6] == '0' then return {2, left} end
if left < tonumber(ttl) then redis.call('PEXPIRE', key, ttl) end
redis.call('HSET', meta, 'k', redis.call('HGET', meta, 'a') or '')
redis.call('PEXPIRE', meta, ARGV[5])
local t = redis.call('TIME')
return {1, seen or '0', t[1] * 1000000 + t[2]}
)";

// KEYS: key, meta. ARGV: token, ttl ms, raise to, retention ms.
// Never shortens what is left: a request that was long under way must not take back what a later
// one has promised.
constexpr std::string_view kExtendSource = R"(
local key, meta = KEYS[1], KEYS[2]
local holder = redis.call('GET', key)
if not holder then return {3, '0'} end
local left = redis.call('PTTL', key)
if holder ~= ARGV[1] then return {2, left} end
if left < tonumber(ARGV[2]) then redis.call('PEXPIRE', key, ARGV[2]) end
local m = redis.call('HMGET', meta, 'f', 'a', 'k')
local fence, attempt = m[1] or '0', m[2] or ''
if tonumber(ARGV[3]) > tonumber(fence) then fence = ARGV[3] end
if fence ~= m[1] or attempt ~= m[3] then redis.call('HSET', meta, 'f', fence, 'k', attempt) end
redis.call('PEXPIRE', meta, ARGV[4])
return {1, fence}
)";

// KEYS: key, meta. ARGV: token, ttl ms, fence, retention ms. A higher fence in meta may be another
// holder's, so this token gets one above it. %d, because Lua would round 16 digits.
constexpr std::string_view kHealSource = R"(
local key, meta = KEYS[1], KEYS[2]
if not redis.call('SET', key, ARGV[1], 'PX', ARGV[2], 'NX') then
  return {2, redis.call('PTTL', key)}
end
local fence, seen = ARGV[3], tonumber(redis.call('HGET', meta, 'f') or '0')
if seen > tonumber(fence) then fence = string.format('%d', seen + 1) end
redis.call('HSET', meta, 'f', fence, 'a', '')
redis.call('PEXPIRE', meta, ARGV[4])
return {1, fence}
)";

// KEYS: key, meta, mark. ARGV: from, to, ttl ms, fence, owner, retention ms, attempt, mark. The
// fourth element of a grant tells whether `from` held the key.
constexpr std::string_view kHandOverSource = R"(
local key, meta = KEYS[1], KEYS[2]
if ARGV[8] ~= '' then
  local mark = redis.call('GET', KEYS[3])
  if mark ~= ARGV[8] then return {5, mark or ''} end
end
local holder = redis.call('GET', key)
local m = redis.call('HMGET', meta, 'f', 'a')
local again = holder == ARGV[2] and m[2] == ARGV[7]
if holder and holder ~= ARGV[1] and not again then return {2, redis.call('PTTL', key)} end
if m[1] and tonumber(m[1]) >= tonumber(ARGV[4]) then return {4, m[1]} end
redis.call('SET', key, ARGV[2], 'PX', ARGV[3])
redis.call('HSET', meta, 'f', ARGV[4], 'o', ARGV[5], 'a', ARGV[7])
redis.call('PEXPIRE', meta, ARGV[6])
local t = redis.call('TIME')
return {1, ARGV[4], t[1] * 1000000 + t[2], holder and 1 or 0}
)";

// KEYS: key, meta. ARGV: token, only attempt ('' for any), seal (0 for none), retention ms, channel
// to announce on ('' for none). The third element of a grant is the number of listeners; a user
// that may not publish has none.
constexpr std::string_view kReleaseSource = R"(
local key = KEYS[1]
if ARGV[3] ~= '0' then
  local seen = redis.call('HGET', KEYS[2], 'f')
  if seen and tonumber(seen) >= tonumber(ARGV[3]) then return {3, seen} end
  redis.call('HSET', KEYS[2], 'f', ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
local holder = redis.call('GET', key)
if not holder then return {3, '0'} end
if holder ~= ARGV[1] then return {2, redis.call('PTTL', key)} end
if ARGV[2] ~= '' then
  local m = redis.call('HMGET', KEYS[2], 'a', 'k')
  if m[1] ~= ARGV[2] or m[2] == ARGV[2] then return {3, '0'} end
end
redis.call('DEL', key)
local heard = ARGV[5] ~= '' and redis.pcall('PUBLISH', ARGV[5], KEYS[1])
return {1, '0', type(heard) == 'number' and heard or 0}
)";

// KEYS: key, meta. Returns status, fence, remaining ms, token, owner.
constexpr std::string_view kInspectSource = R"(
local holder = redis.call('GET', KEYS[1])
local m = redis.call('HMGET', KEYS[2], 'f', 'o')
local fence, owner = m[1] or '0', m[2] or ''
if not holder then return {3, fence} end
return {1, fence, redis.call('PTTL', KEYS[1]), holder, owner}
)";

// KEYS: mark. ARGV: from ('' for none), to. Returns the mark as it then is.
constexpr std::string_view kMarkSource = R"(
local mark = redis.call('GET', KEYS[1]) or ''
if mark == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2])
  mark = ARGV[2]
end
local t = redis.call('TIME')
return {1, mark, t[1] * 1000000 + t[2]}
)";

constexpr std::array<std::string_view, kScripts> kSources = {
    kAcquireSource, kHandOverSource, kExtendSource, kHealSource,
    kReleaseSource, kInspectSource,  kMarkSource};

}  // namespace

std::string_view Source(Script script) { return kSources[static_cast<std::size_t>(script)]; }

}  // namespace redlock::redis
