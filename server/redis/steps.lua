-- Carries out a batch of lock steps on one Redis node, in order and atomically.
--
-- KEYS[1]             the key of the mark
-- KEYS[2k], KEYS[2k+1]  of step k: the lock's key and its metadata key (for `mark`, the mark's key twice)
-- ARGV[1]             what must be at KEYS[1]: the stamp of the node set, a space, and the guard's mark,
--                     which is not compared if it is ''. '' if no step compares anything
-- ARGV[2]             how long metadata outlives its key, in milliseconds
-- ARGV[3...]          of each step: its name, and the arguments that its function below lists
--
-- Returns one result for each step and, if a step needs it, the node's clock in microseconds. A result
-- is true if the step was carried out, {true, details...} if there is more to say, or {status, detail}:
--   held         the key's TTL in ms: another token holds the key
--   not_held     the stored fence, or 0: the token does not hold the key
--   stale_fence  the stored fence, which is not below the proposed one
--   wrong_set    what was found at KEYS[1]: the node belongs to another node set, or to another epoch of it
--   wrong_mark   what was found at KEYS[1]
--   kept         the number of the keeper, which is not below that of the adoption
--   failed       the error of a command
-- The C++ side of the names of steps and statuses is server/redis/scripts.h.
--
-- A lock's key holds the owner token, as `SET key token NX PX ttl` writes it, so that redlockd and other
-- Redlock libraries exclude each other. The metadata key is a hash:
--   f  the fencing token
--   t  the holder: a digest of the owner token, a space, and the owner's label. If the digest does not
--      match the token at the key, another library has taken the key since.
--   w  the keeper, which is the stream that the lease belongs to: its number, a space, and its id. The
--      id is '-' if the lease has since been extended by other means. Missing: no stream's end deletes
--      the key.
--   a  present until the first extension: the acquisition can still be rolled back
--
-- Rules that every step keeps:
--   * Whatever can fail (a key of another type, no memory, a read-only replica) runs under pcall before
--     the step changes anything. One step's error neither ends another step nor leaves half a step.
--   * An extension must work at maxmemory. It uses no command that needs memory unless it has something
--     new to store.
--   * Numbers stay below 2^53, which Lua's doubles represent exactly.
--
-- Redis runs this file from the top on every call. Functions that most batches do not need are
-- therefore created inside rare_step(), because creating a closure costs as much as a small step.

local call, try = redis.call, redis.pcall


local retention = ARGV[2]
-- Set by steps whose caller wants the node's clock.
local wants_clock = false
-- The result of every step that votes, if the node does not carry the expected stamp: two quorums that
-- are counted by different records may have no node in common.
local wrong_set
-- The result of every step that may grant, if the node does not carry the expected mark either: it may
-- have lost its data.
local wrong_mark
if ARGV[1] ~= '' then
  local found = call('GET', KEYS[1]) or ''
  if found ~= ARGV[1] then
    local stamp, mark = string.match(ARGV[1], '^(%S*) (.*)$')
    if string.match(found, '^%S*') ~= stamp then
      wrong_set = {'wrong_set', found}
      wrong_mark = wrong_set
    elseif mark ~= '' then
      wrong_mark = {'wrong_mark', found}
    end
  end
end

local function failed(reply)
  return type(reply) == 'table' and reply.err
end

-- The number and the id of a stored keeper; 0 and nil if there is none.
local function parts_of(keeper)
  local number, id = string.match(keeper or '', '^(%d+) (.*)$')
  return tonumber(number or '0'), id
end

-- The result of a step whose token does not hold the key; nil if the token holds it.
local function refusal(key, token)
  local found = try('GET', key)
  if found == token then return nil end
  if failed(found) then return {'failed', found.err} end
  if not found then return {'not_held', 0} end
  return {'held', call('PTTL', key)}
end

-- Extends a key that the token holds. `number` and `id` name the extending stream; nil if no stream
-- extends. `take` says whether the lease belongs to that stream from now on:
--   nil       only if it belonged to a stream with a lower number
--   'last'    unless a stream with the same or a higher number took it before
--   'always'  yes, with a number above that of the stream before
-- Result: true, the fence (negative if it is an earlier holder's), the keeper.
local function extend_held(key, meta, digest, ttl, raise_to, number, id, take)
  local m = try('HMGET', meta, 'f', 't', 'w', 'a')
  if m.err then return {'failed', m.err} end
  local fence = tonumber(m[1] or '0')
  local ours = m[2] and string.match(m[2], '^%w*') == digest
  local keeper = ours and m[3] or nil
  local stored, stored_id = parts_of(keeper)
  local new_keeper
  if not number then
    -- No stream's end may delete what a client keeps by other means.
    if keeper and stored_id ~= '-' then new_keeper = string.format('%d -', stored) end
  elseif stored_id ~= id then
    if take == 'last' and stored >= number then return {'kept', stored} end
    if take == 'always' then number = stored + 1 end
    if take or (keeper and stored < number) then
      new_keeper = string.format('%d ', number) .. id
    end
  end
  if new_keeper then
    if failed(try('HSET', meta, 'w', new_keeper)) then
      -- Without memory for the new keeper, the lease belongs to no stream: it can only expire late.
      call('HDEL', meta, 'w')
      keeper = nil
    else
      keeper = new_keeper
    end
  end
  if raise_to > fence then
    local stored_fence =
      try('HSET', meta, 'f', string.format('%d', raise_to), 't', ours and m[2] or digest)
    if failed(stored_fence) then return {'failed', stored_fence.err} end
    fence, ours = raise_to, true
  end
  -- A confirmed lease is no longer rolled back.
  if m[4] then call('HDEL', meta, 'a') end
  -- An extension never shortens a TTL.
  if call('PTTL', key) < tonumber(ttl) then call('PEXPIRE', key, ttl) end
  call('PEXPIRE', meta, retention)
  return {true, ours and fence or -fence, keeper or ''}
end

-- acquire, acquire_or_extend: token, ttl, fence, holder, attempt
-- Grants a free key, but only above the fence that is stored: fences of one key grow.
-- acquire_or_extend extends instead if the token holds the key already.
local function acquire(key, meta, a, or_extend)
  wants_clock = true
  if wrong_mark then return wrong_mark end
  local token, ttl, fence = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local holder, attempt = ARGV[a + 4], ARGV[a + 5]
  local seen = try('HGET', meta, 'f')
  if failed(seen) then return {'failed', seen.err} end
  if not seen or tonumber(seen) < tonumber(fence) then
    local set = try('SET', key, token, 'PX', ttl, 'NX')
    if set and set.err then return {'failed', set.err} end
    if set then
      call('HSET', meta, 'f', fence, 't', holder, 'w', fence .. ' ' .. attempt, 'a', '1')
      call('PEXPIRE', meta, retention)
      return true
    end
  end
  local found = try('GET', key)
  if failed(found) then return {'failed', found.err} end
  if not found then return {'stale_fence', tonumber(seen)} end
  if found ~= token or not or_extend then return {'held', call('PTTL', key)} end
  local digest = string.match(holder, '^%w*')
  return extend_held(key, meta, digest, ttl, 0, tonumber(fence), attempt, 'always')
end

-- release: token
-- Result: true, and the number of subscribers that heard of it, unless that is 0.
local function release(key, a)
  local refused = refusal(key, ARGV[a + 1])
  if refused then return refused end
  call('DEL', key)
  local heard = try('PUBLISH', 'redlockd:released:' .. key, key)
  return type(heard) == 'number' and heard > 0 and {true, heard} or true
end

-- extend, adopt: token, ttl, raise to, digest, keeper's number ('' for none), keeper's id
-- adopt makes the lease belong to that keeper.
local function extend(key, meta, a, take)
  return wrong_set or refusal(key, ARGV[a + 1]) or
    extend_held(key, meta, ARGV[a + 4], ARGV[a + 2], tonumber(ARGV[a + 3]), tonumber(ARGV[a + 5]),
                ARGV[a + 6], take)
end

-- Every other step. Returns its result and the index in ARGV of the step after it.
local function rare_step(name, key, meta, a)
  -- token, only this attempt ('' for any), seal ('0' for none), announce ('1' or '0'), number and id of
  -- the stream that has ended ('' if none has)
  -- Result: true, the number of subscribers that heard of it, 1 if the seal was stored.
  local function release_if()
    local refused = refusal(key, ARGV[a + 1])
    if refused then return refused end
    local attempt, seal = ARGV[a + 2], ARGV[a + 3]
    local ended, ended_id = tonumber(ARGV[a + 5]), ARGV[a + 6]
    local m = try('HMGET', meta, 'f', 'w', 'a')
    if m.err then return {'failed', m.err} end
    local stored, stored_id = parts_of(m[2])
    -- A late roll-back must not end what has been confirmed since.
    if attempt ~= '' and not (m[3] and stored_id == attempt) then return {'not_held', 0} end
    -- The late end of a stream must not end what another stream has adopted since.
    if ended and stored_id ~= ended_id and (not stored_id or stored >= ended) then
      return {'not_held', 0}
    end
    -- A sealed release ends only holds with a lower fence, so a later hold survives a late copy.
    if seal ~= '0' and m[1] and tonumber(m[1]) >= tonumber(seal) then
      return {'stale_fence', tonumber(m[1])}
    end
    local sealed = 0
    if seal ~= '0' and not failed(try('HSET', meta, 'f', seal)) then
      call('PEXPIRE', meta, retention)
      sealed = 1
    end
    call('DEL', key)
    local heard = ARGV[a + 4] == '1' and try('PUBLISH', 'redlockd:released:' .. key, key)
    return {true, type(heard) == 'number' and heard or 0, sealed}
  end

  -- from, to, ttl, fence, holder, attempt
  -- Gives the key to `to` if `from` holds it or nobody does. A repetition with a higher fence raises
  -- the fence. Result: true, the fence, 1 if the key was held.
  local function hand_over()
    wants_clock = true
    if wrong_mark then return wrong_mark end
    local from, to, fence, attempt = ARGV[a + 1], ARGV[a + 2], ARGV[a + 4], ARGV[a + 6]
    local found = try('GET', key)
    if failed(found) then return {'failed', found.err} end
    local m = try('HMGET', meta, 'f', 'w')
    if m.err then return {'failed', m.err} end
    local _, stored_id = parts_of(m[2])
    local repeated = found == to and stored_id == attempt
    if found and found ~= from and not repeated then return {'held', call('PTTL', key)} end
    if m[1] and tonumber(m[1]) >= tonumber(fence) then return {'stale_fence', tonumber(m[1])} end
    local set = try('SET', key, to, 'PX', ARGV[a + 3])
    if set.err then return {'failed', set.err} end
    call('HSET', meta, 'f', fence, 't', ARGV[a + 5], 'w', fence .. ' ' .. attempt, 'a', '1')
    call('PEXPIRE', meta, retention)
    return {true, tonumber(fence), found and 1 or 0}
  end

  -- token, ttl, fence, digest, keeper (as stored; '' for none), '1' if it counts as a vote
  -- Restores a key that a quorum has just confirmed, or that may count as confirmed. Never lowers a fence: above a higher one, which may
  -- be another holder's, it stores the next. Result: true, the fence.
  local function repair()
    if wrong_set then return wrong_set end
    if wrong_mark and ARGV[a + 6] == '1' then return wrong_mark end
    local m = try('HMGET', meta, 'f', 't')
    if m.err then return {'failed', m.err} end
    if ARGV[a + 6] == '1' and m[1] and tonumber(m[1]) > tonumber(ARGV[a + 3]) then
      return {'stale_fence', tonumber(m[1])}
    end
    local set = try('SET', key, ARGV[a + 1], 'PX', ARGV[a + 2], 'NX')
    if set and set.err then return {'failed', set.err} end
    if not set then return {'held', call('PTTL', key)} end
    local digest, keeper = ARGV[a + 4], ARGV[a + 5]
    local fence, seen = tonumber(ARGV[a + 3]), tonumber(m[1] or '0')
    local ours = m[2] and string.match(m[2], '^%w*') == digest
    if seen > fence then fence = seen + 1 end
    call('HSET', meta, 'f', string.format('%d', fence), 't', ours and m[2] or digest)
    call('HDEL', meta, 'w', 'a')
    if keeper ~= '' then call('HSET', meta, 'w', keeper) end
    call('PEXPIRE', meta, retention)
    return {true, fence}
  end

  -- no arguments
  -- Result: true, the fence, the TTL left in ms, the token, the holder; or NOT_HELD, the fence.
  local function inspect()
    if wrong_mark then return wrong_mark end
    local found = try('GET', key)
    if failed(found) then return {'failed', found.err} end
    local m = try('HMGET', meta, 'f', 't')
    if m.err then return {'failed', m.err} end
    local fence = tonumber(m[1] or '0')
    if not found then return {'not_held', fence} end
    return {true, fence, call('PTTL', key), found, m[2] or ''}
  end

  -- from ('' for none), to, the stamp that the node must carry ('' for any)
  -- Replaces the guard's mark if it is `from`. Result: true, the key's value as it then is.
  local function mark()
    wants_clock = true
    local value = call('GET', key) or ''
    local stamp, found = string.match(value, '^(%S*) (.*)$')
    if (found or value) ~= ARGV[a + 1] then return {true, value} end
    if ARGV[a + 3] ~= '' and ARGV[a + 3] ~= stamp then return {true, value} end
    value = (stamp or '') .. ' ' .. ARGV[a + 2]
    local set = try('SET', key, value)
    if set.err then return {'failed', set.err} end
    return {true, value}
  end

  if name == 'release_if' then return release_if(), a + 7 end
  if name == 'hand_over' then return hand_over(), a + 7 end
  if name == 'repair' then return repair(), a + 7 end
  if name == 'inspect' then return inspect(), a + 1 end
  if name == 'mark' then return mark(), a + 4 end
  return nil
end

local results, n, k, a = {}, 0, 2, 3
local name = ARGV[a]
while name do
  local key, meta = KEYS[k], KEYS[k + 1]
  local result
  if name == 'acquire' then
    result, a = acquire(key, meta, a, false), a + 6
  elseif name == 'release' then
    result, a = release(key, a), a + 2
  elseif name == 'extend' then
    result, a = extend(key, meta, a, nil), a + 7
  elseif name == 'adopt' then
    result, a = extend(key, meta, a, 'last'), a + 7
  elseif name == 'acquire_or_extend' then
    result, a = acquire(key, meta, a, true), a + 6
  else
    result, a = rare_step(name, key, meta, a)
    -- The steps after an unknown one cannot be told apart. All steps of the call count as undecided.
    if not result then return redis.error_reply('ERR redlockd: unknown step ' .. name) end
  end
  n = n + 1
  results[n] = result
  k = k + 2
  name = ARGV[a]
end
if wants_clock then
  local time = call('TIME')
  results[n + 1] = time[1] * 1000000 + time[2]
end
return results
