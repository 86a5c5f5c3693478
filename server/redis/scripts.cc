#include "server/redis/scripts.h"

namespace redlock::redis {

// Steps are carried out in order. What can fail in a step (a stranger's key of another type, no
// memory for more, a replica) is tried (redis.pcall) before anything is done in it, so that one
// step's error neither ends another step nor leaves half of one. Numbers stay below 2^53, which
// Lua's doubles hold.
//
// `lost`: what is told to those that may grant where the mark is not what it should be.
std::string_view StepsSource() {
  return R"(
local call, try = redis.call, redis.pcall
local mark, retention = ARGV[1], ARGV[2]
local lost
if mark ~= '' then
  local found = call('GET', KEYS[1]) or ''
  if found ~= mark then lost = {5, found} end
end
local out, n, k, a, timed = {}, 0, 2, 3, false
local verb = ARGV[3]
while verb do
  local key, meta, token = KEYS[k], KEYS[k + 1], ARGV[a + 1]
  local r
  if verb == 'a' or verb == 'A' then
    local ttl, fence = ARGV[a + 2], ARGV[a + 3]
    timed = true
    if lost then
      r = lost
    else
      local seen = try('HGET', meta, 'f')
      if type(seen) == 'table' then
        r = {6, seen.err}
      else
        local stale = seen and tonumber(seen) >= tonumber(fence)
        local set = not stale and try('SET', key, token, 'PX', ttl, 'NX')
        if set and set.err then
          r = {6, set.err}
        elseif set then
          call('HSET', meta, 'f', fence, 'h', ARGV[a + 4])
          call('PEXPIRE', meta, retention)
          r = 1
        else
          local holder = try('GET', key)
          if type(holder) == 'table' then
            r = {6, holder.err}
          elseif not holder then
            r = {4, tonumber(seen)}
          elseif holder ~= token or verb == 'a' then
            r = {2, call('PTTL', key)}
          else
            local h = call('HGET', meta, 'h') or ''
            local by = string.match(ARGV[a + 4], '^%d*')
            local noted = try('HSET', meta, 'k', h, 'w', by .. ' ' .. h)
            if type(noted) == 'table' then
              r = {6, noted.err}
            else
              if call('PTTL', key) < tonumber(ttl) then call('PEXPIRE', key, ttl) end
              call('PEXPIRE', meta, retention)
              r = {1, tonumber(seen) or 0}
            end
          end
        end
      end
    end
    a = a + 5
  elseif verb == 'r' then
    local holder = try('GET', key)
    if type(holder) == 'table' then
      r = {6, holder.err}
    elseif not holder then
      r = {3, 0}
    elseif holder ~= token then
      r = {2, call('PTTL', key)}
    else
      call('DEL', key)
      local heard = try('PUBLISH', 'redlockd:released:' .. key, key)
      r = type(heard) == 'number' and heard > 0 and {1, heard} or 1
    end
    a = a + 2
  elseif verb == 'e' or verb == 'E' then
    local ttl, raise, by = ARGV[a + 2], tonumber(ARGV[a + 3]), verb == 'E' and ARGV[a + 4]
    local holder = try('GET', key)
    if type(holder) == 'table' then
      r = {6, holder.err}
    elseif not holder then
      r = {3, 0}
    elseif holder ~= token then
      r = {2, call('PTTL', key)}
    else
      local m = call('HMGET', meta, 'f', 'h', 'k')
      local fence, h, noted = tonumber(m[1] or '0'), m[2] or ''
      if raise > fence or not m[1] then
        fence = math.max(raise, fence)
        noted = try('HSET', meta, 'f', string.format('%d', fence), 'k', h)
      elseif h ~= m[3] then
        noted = try('HSET', meta, 'k', h)
      end
      if by and type(noted) ~= 'table' then
        noted = try('HSET', meta, 'w', by .. ' ' .. h)
      end
      if type(noted) == 'table' then
        r = {6, noted.err}
      else
        if call('PTTL', key) < tonumber(ttl) then call('PEXPIRE', key, ttl) end
        call('PEXPIRE', meta, retention)
        r = {1, fence}
      end
    end
    a = a + (by and 5 or 4)
  elseif verb == 'R' then
    local attempt, seal, from = ARGV[a + 2], ARGV[a + 3], ARGV[a + 5]
    local adopted
    if from ~= '' then
      local m = try('HMGET', meta, 'h', 'w')
      local by, of = string.match(not m.err and m[2] or '', '^(%d*) (.*)$')
      adopted = by and by ~= from and of == (m[1] or '')
    end
    local seen = seal ~= '0' and try('HGET', meta, 'f')
    if type(seen) == 'table' then
      r = {6, seen.err}
    elseif adopted then
      r = {3, 0}
    elseif seen and tonumber(seen) >= tonumber(seal) then
      r = {3, tonumber(seen)}
    else
      local sealed = seal ~= '0' and try('HSET', meta, 'f', seal)
      if sealed then call('PEXPIRE', meta, retention) end
      local holder = try('GET', key)
      if type(sealed) == 'table' then
        r = {6, sealed.err}
      elseif type(holder) == 'table' then
        r = {6, holder.err}
      elseif not holder then
        r = {3, 0}
      elseif holder ~= token then
        r = {2, call('PTTL', key)}
      else
        local m = attempt ~= '' and call('HMGET', meta, 'h', 'k')
        local of = m and m[1] and string.match(m[1], '^(%d*) ')
        if m and (of ~= attempt or m[2] == m[1]) then
          r = {3, 0}
        else
          call('DEL', key)
          local heard = ARGV[a + 4] == '1' and try('PUBLISH', 'redlockd:released:' .. key, key)
          r = {1, type(heard) == 'number' and heard or 0}
        end
      end
    end
    a = a + 6
  elseif verb == 'h' then
    local to, ttl, fence, h = ARGV[a + 2], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5]
    timed = true
    if lost then
      r = lost
    else
      local holder = try('GET', key)
      local m = call('HMGET', meta, 'f', 'h')
      local again = holder == to and m[2] == h
      if type(holder) == 'table' then
        r = {6, holder.err}
      elseif holder and holder ~= token and not again then
        r = {2, call('PTTL', key)}
      elseif m[1] and tonumber(m[1]) >= tonumber(fence) then
        r = {4, tonumber(m[1])}
      else
        local set = try('SET', key, to, 'PX', ttl)
        if set.err then
          r = {6, set.err}
        else
          call('HSET', meta, 'f', fence, 'h', h)
          call('PEXPIRE', meta, retention)
          r = {1, tonumber(fence), holder and 1 or 0}
        end
      end
    end
    a = a + 6
  elseif verb == 'l' then
    local set = try('SET', key, token, 'PX', ARGV[a + 2], 'NX')
    if set and set.err then
      r = {6, set.err}
    elseif not set then
      r = {2, call('PTTL', key)}
    else
      local m = call('HMGET', meta, 'f', 'h')
      local fence, seen = tonumber(ARGV[a + 3]), tonumber(m[1] or '0')
      if seen > fence then fence = seen + 1 end
      call('HSET', meta, 'f', string.format('%d', fence), 'h', string.match(m[2] or '', ' .*') or '')
      call('PEXPIRE', meta, retention)
      r = {1, fence}
    end
    a = a + 4
  elseif verb == 'i' then
    local holder = try('GET', key)
    local m = call('HMGET', meta, 'f', 'h')
    local fence = tonumber(m[1] or '0')
    if type(holder) == 'table' then
      r = {6, holder.err}
    elseif not holder then
      r = {3, fence}
    else
      local owner = string.match(m[2] or '', ' (.*)') or ''
      r = {1, fence, call('PTTL', key), holder, owner}
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
