#include "server/redis/scripts.h"

namespace redlock::redis {

// Steps are carried out in order. What can fail in a step (a stranger's key of another type, no
// memory for more, a replica) is tried (redis.pcall) before anything is done in it, so that one
// step's error neither ends another step nor leaves half of one. Numbers stay below 2^53, which
// Lua's doubles hold.
//
// `lost`: the answer to steps that may grant, if the mark is not what it should be.
std::string_view StepsSource() {
  return R"(
local call, try = redis.call, redis.pcall
local mark, retention = ARGV[1], ARGV[2]
local lost
if mark ~= '' then
  local found = call('GET', KEYS[1]) or ''
  if found ~= mark then lost = {5, found} end
end

local function failed(answer)
  return type(answer) == 'table' and answer.err
end

-- The number and the id of a keeper; 0 for none.
local function parts_of(keeper)
  local number, id = string.match(keeper or '', '^(%d+) (.*)$')
  return tonumber(number or '0'), id
end

-- Stores to which stream the lease belongs. Without memory for that, it belongs to no stream.
local function name(meta, keeper)
  if not failed(try('HSET', meta, 'w', keeper)) then return keeper end
  call('HDEL', meta, 'w')
end

-- Extends a key that the token holds. `number` and `id`: of the stream that does so, or nil. `take`:
-- nil; 'last' if no stream with the same or a higher number may have taken the lease before; 'always'.
local function extend(key, meta, digest, ttl, raise, number, id, take)
  local m = try('HMGET', meta, 'f', 't', 'w', 'a')
  if m.err then return {6, m.err} end
  local fence = tonumber(m[1] or '0')
  local ours = m[2] and string.match(m[2], '^%w*') == digest
  local keeper = ours and m[3] or nil
  local stored, stored_id = parts_of(keeper)
  if not number then
    -- No stream's end may delete what a client keeps by other means.
    if keeper and stored_id ~= '-' then keeper = name(meta, string.format('%d -', stored)) end
  elseif stored_id ~= id then
    if take == 'last' and stored >= number then return {7, stored} end
    if take == 'always' then number = stored + 1 end
    if take or (keeper and stored < number) then
      keeper = name(meta, string.format('%d ', number) .. id)
    end
  end
  if raise > fence then
    local noted = try('HSET', meta, 'f', string.format('%d', raise), 't', ours and m[2] or digest)
    if failed(noted) then return {6, noted.err} end
    fence, ours = raise, true
  end
  if m[4] then call('HDEL', meta, 'a') end
  if call('PTTL', key) < tonumber(ttl) then call('PEXPIRE', key, ttl) end
  call('PEXPIRE', meta, retention)
  return {1, ours and fence or -fence, keeper or ''}
end

local out, n, k, a, timed = {}, 0, 2, 3, false
local verb = ARGV[3]
while verb do
  local key, meta, token = KEYS[k], KEYS[k + 1], ARGV[a + 1]
  local r
  if verb == 'a' or verb == 'A' then
    local ttl, fence, holder, attempt = ARGV[a + 2], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5]
    timed = true
    if lost then
      r = lost
    else
      local seen = try('HGET', meta, 'f')
      if failed(seen) then
        r = {6, seen.err}
      else
        local stale = seen and tonumber(seen) >= tonumber(fence)
        local set = not stale and try('SET', key, token, 'PX', ttl, 'NX')
        if set and set.err then
          r = {6, set.err}
        elseif set then
          call('HSET', meta, 'f', fence, 't', holder, 'w', fence .. ' ' .. attempt, 'a', '1')
          call('PEXPIRE', meta, retention)
          r = 1
        else
          local found = try('GET', key)
          if failed(found) then
            r = {6, found.err}
          elseif not found then
            r = {4, tonumber(seen)}
          elseif found ~= token or verb == 'a' then
            r = {2, call('PTTL', key)}
          else
            local digest = string.match(holder, '^%w*')
            r = extend(key, meta, digest, ttl, 0, tonumber(fence), attempt, 'always')
          end
        end
      end
    end
    a = a + 6
  elseif verb == 'r' then
    local found = try('GET', key)
    if failed(found) then
      r = {6, found.err}
    elseif not found then
      r = {3, 0}
    elseif found ~= token then
      r = {2, call('PTTL', key)}
    else
      call('DEL', key)
      local heard = try('PUBLISH', 'redlockd:released:' .. key, key)
      r = type(heard) == 'number' and heard > 0 and {1, heard} or 1
    end
    a = a + 2
  elseif verb == 'e' or verb == 'E' then
    local found = try('GET', key)
    if failed(found) then
      r = {6, found.err}
    elseif not found then
      r = {3, 0}
    elseif found ~= token then
      r = {2, call('PTTL', key)}
    else
      r = extend(key, meta, ARGV[a + 4], ARGV[a + 2], tonumber(ARGV[a + 3]),
                 tonumber(ARGV[a + 5]), ARGV[a + 6], verb == 'E' and 'last')
    end
    a = a + 7
  elseif verb == 'R' then
    local attempt, seal = ARGV[a + 2], ARGV[a + 3]
    local number, id = tonumber(ARGV[a + 5]), ARGV[a + 6]
    local found = try('GET', key)
    local m = {}
    if failed(found) then
      r = {6, found.err}
    elseif not found then
      r = {3, 0}
    elseif found ~= token then
      r = {2, call('PTTL', key)}
    else
      m = try('HMGET', meta, 'f', 'w', 'a')
    end
    local stored, stored_id = parts_of(not m.err and m[2])
    if r then
      -- decided
    elseif m.err then
      r = {6, m.err}
    elseif attempt ~= '' and not (m[3] and stored_id == attempt) then
      r = {3, 0}
    elseif number and stored_id ~= id and (not stored_id or stored >= number) then
      r = {3, 0}
    elseif seal ~= '0' and m[1] and tonumber(m[1]) >= tonumber(seal) then
      r = {4, tonumber(m[1])}
    else
      local sealed = 0
      if seal ~= '0' and not failed(try('HSET', meta, 'f', seal)) then
        call('PEXPIRE', meta, retention)
        sealed = 1
      end
      call('DEL', key)
      local heard = ARGV[a + 4] == '1' and try('PUBLISH', 'redlockd:released:' .. key, key)
      r = {1, type(heard) == 'number' and heard or 0, sealed}
    end
    a = a + 7
  elseif verb == 'h' then
    local to, ttl, fence, attempt = ARGV[a + 2], ARGV[a + 3], ARGV[a + 4], ARGV[a + 6]
    timed = true
    if lost then
      r = lost
    else
      local found = try('GET', key)
      local m = try('HMGET', meta, 'f', 'w')
      local _, stored_id = parts_of(not m.err and m[2])
      local again = found == to and stored_id == attempt
      if failed(found) then
        r = {6, found.err}
      elseif m.err then
        r = {6, m.err}
      elseif found and found ~= token and not again then
        r = {2, call('PTTL', key)}
      elseif m[1] and tonumber(m[1]) >= tonumber(fence) then
        r = {4, tonumber(m[1])}
      else
        local set = try('SET', key, to, 'PX', ttl)
        if set.err then
          r = {6, set.err}
        else
          call('HSET', meta, 'f', fence, 't', ARGV[a + 5], 'w', fence .. ' ' .. attempt, 'a', '1')
          call('PEXPIRE', meta, retention)
          r = {1, tonumber(fence), found and 1 or 0}
        end
      end
    end
    a = a + 7
  elseif verb == 'l' then
    local m = try('HMGET', meta, 'f', 't')
    local set = m.err and m or try('SET', key, token, 'PX', ARGV[a + 2], 'NX')
    if set and set.err then
      r = {6, set.err}
    elseif not set then
      r = {2, call('PTTL', key)}
    else
      local digest, keeper = ARGV[a + 4], ARGV[a + 5]
      local fence, seen = tonumber(ARGV[a + 3]), tonumber(m[1] or '0')
      local ours = m[2] and string.match(m[2], '^%w*') == digest
      if seen > fence then fence = seen + 1 end
      call('HSET', meta, 'f', string.format('%d', fence), 't', ours and m[2] or digest)
      call('HDEL', meta, 'w', 'a')
      if keeper ~= '' then call('HSET', meta, 'w', keeper) end
      call('PEXPIRE', meta, retention)
      r = {1, fence}
    end
    a = a + 6
  elseif verb == 'i' then
    local found = try('GET', key)
    local m = try('HMGET', meta, 'f', 't')
    if failed(found) or m.err then
      r = {6, found and found.err or m.err}
    elseif not found then
      r = {3, tonumber(m[1] or '0')}
    else
      r = {1, tonumber(m[1] or '0'), call('PTTL', key), found, m[2] or ''}
    end
    a = a + 1
  else
    local found = call('GET', key) or ''
    timed = true
    local set = found == token and try('SET', key, ARGV[a + 2])
    if set and set.err then
      r = {6, set.err}
    else
      r = {1, set and ARGV[a + 2] or found}
    end
    a = a + 3
  end
  n = n + 1
  out[n] = r
  k = k + 2
  verb = ARGV[a]
end
if timed then
  local t = call('TIME')
  out[n + 1] = t[1] * 1000000 + t[2]
end
return out
)";
}

}  // namespace redlock::redis
