-- Carries out a batch of lock steps on one Redis node, atomically: acquisitions first, then releases, then
-- all others. A key can repeat among the acquisitions and among the others, in the order of the steps. Apart
-- from that, keys differ, so the order of the groups does not matter.
--
-- KEYS[1]    the key of the mark
-- KEYS[...]  of each acquisition: the lock's key and its metadata key; of each release: the lock's key; of
--            each other step: the lock's key and its metadata key (for `mark`, the mark's key twice), or, if
--            its name follows 'together' and a number, so many keys, each with its metadata key
-- ARGV[1]    what must be at KEYS[1]: the stamp of the node set, a space, and the guard's mark, which is not
--            compared if it is ''. '' if no step compares anything
-- ARGV[2]    how long metadata outlives its key, in milliseconds
-- ARGV[3]    the number of acquisitions
-- ARGV[4]    the number of releases
-- ARGV[...]  of each acquisition: token, TTL, metadata; of each release: token; of each other step: its name,
--            and the arguments that its function below lists. 'together' and the number of keys come before
--            the name of a step on several keys, which is carried out on all of them or on none
--
-- Returns one result for each step and, if a step needs it, the node's clock in microseconds. A result
-- is true if the step was carried out, {true, details...} if there is more to say, or {status, detail}:
--   held         the key's TTL in ms: another token holds the key. From steps that acquire, also that token
--                and the holder as in the metadata, or ''
--   not_held     the stored fence, or 0: the token does not hold the key
--   stale_fence  the stored fence, which is not below the proposed one
--   wrong_set    what was found at KEYS[1]: the node belongs to another node set, or to another epoch of it
--   wrong_mark   what was found at KEYS[1]
--   kept         the number of the keeper, which is not below that of the adoption
--   failed       the error of a command
-- The C++ side of the names of steps and statuses is server/redis/scripts.h.
--
-- A lock's key holds the owner token, as `SET key token NX PX ttl` writes it, so that redlockd and other
-- Redlock libraries exclude each other. The metadata key holds one string:
--
--   FENCE STATE KEEPER ID DIGEST[ LABEL]
--
--   FENCE        the fencing token
--   STATE        'a' until the first extension, because the acquisition can still be rolled back; then 'c'
--   KEEPER ID    the stream that the lease belongs to: its number and its id. The id is '-' if the lease has
--                since been extended by other means. '- -': no stream's end deletes the key
--   DIGEST       of the owner token. If it does not match the token at the key, another library has taken
--                the key since. '-' if no holder is known
--   LABEL        of the owner
-- A string of another form, or a value of another type, counts as no metadata.
--
-- Rules that every step keeps:
--   * Whatever can fail for one step (a key of another type, no memory) runs under pcall before the step
--     changes anything. One step's error neither ends another step nor leaves half a step. Where nothing
--     may be written at all (a read-only replica), the whole call fails.
--   * An extension must work at maxmemory. Redis refuses commands that need memory only until the script
--     has run its first command that writes; PEXPIRE is one that needs none.
--   * Numbers stay below 2^53, which Lua's doubles represent exactly. '%.0f' writes them, because '%d' cuts
--     them to 32 bits in some builds of Redis.
--
-- Redis runs this file from the top on every call, and creating a closure costs as much as a small step.
-- Functions that only the other steps need are therefore created only if there are such steps.

local call, try, match = redis.call, redis.pcall, string.match
local KEYS, ARGV = KEYS, ARGV  -- locals are faster than globals

local retention = ARGV[2]
local results = {}
-- Set by steps whose caller wants the node's clock: by those that may grant, if they do.
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
    local stamp, mark = match(ARGV[1], '^(%S*) (.*)$')
    if match(found, '^%S*') ~= stamp then
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

-- The result of a step that would acquire a key that `found` holds. `stored`: the key's metadata.
local function held(key, stored, found)
  return {'held', call('PTTL', key), found, match(stored, '^%d+ %a %S+ %S+ (.*)$') or ''}
end

-- Grants a free key, but only above the fence that is stored: fences of one key grow. `stored`: the key's
-- metadata, or ''. If the token holds the key already, calls `extend` if it is given.
local function acquire(key, meta, stored, token, ttl, granted, extend)
  local seen = stored ~= '' and tonumber(match(stored, '^(%d+) %a %S+ %S+ '))
  if not seen or seen < tonumber(match(granted, '^%d+')) then
    local set = try('SET', key, token, 'PX', ttl, 'NX')
    if set and set.err then return {'failed', set.err} end
    if set then
      wants_clock = true
      call('SET', meta, granted, 'PX', retention)
      return true
    end
  end
  local found = try('GET', key)
  if failed(found) then return {'failed', found.err} end
  if not found then return {'stale_fence', seen} end
  if found ~= token or not extend then return held(key, stored, found) end
  wants_clock = true
  return extend()
end

local acquisitions, releases = tonumber(ARGV[3]), tonumber(ARGV[4])

if acquisitions > 0 then
  local metas = {}
  for i = 1, acquisitions do metas[i] = KEYS[2 * i + 1] end
  local stored = try('MGET', unpack(metas))
  local granted = {}  -- by this call, for a key that repeats
  for i = 1, acquisitions do
    local meta, a = metas[i], 3 * i + 2
    local result = wrong_mark or stored.err and {'failed', stored.err} or
      acquire(KEYS[2 * i], meta, granted[meta] or stored[i] or '', ARGV[a], ARGV[a + 1], ARGV[a + 2])
    if result == true then granted[meta] = ARGV[a + 2] end
    results[i] = result
  end
end

-- Announced, whoever hears of it. Result: true, and the number of subscribers that heard of it, unless
-- that is 0.
if releases > 0 then
  local keys, ours = {}, {}
  for i = 1, releases do keys[i] = KEYS[1 + 2 * acquisitions + i] end
  local found = try('MGET', unpack(keys))  -- a key of another type counts as free
  for i, key in ipairs(keys) do
    if found.err then
      results[acquisitions + i] = {'failed', found.err}
    elseif found[i] == ARGV[4 + 3 * acquisitions + i] then
      ours[#ours + 1] = key
    else
      results[acquisitions + i] = found[i] and {'held', call('PTTL', key)} or {'not_held', 0}
    end
  end
  if #ours > 0 then call('DEL', unpack(ours)) end
  for i, key in ipairs(keys) do
    if not results[acquisitions + i] then
      local heard = try('PUBLISH', 'redlockd:released:' .. key, key)
      results[acquisitions + i] = type(heard) == 'number' and heard > 0 and {true, heard} or true
    end
  end
end

-- The steps that are neither acquisitions nor releases, from ARGV[a] on.
local a = 5 + 3 * acquisitions + releases
if ARGV[a] then
  -- The metadata, '' if there is none; nil and a result if it cannot be read.
  local function read(meta)
    local text = try('GET', meta)
    if not failed(text) then return text or '' end
    if string.find(text.err, 'WRONGTYPE', 1, true) then return '' end
    return nil, {'failed', text.err}
  end

  -- The fence (0 if there is none), the state, the keeper and the holder; the last three can be nil.
  local function parse(stored)
    local fence, state, keeper, holder = match(stored, '^(%d+) (%a) (%S+ %S+) (.*)$')
    if keeper == '- -' then keeper = nil end
    return tonumber(fence or '0'), state, keeper, holder
  end

  local function format(fence, state, keeper, holder)
    return string.format('%.0f', fence) .. ' ' .. state .. ' ' .. (keeper or '- -') .. ' ' .. (holder or '-')
  end

  -- The number and the id of a keeper; 0 and nil if there is none.
  local function parts_of(keeper)
    local number, id = match(keeper or '', '^(%d+) (.*)$')
    return tonumber(number or '0'), id
  end

  local function digest_of(holder)
    return match(holder or '', '^%w*')
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
  -- Result: true, the fence (negative if it is an earlier holder's), the keeper, the holder.
  local function extend_held(key, meta, stored, digest, ttl, raise_to, number, id, take)
    local fence, state, kept, holder = parse(stored)
    local ours = digest_of(holder) == digest
    local keeper = ours and kept or nil
    local keeper_number, keeper_id = parts_of(keeper)
    local new_keeper
    if not number then
      -- No stream's end may delete what a client keeps by other means.
      if keeper and keeper_id ~= '-' then new_keeper = string.format('%.0f -', keeper_number) end
    elseif keeper_id ~= id then
      if take == 'last' and keeper_number >= number then return {'kept', keeper_number} end
      if take == 'always' then number = keeper_number + 1 end
      if take or (keeper and keeper_number < number) then
        new_keeper = string.format('%.0f ', number) .. id
      end
    end
    local raise = raise_to > fence
    if raise then
      fence, holder, ours = raise_to, ours and holder or digest, true
    end
    -- An extension never shortens a TTL.
    if call('PTTL', key) < tonumber(ttl) then call('PEXPIRE', key, ttl) end
    call('PEXPIRE', meta, retention)
    -- A confirmed lease, with state 'c', is no longer rolled back.
    if new_keeper or raise or state == 'a' then
      local text = format(fence, 'c', new_keeper or kept, holder)
      local set = try('SET', meta, text, 'PX', retention)
      if set.err then return {'failed', set.err} end
    end
    return {true, ours and fence or -fence, new_keeper or keeper or '', ours and holder or ''}
  end

  -- token, ttl, raise to, digest, keeper's number ('' for none), keeper's id
  -- adopt makes the lease belong to that keeper.
  local function extend(key, meta, take)
    local refused = wrong_set or refusal(key, ARGV[a + 1])
    if refused then return refused end
    local stored, unreadable = read(meta)
    if unreadable then return unreadable end
    return extend_held(key, meta, stored, ARGV[a + 4], ARGV[a + 2], tonumber(ARGV[a + 3]),
                       tonumber(ARGV[a + 5]), ARGV[a + 6], take)
  end

  -- token, ttl, metadata
  local function acquire_or_extend(key, meta)
    if wrong_mark then return wrong_mark end
    local stored, unreadable = read(meta)
    if unreadable then return unreadable end
    local token, ttl, granted = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
    return acquire(key, meta, stored, token, ttl, granted, function()
      local _, _, keeper, holder = parse(granted)
      local number, id = parts_of(keeper)
      return extend_held(key, meta, stored, digest_of(holder), ttl, 0, number, id, 'always')
    end)
  end

  -- token, only this attempt ('' for any), seal ('0' for none), announce ('1' or '0'), number and id of
  -- the stream that has ended ('' if none has)
  -- Result: true, the number of subscribers that heard of it, 1 if the seal was stored.
  local function release_if(key, meta)
    local refused = refusal(key, ARGV[a + 1])
    if refused then return refused end
    local attempt, seal = ARGV[a + 2], tonumber(ARGV[a + 3])
    local ended, ended_id = tonumber(ARGV[a + 5]), ARGV[a + 6]
    local stored, unreadable = read(meta)
    if unreadable then return unreadable end
    local fence, state, keeper, holder = parse(stored)
    local keeper_number, keeper_id = parts_of(keeper)
    -- A late roll-back must not end what has been confirmed since.
    if attempt ~= '' and not (state == 'a' and keeper_id == attempt) then return {'not_held', 0} end
    -- The late end of a stream must not end what another stream has adopted since.
    if ended and keeper_id ~= ended_id and (not keeper_id or keeper_number >= ended) then
      return {'not_held', 0}
    end
    -- A sealed release ends only holds with a lower fence, so a later hold survives a late copy.
    if seal > 0 and fence >= seal then return {'stale_fence', fence} end
    call('DEL', key)
    local sealed = 0
    if seal > 0 then
      local set = try('SET', meta, format(seal, state or 'c', keeper, holder), 'PX', retention)
      if not set.err then sealed = 1 end
    end
    local heard = ARGV[a + 4] == '1' and try('PUBLISH', 'redlockd:released:' .. key, key)
    return {true, type(heard) == 'number' and heard or 0, sealed}
  end

  -- from, to, ttl, metadata
  -- Gives the key to `to` if `from` holds it or nobody does. A repetition with a higher fence raises
  -- the fence. Result: true, the fence, 1 if the key was held.
  local function hand_over(key, meta)
    if wrong_mark then return wrong_mark end
    local from, to, granted = ARGV[a + 1], ARGV[a + 2], ARGV[a + 4]
    local found = try('GET', key)
    if failed(found) then return {'failed', found.err} end
    local stored, unreadable = read(meta)
    if unreadable then return unreadable end
    local seen, _, keeper = parse(stored)
    local fence, _, attempt = parse(granted)
    local _, stored_id = parts_of(keeper)
    local _, id = parts_of(attempt)
    local repeated = found == to and stored_id == id
    if found and found ~= from and not repeated then return held(key, stored, found) end
    if seen >= fence then return {'stale_fence', seen} end
    local set = try('SET', key, to, 'PX', ARGV[a + 3])
    if set.err then return {'failed', set.err} end
    wants_clock = true
    call('SET', meta, granted, 'PX', retention)
    return {true, fence, found and 1 or 0}
  end

  -- token, ttl, fence, holder, keeper ('' for none), '1' if it counts as a vote
  -- Restores a key that a quorum has just confirmed, or that may count as confirmed. Never lowers a
  -- fence: above a higher one, which may be another holder's, it stores the next. Result: true, the
  -- fence.
  local function repair(key, meta)
    if wrong_set then return wrong_set end
    if wrong_mark and ARGV[a + 6] == '1' then return wrong_mark end
    local stored, unreadable = read(meta)
    if unreadable then return unreadable end
    local fence, seen, _, _, stored_holder = tonumber(ARGV[a + 3]), parse(stored)
    if ARGV[a + 6] == '1' and seen > fence then return {'stale_fence', seen} end
    local set = try('SET', key, ARGV[a + 1], 'PX', ARGV[a + 2], 'NX')
    if set and set.err then return {'failed', set.err} end
    if not set then return {'held', call('PTTL', key)} end
    local holder, keeper = ARGV[a + 4], ARGV[a + 5] ~= '' and ARGV[a + 5] or nil
    if digest_of(stored_holder) == digest_of(holder) then holder = stored_holder end
    if seen > fence then fence = seen + 1 end
    call('SET', meta, format(fence, 'c', keeper, holder), 'PX', retention)
    return {true, fence}
  end

  -- no arguments
  -- Result: true, the fence, the TTL left in ms, the token, the holder; or NOT_HELD, the fence.
  local function inspect(key, meta)
    if wrong_mark then return wrong_mark end
    local found = try('GET', key)
    if failed(found) then return {'failed', found.err} end
    local stored, unreadable = read(meta)
    if unreadable then return unreadable end
    local fence, _, _, holder = parse(stored)
    if not found then return {'not_held', fence} end
    return {true, fence, call('PTTL', key), found, holder or ''}
  end

  -- from ('' for none), to, the stamp that the node must carry ('' for any)
  -- Replaces the guard's mark if it is `from`. Result: true, the key's value as it then is.
  local function mark(key)
    wants_clock = true
    local value = call('GET', key) or ''
    local stamp, found = match(value, '^(%S*) (.*)$')
    if (found or value) ~= ARGV[a + 1] then return {true, value} end
    if ARGV[a + 3] ~= '' and ARGV[a + 3] ~= stamp then return {true, value} end
    value = (stamp or '') .. ' ' .. ARGV[a + 2]
    local set = try('SET', key, value)
    if set.err then return {'failed', set.err} end
    return {true, value}
  end

  -- no arguments
  -- Does what acquisitions and extensions do. The key is not a lock's, and expires soon.
  local function try_grant(key, meta)
    for _, command in ipairs({{'MGET', key, meta}, {'SET', key, '', 'PX', 1000},
                              {'SET', meta, '', 'PX', 1000}, {'PEXPIRE', meta, 1000},
                              {'DEL', key, meta}}) do
      local reply = try(unpack(command))
      if failed(reply) then return {'failed', reply.err} end
    end
    return true
  end

  -- The steps on several keys. Each first looks at all keys and then changes them, so that it does all or
  -- nothing. KEYS[k] is the first key; `count` keys follow each other, each with its metadata key.
  local function steps_together()
    -- Calls look(key, meta, stored, found) for each key, until it returns a result.
    local function each(k, count, look)
      for i = k, k + 2 * (count - 1), 2 do
        local found = try('GET', KEYS[i])
        if failed(found) then return {'failed', found.err} end
        local stored, unreadable = read(KEYS[i + 1])
        local result = unreadable or look(KEYS[i], KEYS[i + 1], stored, found)
        if result then return result end
      end
    end

    -- The result of a step that finds another holder of a key. Of several such keys, the one that is held
    -- longest decides when all are free.
    local function longest(one, other)
      return one and one[2] >= other[2] and one or other
    end

    -- Gives all keys to the token, with the metadata `granted`.
    local function set_all(k, count, token, ttl, granted)
      for i = k, k + 2 * (count - 1), 2 do
        local set = try('SET', KEYS[i], token, 'PX', ttl)
        if set.err then return {'failed', set.err} end  -- only the first: later ones need no permission
        call('SET', KEYS[i + 1], granted, 'PX', retention)
      end
    end

    -- As extend_held, for all keys. The fences of a claim are equal, so other ones count as an earlier
    -- holder's.
    local function extend_all(k, count, digest, ttl, raise_to, number, id, take)
      local kept, stored_at = 0, {}
      local unreadable = each(k, count, function(_, meta, stored)
        local _, _, keeper, holder = parse(stored)
        local keeper_number, keeper_id = parts_of(digest_of(holder) == digest and keeper or nil)
        if keeper_id ~= id then kept = math.max(kept, keeper_number) end
        stored_at[meta] = stored
      end)
      if unreadable then return unreadable end
      if number and take == 'last' and kept >= number then return {'kept', kept} end
      if number and take == 'always' then number, take = kept + 1, 'last' end
      local all
      for i = k, k + 2 * (count - 1), 2 do
        local meta = KEYS[i + 1]
        local one = extend_held(KEYS[i], meta, stored_at[meta], digest, ttl, raise_to, number, id, take)
        if one[1] ~= true then return one end
        if all and all[2] ~= one[2] then
          all[2] = -math.max(math.abs(all[2]), math.abs(one[2]))
        end
        all = all or one
      end
      return all
    end

    -- As extend.
    local function extend_together(k, count, take)
      if wrong_set then return wrong_set end
      local missing, other
      local unreadable = each(k, count, function(key, _, _, found)
        if not found then
          missing = {'not_held', 0}
        elseif found ~= ARGV[a + 1] then
          other = longest(other, {'held', call('PTTL', key)})
        end
      end)
      return unreadable or other or missing or
        extend_all(k, count, ARGV[a + 4], ARGV[a + 2], tonumber(ARGV[a + 3]), tonumber(ARGV[a + 5]),
                   ARGV[a + 6], take)
    end

    -- As acquire, and with `adopt` as acquire_or_extend. If the token holds some of the keys, they may belong
    -- to another lease of its, which a roll-back must not end: this step changes nothing then.
    local function acquire_together(k, count, adopt)
      if wrong_mark then return wrong_mark end
      local token, ttl, granted = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
      local fence, _, keeper, holder = parse(granted)
      local highest, ours, other = 0, 0, nil
      local unreadable = each(k, count, function(key, _, stored, found)
        highest = math.max(highest, (parse(stored)))
        if found == token then ours = ours + 1 end
        if found then other = longest(other, held(key, stored, found)) end
      end)
      if unreadable then return unreadable end
      wants_clock = true
      if adopt and ours == count then
        local number, id = parts_of(keeper)
        return extend_all(k, count, digest_of(holder), ttl, 0, number, id, 'always')
      end
      if other then return other end
      if highest >= fence then return {'stale_fence', highest} end
      return set_all(k, count, token, ttl, granted) or true
    end

    -- As release_if: releases each key that it may.
    local function release_together(k, count)
      local all, stale, other, unknown
      for i = k, k + 2 * (count - 1), 2 do
        local one = release_if(KEYS[i], KEYS[i + 1])
        if one[1] == true then
          all = all and {true, math.max(all[2], one[2]), math.min(all[3], one[3])} or one
        elseif one[1] == 'failed' then
          unknown = unknown or one
        elseif one[1] == 'stale_fence' then
          stale = stale and stale[2] >= one[2] and stale or one
        elseif not other or one[1] == 'held' then
          other = one
        end
      end
      if all and other then all[3] = 0 end  -- the other keys are not sealed
      return unknown or stale or all or other
    end

    -- As hand_over.
    local function hand_over_together(k, count)
      if wrong_mark then return wrong_mark end
      local from, to, granted = ARGV[a + 1], ARGV[a + 2], ARGV[a + 4]
      local fence, _, attempt = parse(granted)
      local _, id = parts_of(attempt)
      local highest, any, other = 0, 0, nil
      local unreadable = each(k, count, function(key, _, stored, found)
        local seen, _, keeper = parse(stored)
        local _, stored_id = parts_of(keeper)
        highest = math.max(highest, seen)
        if found then any = 1 end
        if found and found ~= from and not (found == to and stored_id == id) then
          other = longest(other, held(key, stored, found))
        end
      end)
      if unreadable or other then return unreadable or other end
      if highest >= fence then return {'stale_fence', highest} end
      wants_clock = true
      return set_all(k, count, to, ARGV[a + 3], granted) or {true, fence, any}
    end

    -- As repair. The token may hold some of the keys.
    local function repair_together(k, count)
      if wrong_set then return wrong_set end
      local counts = ARGV[a + 6] == '1'
      if wrong_mark and counts then return wrong_mark end
      local token, ttl, fence = ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 3])
      local holder, keeper = ARGV[a + 4], ARGV[a + 5] ~= '' and ARGV[a + 5] or nil
      local highest, ours, other, left = 0, 0, nil, {}
      local unreadable = each(k, count, function(key, _, stored, found)
        local seen, _, _, stored_holder = parse(stored)
        highest = math.max(highest, seen)
        if digest_of(stored_holder) == digest_of(holder) then holder = stored_holder end
        if found == token then
          ours, left[key] = ours + 1, call('PTTL', key)
        elseif found then
          other = longest(other, {'held', call('PTTL', key)})
        end
      end)
      if unreadable then return unreadable end
      if counts and highest > fence then return {'stale_fence', highest} end
      if other then return other end
      if ours == count then return {'held', left[KEYS[k]]} end
      if highest > fence then fence = highest + 1 end
      local granted = format(fence, 'c', keeper, holder)
      for i = k, k + 2 * (count - 1), 2 do
        local set = try('SET', KEYS[i], token, 'PX', math.max(tonumber(ttl), left[KEYS[i]] or 0))
        if set.err then return {'failed', set.err} end
        call('SET', KEYS[i + 1], granted, 'PX', retention)
      end
      return {true, fence}
    end

    return function(name, k, count)
      if name == 'acquire' then return acquire_together(k, count, false), 4 end
      if name == 'acquire_or_extend' then return acquire_together(k, count, true), 4 end
      if name == 'extend' then return extend_together(k, count, nil), 7 end
      if name == 'adopt' then return extend_together(k, count, 'last'), 7 end
      if name == 'release_if' then return release_together(k, count), 7 end
      if name == 'hand_over' then return hand_over_together(k, count), 5 end
      if name == 'repair' then return repair_together(k, count), 7 end
    end
  end

  local together  -- created when the first step on several keys needs it

  local function one_step(name, key, meta)
    if name == 'extend' then return extend(key, meta, nil), 7 end
    if name == 'adopt' then return extend(key, meta, 'last'), 7 end
    if name == 'acquire_or_extend' then return acquire_or_extend(key, meta), 4 end
    if name == 'release_if' then return release_if(key, meta), 7 end
    if name == 'hand_over' then return hand_over(key, meta), 5 end
    if name == 'repair' then return repair(key, meta), 7 end
    if name == 'inspect' then return inspect(key, meta), 1 end
    if name == 'mark' then return mark(key), 4 end
    if name == 'try_grant' then return try_grant(key, meta), 1 end
  end

  local n, k = acquisitions + releases, 2 + 2 * acquisitions + releases
  while ARGV[a] do
    local count, result, words = 1
    if ARGV[a] == 'together' then
      count, a = tonumber(ARGV[a + 1]), a + 2
      together = together or steps_together()
      result, words = together(ARGV[a], k, count)
    else
      result, words = one_step(ARGV[a], KEYS[k], KEYS[k + 1])
    end
    -- The steps after an unknown one cannot be told apart. All steps of the call count as undecided.
    if not result then return redis.error_reply('ERR redlockd: unknown step ' .. ARGV[a]) end
    n = n + 1
    results[n] = result
    k, a = k + 2 * count, a + words
  end
end

if wants_clock then
  local time = call('TIME')
  results[#results + 1] = time[1] * 1000000 + time[2]
end
return results
