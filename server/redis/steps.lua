-- Carries out a batch of lock steps on one Redis node, atomically: acquisitions, then releases, hand-overs,
-- extensions, and all others. A key can repeat among the acquisitions and among the others, in the order of
-- the steps. Apart from that, keys differ, so the order of the groups does not matter.
--
-- KEYS[1]    the key of the mark
-- KEYS[...]  of each acquisition: the lock's key and its metadata key; of each release: the lock's key; of
--            each hand-over and each extension: the lock's key and its metadata key; of each other step: the
--            same (for `mark`, the mark's key twice), or, if its name follows 'together' or 'shared' and a
--            number, so many keys, each with its metadata key
-- ARGV[1]    what must be at KEYS[1]: the stamp of the node set, a space, and the guard's mark, which is not
--            compared if it is ''. '' if no step compares anything
-- ARGV[2]    the fence retention: how long metadata outlives its key, in milliseconds; at least 60,000
-- ARGV[3]    the number of acquisitions
-- ARGV[4]    the number of releases
-- ARGV[5-7]  if there are acquisitions: the lowest and the highest fence that they propose, with 16 digits,
--            and how long to keep their metadata, in milliseconds
-- ARGV[...]  of each acquisition: token, TTL, metadata; of each release: token. If there are hand-overs:
--            'hand-overs', their number, and three arguments like ARGV[5-7]; of each hand-over: the token
--            that holds the key, the token that receives it, TTL, metadata. If there are extensions:
--            'extensions', their number, and how long to keep their metadata, in milliseconds; of each
--            extension: token, TTL, the longest TTL, the keeper's number ('' for none), and the keeper's ID
--            and the digest as they are in the metadata. Of each other step: its name, and the arguments
--            that its function below lists. 'together' and the number of keys come before
--            the name of a step on several keys, which is carried out on all of them or on none. 'shared'
--            takes the place of 'together' if the token shares the keys with others. 'slot', the limit of a
--            semaphore and the number of a slot come before the name of a step on that slot. Releases release
--            whatever the token has: a key, a share of it, or a slot
--
-- Returns one result for each step and, if a step needs it, the node's clock in microseconds. A result
-- is true if the step was carried out, {true, details...} if there is more to say, the metadata if the step
-- was one of the extensions and left it unchanged, or {status, detail}:
--   taken        the key's TTL in ms, the token at the key, which is not a marker, and the metadata, or '' if
--                there is none: the usual refusal of an acquisition. The node's clock is returned as well
--   held         the key's TTL in ms: another token holds the key. From steps that acquire, also that token
--                and the holder without its value, or ''. If holders share the key, the token is the marker,
--                and the holder is one of them: the one whose share expires last. Its own token follows, or
--                '', and how many share the key. From those that acquire a slot, if the key is such a
--                semaphore, the holder is likewise the one whose slot expires last, if no slot is free. Its
--                own token follows, or '', the slots, '1' for each that is in use and '0' for the others, and
--                the number of the one that the token has, or 0. The TTL is then that of the token's slot, or
--                else of the slot that is free first, or 0
--   not_held     the stored fence, or 0: the token does not hold the key
--   stale_fence  the stored fence, which is not below the proposed one
--   wrong_set    what was found at KEYS[1]: the node belongs to another node set, or to another epoch of it
--   wrong_mark   what was found at KEYS[1]
--   kept         the number of the keeper, which is not below that of the adoption
--   failed       the error of a command
-- A holder in a result is as in the metadata, but with the time since SINCE, in ms, in place of SINCE.
-- The C++ side of the names of steps and statuses is server/redis/scripts.h.
--
-- A lock's key holds the owner token, as `SET key token NX PX ttl` writes it, so that redlockd and other
-- Redlock libraries exclude each other. The metadata key holds one string:
--
--   FENCE STATE KEEPER ID DIGEST[[ @DAEMON IDENTITY PEER][ LABEL][\255DELAY NUMBER VALUE] SINCE]
--
--   FENCE        the fencing token
--   STATE        'a' until the first extension, because the acquisition can still be rolled back; then 'c'
--   KEEPER ID    the stream that the lease belongs to: its number and its id. The id is '-' if the lease has
--                since been extended by other means. '- -': no stream's end deletes the key
--   DIGEST       of the owner token. If it does not match the token at the key, another library has taken
--                the key since. '-' if no holder is known
--   LABEL        of the owner. DAEMON, IDENTITY, PEER and LABEL describe the holder to people; no step reads
--                them
--   DELAY        how long a lost lease keeps others out after its TTL, in ms. Extensions add it to the TTL
--   NUMBER       of the value that was proclaimed last, or 0. A value with a lower number does not replace it
--   VALUE        that the holder publishes. The byte 255 occurs in no UTF-8
--   SINCE        when the key was acquired, by the node's own clock, in ms. '-' if it is unknown
-- A string of another form, or a value of another type, counts as no metadata.
--
-- While holders share a key, the key holds a marker instead of a token. Each of them has a share: a key of
-- its own that is stored like a lock, with its token, its expiry and its metadata. The metadata of the shared
-- key is then
--
--   FENCE s EXCLUSIVE SEALED -
--
--   FENCE        the highest fencing token so far, which that of an exclusive holder must exceed
--   EXCLUSIVE    the highest of the exclusive holders so far, which that of a sharing holder must exceed
--   SEALED       the highest with which a share or a slot was sealed, which that of a new holder of a slot
--                must exceed, so that a late release of one slot does not end a later hold of another one
-- A sorted set lists the tokens of the shares by the time at which they expire. The marker expires with the
-- last of them. Without the marker, shares count for nothing. An intent, a key that expires soon, says that
-- an exclusive acquisition waits: it stops new shares, but neither extensions nor repairs.
--
-- A semaphore is like a shared key: the key holds a marker with the limit, and its metadata has the same
-- form. Each slot is a key of its own that is stored like a lock. The marker expires with the last slot.
-- Without it, slots count for nothing. A token has at most one slot.
--
-- Metadata outlives its key by the retention. The fences of all metadata that is gone are summed up in one
-- record, so that what a node stores does not grow with the number of keys that were ever locked. A new
-- holder's fence must exceed the stored one and the floor:
--
--   WINDOW FLOOR CEILING EARLIER
--
--   WINDOW       the number of windows of 20 s that the node's clock has counted. Three of them are not
--                longer than the retention
--   FLOOR        no fence that was stored before the previous window exceeds it
--   CEILING      no fence that was ever stored exceeds it. Most proposals do, because they follow the clock.
--                Their acquisitions need not look at the metadata of their keys
--   EARLIER      no fence that was stored before this window exceeds it
-- Fences have 16 digits there, so that they can be compared without being converted to numbers.
-- A fence below FLOOR may belong to metadata that still exists, which does no harm: the proposals of daemons
-- whose clocks are right are higher.
--
-- A key that stays taken after a release (keep_for, or DELAY at the end of a stream) holds a value that is
-- derived from the token and that no token can be. It expires when the time is over.
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
-- Redis runs this file from the top on every call, and creating a closure costs as much as a small step. The
-- common steps, plain acquisitions, releases, hand-overs and extensions, therefore come first and call no
-- function. All functions are created only if a step needs one. Conversions between numbers and strings cost
-- as much as small commands: the common steps pass on what they get as strings.

local call, try, match = redis.call, redis.pcall, string.match
local KEYS, ARGV = KEYS, ARGV  -- locals are faster than globals

local retention = ARGV[2]
local acquisitions, releases = tonumber(ARGV[3]), tonumber(ARGV[4])
local arguments = (acquisitions > 0 and 7 or 4) + 3 * acquisitions  -- before those of the releases
local a = arguments + releases + 1  -- the first argument of the first step that is neither
local looks = acquisitions > 0 or ARGV[a]  -- a call that only releases need not look at the node's state
local h, hand_overs = a, ARGV[a] == 'hand-overs' and tonumber(ARGV[a + 1]) or 0
local first_hand_over = 2 + 2 * acquisitions + releases  -- the index of its key
if hand_overs > 0 then a = a + 5 + 4 * hand_overs end
local extensions = ARGV[a] == 'extensions' and tonumber(ARGV[a + 1]) or 0
local first_extension = first_hand_over + 2 * hand_overs
local results = {}
-- While somebody observes keys: those whose holder, fence or value the steps have changed. They are announced
-- at the end.
local changed
-- The longest TTL, in ms, of the keys that steps could not acquire. Callers may now wait for these keys.
local longest_wait
local OBSERVERS = 'redlockd:observers'
local WAITERS = 'redlockd:waiters'
local FENCES = 'redlockd:fences'
local WINDOW = 20000  -- ms
local LONGEST = 1e12  -- ms. Redis accepts longer TTLs, but not all sums of them and 10 s
local RECORD = '^(%d+) (%d+) (%d+) (%d+)$'  -- of the fences
local FENCE = '^(%d+) %a %S+ %S+ '  -- of metadata
-- The metadata of an extended lease with a fence of 16 digits. Captures the keeper's ID and the digest.
local CONFIRMED = '^%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d c [%d-]+ (%S+ %w+)'
local SHARED = 'redlockd:shared'      -- the marker of shared keys
local SEMAPHORE = '^redlockd:sem:(%d+)$'  -- that of semaphores, with the limit

local shared_releases  -- the numbers of the releases of shares and slots, if there are any

-- What the other steps need to know of the node.
local looked
-- The result of every step that votes, if the node does not carry the expected stamp: two quorums that
-- are counted by different records may have no node in common.
local wrong_set
-- The result of every step that may grant, if the node does not carry the expected mark either: it may
-- have lost its data.
local wrong_mark
-- The node's clock in microseconds, and in milliseconds also as the last word of metadata.
local micros, millis, now_word
-- Set by steps whose caller wants the node's clock: by those that may grant, if they do.
local wants_clock = false
if looks then
  looked = try('MGET', KEYS[1], OBSERVERS, FENCES,
               unpack(KEYS, first_hand_over, first_extension + 2 * extensions - 1))
  local time = try('TIME')
  local found, observed = looked[1] or '', looked[2]
  if observed then changed = {} end
  if looked.err or time.err then
    wrong_set = {'failed', looked.err or time.err}
    wrong_mark = wrong_set
    time = {'0', '0'}
  elseif ARGV[1] ~= '' and found ~= ARGV[1] then
    local stamp, mark = match(ARGV[1], '^(%S*) (.*)$')
    if match(found, '^%S*') ~= stamp then
      wrong_set = {'wrong_set', found}
      wrong_mark = wrong_set
    elseif mark ~= '' then
      wrong_mark = {'wrong_mark', found}
    end
  end
  micros = time[1] * 1000000 + time[2]
  local text = time[1] .. string.sub('00000' .. time[2], -6, -4)
  millis, now_word = tonumber(text), ' ' .. text
end

-- The record of the fences, as strings; nil if there is none.
local window, floor, ceiling, earlier = match(looked and looked[3] or '', RECORD)
-- Other programs can write the record. Comparing numbers as strings is correct only if all have 16 digits.
local in_window = window and #floor == 16 and #ceiling == 16 and
  tonumber(window) == math.floor(millis / WINDOW)

-- Grants free keys, and refuses most that other tokens hold. Leaves the others to the steps below, such as
-- those of shared keys and those with stale fences, and leaves all to them if the fences' record is not of
-- this window, or if a fence is not above the floor. Releases come later, because Redis no longer compares
-- maxmemory after the first command that writes. The few acquisitions that the steps below treat are not
-- compared then.
if acquisitions > 0 and in_window and not wrong_mark and floor < ARGV[5] then
  local stored, highest, lifetime = {}, ARGV[6], ARGV[7]
  if ceiling >= ARGV[5] then  -- the metadata may have a fence that is as high as those proposed
    for i = 1, acquisitions do stored[i] = KEYS[2 * i + 1] end
    stored = try('MGET', unpack(stored))
  end
  for i = 1, stored.err and 0 or acquisitions do
    local b = 3 * i + 5
    local granted = ARGV[b + 2]
    local seen = stored[i] and match(stored[i], FENCE)
    if not seen or tonumber(seen) < tonumber(match(granted, '^%d+')) then
      local key = KEYS[2 * i]
      local set = try('SET', key, ARGV[b], 'PX', ARGV[b + 1], 'NX')
      if set and set.ok and ceiling < highest then  -- the call stores its first fence
        local record = window .. ' ' .. floor .. ' ' .. highest .. ' ' .. earlier
        set = try('SET', FENCES, record)
        if set.ok then ceiling = highest else call('DEL', key) end
      end
      if set and set.ok then
        call('SET', KEYS[2 * i + 1], granted .. now_word, 'PX', lifetime)
        results[i] = true
        wants_clock = true
        if changed then changed[key] = true end
      elseif set then
        results[i] = {'failed', set.err}
      else
        local found = try('MGET', key, KEYS[2 * i + 1])
        local token, about = found[1], found[2] or ''
        -- Leaves markers, kept keys and metadata with a value to the steps below: no result carries a value.
        if token and string.sub(token, 1, 9) ~= 'redlockd:' and not string.find(about, '\255', 1, true) then
          local left = call('PTTL', key)
          longest_wait = math.max(longest_wait or 0, left)
          results[i] = {'taken', left, token, about}
          wants_clock = true
        end
      end
    end
  end
end

-- While somebody waits for a key, whichever it is, releases are announced. Result: true, and the number of
-- subscribers that heard of it, unless that is 0.
if releases > 0 then
  local before, ours = 1 + 2 * acquisitions, {}
  -- A key of another type counts as free.
  local found = try('MGET', OBSERVERS, WAITERS, unpack(KEYS, before + 1, before + releases))
  local observed, awaited = found[1], found[2]
  if observed then changed = changed or {} end
  for i = 1, releases do
    local key, token = KEYS[before + i], found[i + 2]
    if found.err then
      results[acquisitions + i] = {'failed', found.err}
    elseif token == ARGV[arguments + i] then
      ours[#ours + 1] = key
      if observed then changed[key] = true end
      results[acquisitions + i] = true
    elseif token == SHARED or token and match(token, SEMAPHORE) then
      shared_releases = shared_releases or {}
      shared_releases[#shared_releases + 1] = i
    else
      results[acquisitions + i] = token and {'held', call('PTTL', key)} or {'not_held', 0}
    end
  end
  if #ours > 0 then call('DEL', unpack(ours)) end
  for i = 1, awaited and releases or 0 do
    if results[acquisitions + i] == true then
      local key = KEYS[before + i]
      local heard = try('PUBLISH', 'redlockd:released:' .. key, key)
      if type(heard) == 'number' and heard > 0 then results[acquisitions + i] = {true, heard} end
    end
  end
end

-- Hands over the keys that the first token of the hand-over still holds. Leaves the other hand-overs, such
-- as those of expired keys, to the steps below, and leaves all to them if the fences' record is not of this
-- window.
local handed_over = acquisitions + releases  -- the number of results before those of the hand-overs
if hand_overs > 0 and in_window and not wrong_mark and floor < ARGV[h + 2] then
  local highest, lifetime = ARGV[h + 3], ARGV[h + 4]
  for i = 1, hand_overs do
    local b, k = h + 4 * i + 1, first_hand_over + 2 * i - 2
    local granted = ARGV[b + 3]
    local seen = match(looked[2 * i + 3] or '', FENCE)
    local above = not seen or tonumber(seen) < tonumber(match(granted, '^%d+'))
    if above and looked[2 * i + 2] == ARGV[b] then
      local set = {}
      if ceiling < highest then
        set = try('SET', FENCES, window .. ' ' .. floor .. ' ' .. highest .. ' ' .. earlier)
        if set.ok then ceiling = highest end
      end
      if not set.err then set = try('SET', KEYS[k], ARGV[b + 1], 'PX', ARGV[b + 2]) end
      if set.err then
        results[handed_over + i] = {'failed', set.err}
      else
        call('SET', KEYS[k + 1], granted .. now_word, 'PX', lifetime)
        results[handed_over + i] = true
        wants_clock = true
        if changed then changed[KEYS[k]] = true end
      end
    end
  end
end

-- Extends what the tokens hold, where only the expiry changes: extensions confirmed the lease before, its
-- keeper stays, no lock delay or value is stored, and the record covers the fence. PEXPIRE needs no memory.
local extended = handed_over + hand_overs  -- the number of results before those of the extensions
if extensions > 0 and in_window and not wrong_set then
  local lifetime = ARGV[a + 2]
  for i = 1, extensions do
    local b, k = a + 5 * i - 2, first_extension + 2 * i - 2
    local l = k - first_hand_over + 4
    local token, stored = looked[l], looked[l + 1]
    if token == ARGV[b] and stored and match(stored, CONFIRMED) == ARGV[b + 4] and
      string.sub(stored, 1, 16) <= ceiling and not string.find(stored, '\255', 1, true) then
      -- An extension never shortens a TTL. It sets one if the key does not expire.
      if call('PTTL', KEYS[k]) <= tonumber(ARGV[b + 1]) then
        call('PEXPIRE', KEYS[k], ARGV[b + 1])
        call('PEXPIRE', KEYS[k + 1], lifetime)
        results[extended + i] = stored
        wants_clock = true
      end
    end
  end
end

local first_other = extensions > 0 and a + 3 + 5 * extensions or a  -- its first argument
local any_left = ARGV[first_other]  -- steps that need functions
for i = 1, extended + extensions do any_left = any_left or not results[i] end

if any_left then
  if not looked then  -- the call releases shares and slots only
    looked = call('MGET', KEYS[1], OBSERVERS, FENCES)
    micros = call('TIME')
    micros = micros[1] * 1000000 + micros[2]
    millis = math.floor(micros / 1000)
    window, floor, ceiling, earlier = match(looked[3] or '', RECORD)
  end

  local function failed(reply)
    return type(reply) == 'table' and reply.err
  end

  -- The functions compute with the record.
  window, floor = tonumber(window or '0'), tonumber(floor or '0')
  ceiling, earlier = tonumber(ceiling or '0'), tonumber(earlier or '0')

  -- Returns a result if it cannot.
  local function write_record(at, low, high, before)
    local text = string.format('%.0f %016.0f %016.0f %016.0f', at, low, high, before)
    local set = try('SET', FENCES, text)
    if set.err then return {'failed', set.err} end
    window, floor, ceiling, earlier = at, low, high, before
  end

  -- Brings the record up to date before a fence is stored. Returns a result if it cannot.
  local function note(fence)
    local now = math.floor(millis / WINDOW)
    fence = math.min(fence, 2^53 - 1)  -- other programs can write metadata
    if now == window and fence <= ceiling then return end
    local new_floor, new_earlier = floor, earlier
    if now ~= window then
      -- If the clock jumped or nothing was stored for long, metadata from the last window may be gone.
      new_floor = now == window + 1 and earlier or ceiling
      new_earlier = ceiling
    end
    return write_record(now, new_floor, math.max(fence, ceiling), new_earlier)
  end

  -- The result of a step that would store this fence for a new holder, if the fence is not above the highest
  -- one that is stored, or above the floor.
  local function is_stale(fence, highest)
    local unnoted = note(fence)
    if unnoted then return unnoted end
    highest = math.max(highest, floor)
    return highest >= fence and {'stale_fence', highest} or nil
  end

  -- How long the metadata is kept of a key that has this TTL.
  local function lifetime(ttl)
    return string.format('%.0f', math.max(0, ttl) + retention)
  end

  -- A holder as in results.
  local function shown(holder)
    local text, since = match(holder, '^(.*) (%d+)$')
    if not text then return holder end
    return text .. string.format(' %.0f', math.max(0, millis - since))
  end

  -- The share of a key that expires last: its token and its metadata, '' if there is none; and how many share
  -- the key. Looks at few shares, because a waiting acquisition asks again and again.
  local function last_share(key)
    local all = 'redlockd:shares:{' .. key .. '}'
    local sharers = try('ZCOUNT', all, millis + 1, '+inf')
    if type(sharers) ~= 'number' then return '', '', 0 end
    for _, token in ipairs(try('ZREVRANGEBYSCORE', all, '+inf', millis + 1, 'LIMIT', 0, 4)) do
      if not match(token, '^redlockd:kept:') then
        local share = 'redlockd:share:{' .. key .. '}' .. redis.sha1hex(token)
        local stored = try('GET', 'redlockd:meta:{' .. share .. '}')
        return token, type(stored) == 'string' and stored or '', sharers
      end
    end
    return '', '', sharers
  end

  -- The result of a step that would acquire a key that `found` holds. `stored`: the key's metadata.
  local function held(key, stored, found)
    local token, sharers
    if found == SHARED then token, stored, sharers = last_share(key) end
    local holder = shown(match(stored, '^%d+ %a %S+ %S+ (.*)$') or '')
    if string.find(holder, '\255', 1, true) then
      holder = match(holder, '^[^\255]*') .. (match(holder, ' %S+$') or '')
    end
    local left = call('PTTL', key)
    longest_wait = math.max(longest_wait or 0, left)
    return {'held', left, found, holder, token, sharers}
  end

  -- Grants a free key, but only above the fence that is stored and above the floor: fences of one key grow.
  -- `stored`: the key's metadata, or ''. If the token holds the key already, calls `extend` if it is given.
  local function acquire(key, meta, stored, token, ttl, granted, extend)
    local found = try('GET', key)
    if failed(found) then return {'failed', found.err} end
    if found and (found ~= token or not extend) then return held(key, stored, found) end
    wants_clock = true
    if found then return extend() end
    local seen = tonumber(match(stored, FENCE) or '0')
    local stale = is_stale(tonumber(match(granted, '^%d+')), seen)
    if stale then return stale end
    local set = try('SET', key, token, 'PX', ttl)
    if set.err then return {'failed', set.err} end
    if changed then changed[key] = true end
    call('SET', meta, granted .. now_word, 'PX', lifetime(ttl))
    return true
  end

  -- The metadata, '' if there is none; nil and a result if it cannot be read.
  local function read(meta)
    local text = try('GET', meta)
    if not failed(text) then return text or '' end
    if string.find(text.err, 'WRONGTYPE', 1, true) then return '' end
    return nil, {'failed', text.err}
  end

  -- `place` is a lock's key, or where a share or a slot of one is stored.
  local function change(place)
    if changed then changed[match(place, '^redlockd:%a+:{(.*)}') or place] = true end
  end

  -- The fence (0 if there is none), the state, the keeper and the holder; the last three can be nil.
  local function parse(stored)
    local fence, state, keeper, holder = match(stored, '^(%d+) (%a) (%S+ %S+) (.*)$')
    if keeper == '- -' or state == 's' then keeper = nil end
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

  -- How long the holder's lost lease would keep others out after its TTL, in ms.
  local function delay_of(holder)
    local mark = string.find(holder, '\255', 1, true)
    return mark and tonumber(match(holder, '^(%d+) ', mark + 1) or '0') or 0
  end

  -- What a key holds that stays taken after the release by this token.
  local function kept_value(token)
    return 'redlockd:kept:' .. redis.sha1hex(token)
  end

  -- How long the key of this holder stays taken after its release, in ms. `keep` as in release_if. If the
  -- time of the acquisition is unknown, it counts from now on.
  local function time_kept(keep, key, holder, digest)
    local ours = digest_of(holder) == digest and holder or ''
    if keep == 'delay' then return math.min(call('PTTL', key), delay_of(ours)) end
    local age = tonumber(match(shown(ours), ' (%d+)$') or '0')
    return tonumber(keep) - age
  end

  -- The result of a step whose token does not hold the key; nil if the token holds it.
  local function refusal(key, token)
    local found = try('GET', key)
    if found == token then return nil end
    if failed(found) then return {'failed', found.err} end
    if not found then return {'not_held', 0} end
    return {'held', call('PTTL', key), marker = (found == SHARED or match(found, SEMAPHORE)) and found}
  end

  -- The holder with these terms. A value that is nil stays, with its number.
  local function with_terms(holder, delay, number, value)
    local text, since = match(holder, '^(.*) (%S+)$')
    local owner, stored_number, stored_value = match(text or holder, '^([^\255]*)\255%d+ (%d+) (.*)$')
    owner = owner or text or holder
    if not value then number, value = stored_number or 0, stored_value or '' end
    return owner .. '\255' .. string.format('%.0f %.0f ', delay, number) .. value .. ' ' .. (since or '-')
  end

  -- Extends a key that the token holds. `most` bounds the TTL together with the delay of the lease, which is
  -- at least `delay`.
  -- `number` and `id` name the extending stream; nil if no stream extends. `take` says whether the lease
  -- belongs to that stream from now on:
  --   nil       only if it belonged to a stream with a lower number
  --   'last'    unless a stream with the same or a higher number took it before
  --   'always'  yes, with a number above that of the stream before
  -- Result: true, the fence (negative if it is an earlier holder's), the keeper, the holder.
  local function extend_held(key, meta, stored, digest, ttl, most, raise_to, delay, number, id, take)
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
    if not ours then  -- the fences of holders before another library's may be forgotten
      local unnoted = note(fence)
      if unnoted then return unnoted end
      fence = math.max(fence, floor)
    end
    local raise = raise_to > fence
    if raise then
      fence, holder, ours = raise_to, ours and holder or digest, true
      change(key)
    end
    -- An extension never shortens a TTL. The expiry is the TTL and the delay.
    local stored_delay, left = ours and delay_of(holder) or 0, call('PTTL', key)
    local ends = math.max(ttl, left - stored_delay)
    delay = ours and math.max(0, math.min(math.max(stored_delay, delay), most - ends)) or 0
    local expiry = math.max(left, ends + delay)
    delay = expiry - ends
    if delay ~= stored_delay then holder = with_terms(holder, delay) end
    if left < expiry then call('PEXPIRE', key, expiry) end
    call('PEXPIRE', meta, lifetime(expiry))
    local unnoted = note(fence)
    if unnoted then return unnoted end
    -- A confirmed lease, with state 'c', is no longer rolled back.
    if new_keeper or raise or delay ~= stored_delay or state == 'a' then
      local text = format(fence, 'c', new_keeper or kept, holder)
      local set = try('SET', meta, text, 'PX', lifetime(expiry))
      if set.err then return {'failed', set.err} end
    end
    return {true, ours and fence or -fence, new_keeper or keeper or '', ours and shown(holder) or ''}
  end

  -- token, ttl, the longest TTL, raise to, least delay, digest, keeper's number ('' for none), keeper's id
  -- adopt makes the lease belong to that keeper.
  local function extend(key, meta, take, token, ttl, most, raise_to, delay, digest, number, id)
    local refused = wrong_set or refusal(key, token)
    if refused then return refused end
    local stored, unreadable = read(meta)
    if unreadable then return unreadable end
    return extend_held(key, meta, stored, digest, ttl, tonumber(most), tonumber(raise_to), tonumber(delay),
                       tonumber(number), id, take)
  end

  -- token, ttl of a new lease with its delay, metadata, ttl of a lease that is extended,
  -- the longest TTL
  local function acquire_or_extend(key, meta)
    if wrong_mark then return wrong_mark end
    local stored, unreadable = read(meta)
    if unreadable then return unreadable end
    local token, ttl, granted = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
    local _, _, keeper, holder = parse(granted)
    return acquire(key, meta, stored, token, ttl, granted, function()
      local number, id = parts_of(keeper)
      return extend_held(key, meta, stored, digest_of(holder), ARGV[a + 4], tonumber(ARGV[a + 5]), 0,
                         0, number, id, 'always')
    end)
  end

  local together  -- the steps on several keys and on shares, created when the first one needs it
  local steps_together

  -- Stores this fence after a release. `left`: how long the key stays taken. Returns 1, or 0 if the fence
  -- cannot be stored.
  local function seal_with(meta, left, seal, state, keeper, holder)
    if note(seal) then return 0 end
    local text = format(seal, state == 'a' and 'a' or 'c', keeper, holder)
    return try('SET', meta, text, 'PX', lifetime(left)).err and 0 or 1
  end

  -- token, only this attempt ('' for any), seal ('0' for none), announce ('1' or '0'), number and id of
  -- the stream that has ended ('' if none has), how long the key stays taken (in ms since the acquisition,
  -- 'delay' for that of the lease, '' if not at all), digest
  -- Result: true, the number of subscribers that heard of it, 1 if the seal was stored, 1 if others still
  -- share the key. That is not announced.
  local function release_if(key, meta, token, attempt, seal, audible, ended, ended_id, keep, digest)
    local refused, kept = refusal(key, token), keep ~= '' and kept_value(token)
    if refused and refused.marker then
      together = together or steps_together()
      return together.release_part(refused.marker, key, meta, token, attempt, seal, audible, ended,
                                   ended_id, keep, digest)
    end
    local again = refused and kept and refused[1] == 'held' and call('GET', key) == kept
    if refused and not again then return refused end
    seal, ended = tonumber(seal), tonumber(ended)
    local stored, unreadable = read(meta)
    if unreadable then return unreadable end
    local fence, state, keeper, holder = parse(stored)
    if again then
      local longer, left = time_kept(keep, key, holder, digest), call('PTTL', key)
      if left < longer then call('PEXPIRE', key, longer) end
      left = math.max(left, longer)
      return {true, 0, seal_with(meta, left, math.max(seal, fence), state, keeper, holder), 0}
    end
    local keeper_number, keeper_id = parts_of(keeper)
    -- A late roll-back must not end what has been confirmed since.
    if attempt ~= '' and not (state == 'a' and keeper_id == attempt) then return {'not_held', 0} end
    -- The late end of a stream must not end what another stream has adopted since.
    if ended and keeper_id ~= ended_id and (not keeper_id or keeper_number >= ended) then
      return {'not_held', 0}
    end
    -- A sealed release ends only holds with a lower fence, so a later hold survives a late copy.
    if seal > 0 and fence >= seal then return {'stale_fence', fence} end
    local left = kept and time_kept(keep, key, holder, digest) or 0
    if left > 0 then
      call('PEXPIRE', key, left)  -- needs no memory, and lets the next command have some
      call('SET', key, kept, 'PX', left)
    else
      call('DEL', key)
    end
    change(key)
    -- A repeated release that keeps the key taken needs the time of the acquisition.
    if left > 0 and not note(fence) then call('PEXPIRE', meta, lifetime(left)) end
    local sealed = seal > 0 and seal_with(meta, left, seal, state, keeper, holder) or 0
    local heard = audible == '1' and try('PUBLISH', 'redlockd:released:' .. key, key)
    return {true, type(heard) == 'number' and heard or 0, sealed, 0}
  end

  -- Gives the key to `to` if `from` holds it or nobody does. A repetition with a higher fence raises
  -- the fence. Result: true, the fence, 1 if the key was held.
  local function hand_over(key, meta, from, to, ttl, granted)
    if wrong_mark then return wrong_mark end
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
    local stale = is_stale(fence, seen)
    if stale then return stale end
    local set = try('SET', key, to, 'PX', ttl)
    if set.err then return {'failed', set.err} end
    wants_clock = true
    change(key)
    call('SET', meta, granted .. now_word, 'PX', lifetime(ttl))
    return {true, fence, found and 1 or 0}
  end

  -- The holder as stored, from one as in results.
  local function stored_holder(holder)
    local text, age = match(holder, '^(.*) (%d+)$')
    return text and text .. string.format(' %.0f', millis - age) or holder
  end

  -- token, ttl with the delay of the lease, fence, holder as in results, keeper ('' for none), '1' if it
  -- counts as a vote
  -- Restores a key that a quorum has just confirmed, or that may count as confirmed. Never lowers a
  -- fence: above a higher one, which may be another holder's, it stores the next. Result: true, the
  -- fence.
  local function repair(key, meta)
    if wrong_set then return wrong_set end
    if wrong_mark and ARGV[a + 6] == '1' then return wrong_mark end
    local stored, unreadable = read(meta)
    if unreadable then return unreadable end
    local fence, seen = tonumber(ARGV[a + 3]), parse(stored)
    if ARGV[a + 6] == '1' and seen > fence then return {'stale_fence', seen} end
    if seen > fence then fence = seen + 1 end
    local unnoted = note(fence)
    if unnoted then return unnoted end
    local set = try('SET', key, ARGV[a + 1], 'PX', ARGV[a + 2], 'NX')
    if set and set.err then return {'failed', set.err} end
    if not set then return {'held', call('PTTL', key)} end
    local keeper = ARGV[a + 5] ~= '' and ARGV[a + 5] or nil
    change(key)
    local text = format(fence, 'c', keeper, stored_holder(ARGV[a + 4]))
    call('SET', meta, text, 'PX', lifetime(ARGV[a + 2]))
    return {true, fence}
  end

  -- '1' if somebody observes the key
  -- Result: true, the fence, the TTL left in ms, the token, the holder; or NOT_HELD, the fence. A marker is
  -- followed by the token, the TTL left in ms, the holder, the fence and the number of each share or slot.
  -- The number of a share is 0.
  local function inspect(key, meta)
    if wrong_mark then return wrong_mark end
    wants_clock = true
    -- A failure matters little, because observers read again now and then.
    if ARGV[a + 1] == '1' and call('PTTL', OBSERVERS) < 5000 then try('SET', OBSERVERS, '', 'PX', 10000) end
    local found = try('GET', key)
    if failed(found) then return {'failed', found.err} end
    local stored, unreadable = read(meta)
    if unreadable then return unreadable end
    local fence, _, _, holder = parse(stored)
    if not found then return {'not_held', fence} end
    local result = {true, fence, call('PTTL', key), found, shown(holder or '')}
    if found ~= SHARED and not match(found, SEMAPHORE) then return result end
    together = together or steps_together()
    return together.list_parts(found, key, result)
  end

  -- from ('' for none), to, the stamp that the node must carry ('' for any)
  -- Replaces the guard's mark if it is `from`: the node's clock may have jumped. Result: true, the key's
  -- value as it then is.
  local function mark(key)
    wants_clock = true
    local value = call('GET', key) or ''
    local stamp, found = match(value, '^(%S*) (.*)$')
    if (found or value) ~= ARGV[a + 1] then return {true, value} end
    if ARGV[a + 3] ~= '' and ARGV[a + 3] ~= stamp then return {true, value} end
    value = (stamp or '') .. ' ' .. ARGV[a + 2]
    local set = try('SET', key, value)
    if set.err then return {'failed', set.err} end
    -- Any metadata may be gone, whatever the clock shows now.
    local unnoted = ceiling > 0 and write_record(window, ceiling, ceiling, ceiling)
    return unnoted or {true, value}
  end

  -- no arguments
  -- Does what acquisitions and extensions do. The key is not a lock's, and expires soon. Then looks at the
  -- permissions for all other steps. Result: true, and what is missing although the node can grant, if
  -- anything.
  local function try_grant(key, meta)
    -- Returns the permissions among `names` that the daemon's user lacks, as words of an ACL rule. `...`: the
    -- arguments of the commands. Returns none of which Redis says nothing: any before version 7, and a
    -- command that was renamed.
    local function lacking(names, ...)
      local words = ''
      for name in string.gmatch(names, '%S+') do
        local command = {}
        for word in string.gmatch(name, '[^|]+') do command[#command + 1] = word end
        for _, argument in ipairs({...}) do command[#command + 1] = argument end
        local known, allowed
        for _ = 0, 2 do
          known, allowed = pcall(redis.acl_check_cmd, unpack(command))
          if known then break end
          command[#command + 1] = '' -- Redis 8 says nothing of a command with too few arguments
        end
        if known and not allowed then words = words .. ' +' .. name end
      end
      return words
    end

    local forbidden
    for _, command in ipairs({{'MGET', key, meta}, {'SET', key, '', 'PX', 1000},
                              {'SET', meta, '', 'PX', 1000}, {'PEXPIRE', meta, 1000},
                              {'DEL', key, meta}}) do
      local reply = try(unpack(command))
      if failed(reply) and not string.find(reply.err, "can't run this command", 1, true) then
        return {'failed', reply.err}
      end
      forbidden = forbidden or failed(reply)
    end
    local needed = lacking('del exists get hdel hget hmget hset mget pexpire pexpireat pttl set ' ..
                           'zadd zcard zcount zrange zrem zremrangebyscore zrevrange zrevrangebyscore ' ..
                           'zscore', key) ..
                   lacking('info script|load time') .. lacking('eval', '', '0')
    if needed ~= '' then return {'failed', 'NOPERM missing:' .. needed} end
    if forbidden then return {'failed', forbidden} end
    local channels = lacking('publish subscribe', 'redlockd:released:' .. key)
    if channels ~= '' then channels = channels .. ' &redlockd:*' end
    local wanted = channels .. lacking('unsubscribe') .. lacking('config|get', 'appendfsync')
    return wanted == '' or {true, 'NOPERM missing:' .. wanted}
  end

  -- The steps on several keys, on shares and on slots. Each first looks at all keys and then changes them, so
  -- that it does all or nothing. `at` lists the keys, each a pair of the key and its metadata key.
  function steps_together()
    -- Calls look(key, meta, stored, found) for each key, until it returns a result.
    local function each(at, look)
      for _, one in ipairs(at) do
        local found = try('GET', one[1])
        if failed(found) then return {'failed', found.err} end
        local stored, unreadable = read(one[2])
        local result = unreadable or look(one[1], one[2], stored, found)
        if result then return result end
      end
    end

    -- The result of a step that finds another holder of a key. Of several such keys, a semaphore comes first,
    -- because there is no point in waiting for it. Otherwise, the one that is held for longest decides when
    -- all are free; a negative TTL means that the key does not expire.
    local function longest(one, other)
      if not one then return other end
      local of_one, of_other = match(one[3] or '', SEMAPHORE), match(other[3] or '', SEMAPHORE)
      if (of_one == nil) ~= (of_other == nil) then return of_one and one or other end
      return (one[2] < 0 or (other[2] >= 0 and one[2] >= other[2])) and one or other
    end

    -- Gives all keys to the token, with this metadata.
    local function set_all(at, token, ttl, metadata)
      for _, one in ipairs(at) do
        local set = try('SET', one[1], token, 'PX', ttl)
        if set.err then return {'failed', set.err} end  -- only the first: later ones need no permission
        call('SET', one[2], metadata, 'PX', lifetime(ttl))
        change(one[1])
      end
    end

    -- As extend_held, for all keys. The fences of a claim are equal, so other ones count as an earlier
    -- holder's.
    local function extend_all(at, digest, ttl, most, raise_to, delay, number, id, take)
      local kept, stored_at = 0, {}
      local unreadable = each(at, function(_, meta, stored)
        local _, _, keeper, holder = parse(stored)
        local keeper_number, keeper_id = parts_of(digest_of(holder) == digest and keeper or nil)
        if keeper_id ~= id then kept = math.max(kept, keeper_number) end
        stored_at[meta] = stored
      end)
      if unreadable then return unreadable end
      if number and take == 'last' and kept >= number then return {'kept', kept} end
      if number and take == 'always' then number, take = kept + 1, 'last' end
      local all
      for _, place in ipairs(at) do
        local key, meta = place[1], place[2]
        local one = extend_held(key, meta, stored_at[meta], digest, ttl, tonumber(most), raise_to,
                                delay, number, id, take)
        if one[1] ~= true then return one end
        if all and all[2] ~= one[2] then
          all[2] = -math.max(math.abs(all[2]), math.abs(one[2]))
        end
        all = all or one
      end
      return all
    end

    -- As extend.
    local function extend_together(at, take)
      if wrong_set then return wrong_set end
      local missing, other
      local unreadable = each(at, function(key, _, _, found)
        if not found then
          missing = {'not_held', 0}
        elseif found ~= ARGV[a + 1] then
          other = longest(other, {'held', call('PTTL', key)})
        end
      end)
      return unreadable or other or missing or
        extend_all(at, ARGV[a + 6], ARGV[a + 2], ARGV[a + 3], tonumber(ARGV[a + 4]),
                   tonumber(ARGV[a + 5]), tonumber(ARGV[a + 7]), ARGV[a + 8], take)
    end

    -- As acquire, and with `adopt` as acquire_or_extend. If the token holds some of the keys, they may belong
    -- to another lease of its, which a roll-back must not end: this step changes nothing then.
    local function acquire_together(at, adopt)
      if wrong_mark then return wrong_mark end
      local token, ttl, granted = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
      local fence, _, keeper, holder = parse(granted)
      local highest, ours, other = 0, 0, nil
      local unreadable = each(at, function(key, _, stored, found)
        highest = math.max(highest, (parse(stored)))
        if found == token then ours = ours + 1 end
        if found then other = longest(other, held(key, stored, found)) end
      end)
      if unreadable then return unreadable end
      wants_clock = true
      if adopt and ours == #at then
        local number, id = parts_of(keeper)
        return extend_all(at, digest_of(holder), ARGV[a + 4], ARGV[a + 5], 0, 0, number, id, 'always')
      end
      if other then return other end
      return is_stale(fence, highest) or set_all(at, token, ttl, granted .. now_word) or true
    end

    -- As release_if: releases each key that it may.
    local function release_together(at, ...)
      local all, stale, other, unknown
      for _, place in ipairs(at) do
        local one = release_if(place[1], place[2], ...)
        if one[1] == true then
          all = all or one
          all = {true, math.max(all[2], one[2]), math.min(all[3], one[3]), math.min(all[4], one[4])}
        elseif one[1] == 'failed' then
          unknown = unknown or one
        elseif one[1] == 'stale_fence' then
          stale = stale and stale[2] >= one[2] and stale or one
        elseif not other or one[1] == 'held' then
          other = one
        end
      end
      if all and other then all[3] = 0 end  -- the other keys are not sealed
      local not_kept = select(7, ...) ~= '' and other
      return unknown or stale or not_kept or all or other
    end

    -- As hand_over.
    local function hand_over_together(at)
      if wrong_mark then return wrong_mark end
      local from, to, granted = ARGV[a + 1], ARGV[a + 2], ARGV[a + 4]
      local fence, _, attempt = parse(granted)
      local _, id = parts_of(attempt)
      local highest, any, other = 0, 0, nil
      local unreadable = each(at, function(key, _, stored, found)
        local seen, _, keeper = parse(stored)
        local _, stored_id = parts_of(keeper)
        highest = math.max(highest, seen)
        if found then any = 1 end
        if found and found ~= from and not (found == to and stored_id == id) then
          other = longest(other, held(key, stored, found))
        end
      end)
      if unreadable or other then return unreadable or other end
      wants_clock = true
      return is_stale(fence, highest) or set_all(at, to, ARGV[a + 3], granted .. now_word) or
        {true, fence, any}
    end

    -- As repair. The token may hold some of the keys.
    local function repair_together(at)
      if wrong_set then return wrong_set end
      local counts = ARGV[a + 6] == '1'
      if wrong_mark and counts then return wrong_mark end
      local token, ttl, fence = ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 3])
      local keeper = ARGV[a + 5] ~= '' and ARGV[a + 5] or nil
      local highest, ours, other, left = 0, 0, nil, {}
      local unreadable = each(at, function(key, _, stored, found)
        highest = math.max(highest, (parse(stored)))
        if found == token then
          ours, left[key] = ours + 1, call('PTTL', key)
        elseif found then
          other = longest(other, {'held', call('PTTL', key)})
        end
      end)
      if unreadable then return unreadable end
      if counts and highest > fence then return {'stale_fence', highest} end
      if other then return other end
      if ours == #at then return {'held', left[at[1][1]]} end
      if highest > fence then fence = highest + 1 end
      local unnoted = note(fence)
      if unnoted then return unnoted end
      local granted = format(fence, 'c', keeper, stored_holder(ARGV[a + 4]))
      for _, one in ipairs(at) do
        local expiry = math.max(tonumber(ttl), left[one[1]] or 0)
        local set = try('SET', one[1], token, 'PX', expiry)
        if set.err then return {'failed', set.err} end
        call('SET', one[2], granted, 'PX', lifetime(expiry))
        change(one[1])
      end
      return {true, fence}
    end

    -- The place of a token's share of a key.
    local function share_of(key, token)
      local share = 'redlockd:share:{' .. key .. '}' .. redis.sha1hex(token)
      return {share, 'redlockd:meta:{' .. share .. '}'}
    end

    -- The sorted set of all shares, and the intent.
    local function shares_of(key)
      return 'redlockd:shares:{' .. key .. '}', 'redlockd:intent:{' .. key .. '}'
    end

    -- The highest fences: of all holders, of the exclusive ones, and of seals.
    local function fences_of(stored)
      local fence, exclusive, sealed = match(stored, '^(%d+) s (%d+) (%S+) ')
      if not fence then
        fence = match(stored, FENCE) or '0'
        exclusive = fence
      end
      return tonumber(fence), tonumber(exclusive), tonumber(sealed or '0') or 0
    end

    -- Whether a token is never used for a second hold. The metadata of other tokens' shares is retained,
    -- because it has the fence that a release was sealed with.
    local function is_made(token)
      return string.sub(token, 1, 3) == 'rl-'
    end

    -- Stores in a shared key's metadata that there was a holder with this fence, or a release with this seal.
    -- Changes nothing if the fences cannot be noted: the key then keeps metadata for at least as long.
    local function remember_fence(key, meta, fence, seal)
      local stored = read(meta) or ''
      local all, exclusive, sealed = fences_of(stored)
      seal = seal or 0
      if note(math.max(all, fence)) then return end
      if fence <= all and seal <= sealed and match(stored, '^%d+ s ') then
        call('PEXPIRE', meta, lifetime(call('PTTL', key)))
      else
        local others = string.format('%.0f %.0f', exclusive, math.max(sealed, seal))
        call('SET', meta, format(math.max(all, fence), 's', others), 'PX', lifetime(call('PTTL', key)))
      end
    end

    -- Looks at the keys and the token's shares. Returns a result that ends the step, or nil and:
    --   shares   the places of the shares
    --   ours     how many of them the token has
    --   other    the result for a key that another token holds exclusively; nil if none does
    --   intent   that for a key that is intended to be held exclusively; nil if none is
    --   fence    the highest fence of an exclusive holder, or that a share was sealed with
    --   left     the TTL that is left of each share that the token has, by its key
    local function look_at_shares(at, token)
      local shares, ours, other, intended, highest, left = {}, 0, nil, nil, 0, {}
      local ended = each(at, function(key, _, stored, found)
        local set, intent = shares_of(key)
        local count = try('ZCARD', set)
        if failed(count) then return {'failed', count.err} end
        local share = share_of(key, token)
        shares[#shares + 1] = share
        local _, exclusive = fences_of(stored)
        highest = math.max(highest, exclusive)
        if found and found ~= SHARED then
          other = longest(other, held(key, stored, found))
          return nil
        end
        local own = try('GET', share[1])
        if failed(own) then return {'failed', own.err} end
        local share_stored, unreadable = read(share[2])
        if unreadable then return unreadable end
        -- A share from before a marker that is gone is not in the set.
        if found and own == token and call('ZSCORE', set, token) then
          ours, left[share[1]] = ours + 1, call('PTTL', share[1])
        else
          highest = math.max(highest, (parse(share_stored)))
          local until_free = call('PTTL', intent)
          if until_free > 0 then intended = longest(intended, {'held', until_free, SHARED, '', '', 0}) end
        end
        return nil
      end)
      return ended, shares, ours, other, intended, highest, left
    end

    -- The token has got or extended its shares of the keys.
    local function shared(at, shares, token, fence)
      for i, one in ipairs(at) do
        local key, share, all = one[1], shares[i], (shares_of(one[1]))
        local left = math.max(1, call('PTTL', share[1]))  -- the share may be about to expire
        if is_made(token) then call('PEXPIRE', share[2], left) end
        if call('GET', key) ~= SHARED then
          call('SET', key, SHARED, 'PX', left)
          call('DEL', all)
        elseif call('PTTL', key) < left then
          call('PEXPIRE', key, left)
        end
        -- One millisecond more than the share has left, because the clock is cut to milliseconds.
        call('ZADD', all, millis + left + 1, token)
        if call('PTTL', all) < left then call('PEXPIRE', all, left + 1) end
        remember_fence(key, one[2], fence)
      end
    end

    -- Makes shares of the keys if the token holds all of them exclusively, with fences that are at most
    -- `from`: a late request must not take away what the token has acquired since. Returns a failure if it
    -- cannot.
    local function downgrade(at, token, from)
      local stored_at, own = {}, 0
      local ended = each(at, function(key, _, stored, found)
        if found == token and parse(stored) <= from then own = own + 1 end
        stored_at[key] = stored
      end)
      if ended or own < #at then return ended end
      for _, one in ipairs(at) do
        local key, share, all = one[1], share_of(one[1], token), (shares_of(one[1]))
        local left = math.max(1, call('PTTL', key))
        local set = try('SET', share[1], token, 'PX', left)
        if set.err then return {'failed', set.err} end
        call('SET', share[2], stored_at[key], 'PX', lifetime(left))
        change(key)
        call('SET', key, SHARED, 'PX', left)
        call('DEL', all)
        call('ZADD', all, millis + left + 1, token)
      end
      return nil
    end

    -- As extend, with one more argument at the end: up to which fence an exclusive hold of the token is
    -- downgraded.
    local function extend_shares(at, take)
      if wrong_set then return wrong_set end
      local from = tonumber(ARGV[a + 9])
      local failure = from > 0 and downgrade(at, ARGV[a + 1], from)
      if failure then return failure end
      local ended, shares, ours, other = look_at_shares(at, ARGV[a + 1])
      if ended then return ended end
      if other then return {'held', other[2]} end
      if ours < #at then return {'not_held', 0} end
      local result = extend_all(shares, ARGV[a + 6], ARGV[a + 2], ARGV[a + 3], tonumber(ARGV[a + 4]),
                                tonumber(ARGV[a + 5]), tonumber(ARGV[a + 7]), ARGV[a + 8], take)
      if result[1] == true then shared(at, shares, ARGV[a + 1], math.abs(result[2])) end
      return result
    end

    -- As acquire_together.
    local function acquire_shares(at, adopt)
      if wrong_mark then return wrong_mark end
      local token, ttl, granted = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
      local fence, _, keeper, holder = parse(granted)
      local ended, shares, ours, other, intended, highest, left = look_at_shares(at, token)
      if ended then return ended end
      wants_clock = true
      if other then return other end
      if adopt and ours == #at then
        local number, id = parts_of(keeper)
        local result = extend_all(shares, digest_of(holder), ARGV[a + 4], ARGV[a + 5], 0, 0, number, id,
                                  'always')
        if result[1] == true then shared(at, shares, token, math.abs(result[2])) end
        return result
      end
      if ours > 0 then
        local _, own_left = next(left)
        return {'held', own_left, token, ''}
      end
      if intended then return intended end
      local failure = is_stale(fence, highest) or set_all(shares, token, ttl, granted .. now_word)
      if failure then return failure end
      shared(at, shares, token, fence)
      return true
    end

    -- As repair. A share may be stored below the fence of another sharing holder.
    local function repair_shares(at)
      if wrong_set then return wrong_set end
      local counts = ARGV[a + 6] == '1'
      if wrong_mark and counts then return wrong_mark end
      local token, ttl, fence = ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 3])
      local ended, shares, ours, other, _, highest, left = look_at_shares(at, token)
      if ended then return ended end
      if counts and highest > fence then return {'stale_fence', highest} end
      if other then return {'held', other[2]} end
      if ours == #at then return {'held', left[shares[1][1]]} end
      if highest > fence then fence = highest + 1 end
      local unnoted = note(fence)
      if unnoted then return unnoted end
      local keeper = ARGV[a + 5] ~= '' and ARGV[a + 5] or nil
      local granted = format(fence, 'c', keeper, stored_holder(ARGV[a + 4]))
      for _, share in ipairs(shares) do
        local expiry = math.max(tonumber(ttl), left[share[1]] or 0)
        local set = try('SET', share[1], token, 'PX', expiry)
        if set.err then return {'failed', set.err} end
        call('SET', share[2], granted, 'PX', lifetime(expiry))
        change(share[1])
      end
      shared(at, shares, token, fence)
      return {true, fence}
    end

    -- The place of a slot of a semaphore.
    local function slot_of(key, slot)
      local place = 'redlockd:slot:{' .. key .. '}' .. slot
      return {place, 'redlockd:meta:{' .. place .. '}'}
    end

    -- The tokens of all slots, false for one that is free, and the slot that this token has, if any.
    local function holders_of(key, limit, token)
      local places = {}
      for i = 1, limit do places[i] = slot_of(key, i)[1] end
      local holders, own = call('MGET', unpack(places))  -- a key of another type counts as free
      for i = 1, limit do
        if holders[i] == token then own = i end
      end
      return holders, own
    end

    -- The TTL of a slot in ms; 0 if it is free.
    local function left_of(key, slot)
      return math.max(0, call('PTTL', slot_of(key, slot)[1]))
    end

    -- Looks at a semaphore. Returns a result that ends the step, because the key is in use in another way or
    -- cannot be read, or nil and:
    --   found    whether the key holds the marker
    --   holders  of the slots, as above
    --   own      the slot that the token has; nil if it has none
    --   place    of the slot of this step; if that is 0, of the one that the token has; nil if it has none
    --   stored   its metadata
    --   meta     what the metadata of the key is
    local function look_at_slots(at, limit, slot, token)
      local key = at[1][1]
      local look
      local ended = each(at, function(_, _, meta, found)
        if found and found ~= 'redlockd:sem:' .. limit then return held(key, meta, found) end
        local holders, own = holders_of(key, limit, token)
        local place = (slot ~= 0 or own) and slot_of(key, slot == 0 and own or slot)
        local stored, unreadable = '', nil
        if place then stored, unreadable = read(place[2]) end
        if unreadable then return unreadable end
        look = {found = found, holders = holders, own = own, place = place, stored = stored, meta = meta}
        if not found then look.leftover, look.holders, look.own = holders, {}, nil end
        return nil
      end)
      return ended, look
    end

    -- The result of a step that does not get its slot.
    local function slot_taken(key, limit, look)
      local used, first, last, named = {}, math.huge, -1, nil
      for i = 1, limit do
        local holder = look.holders[i]
        local left = holder and left_of(key, i) or 0
        used[i] = holder and '1' or '0'
        first = math.min(first, left)
        if holder and left > last and not match(holder, '^redlockd:kept:') then last, named = left, i end
      end
      local token, holder = '', ''
      if look.own then
        first = left_of(key, look.own)
      elseif first > 0 and named then
        local place = slot_of(key, named)
        token = look.holders[named]
        holder = held(place[1], read(place[2]) or '', token)[4]
      end
      return {'held', first, 'redlockd:sem:' .. limit, holder, token, table.concat(used), look.own or 0}
    end

    -- The TTL in ms of the slot that expires last, apart from this one; 0 if no other one is in use.
    local function last_left(key, limit, holders, slot)
      local last = 0
      for i = 1, limit do
        if holders[i] and i ~= slot then last = math.max(last, left_of(key, i)) end
      end
      return last
    end

    -- The token has got or extended the slot, perhaps from another token, which is sealed.
    local function has_slot(at, limit, look, fence, seal)
      local key, left = at[1][1], math.max(1, call('PTTL', look.place[1]))
      if not look.found then
        call('SET', key, 'redlockd:sem:' .. limit, 'PX', left)
        for i = 1, limit do
          local place = slot_of(key, i)[1]
          if look.leftover[i] and place ~= look.place[1] then call('DEL', place) end
        end
      elseif call('PTTL', key) < left then
        call('PEXPIRE', key, left)
      end
      remember_fence(key, at[1][2], fence, seal)
    end

    -- The fence that that of a new holder of the slot must exceed.
    local function highest_for_slot(look)
      local _, exclusive, sealed = fences_of(look.meta)
      return math.max(exclusive, sealed, (parse(look.stored)))
    end

    -- As acquire, and with `adopt` as acquire_or_extend.
    local function acquire_slot(at, limit, slot, adopt)
      if wrong_mark then return wrong_mark end
      local token, ttl, granted = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
      local fence, _, keeper, holder = parse(granted)
      local ended, look = look_at_slots(at, limit, slot, token)
      if ended then return ended end
      wants_clock = true
      if adopt and look.own == slot then
        local number, id = parts_of(keeper)
        local result = extend_all({look.place}, digest_of(holder), ARGV[a + 4], ARGV[a + 5], 0, 0, number, id,
                                  'always')
        if result[1] == true then has_slot(at, limit, look, math.abs(result[2])) end
        return result
      end
      if look.own or look.holders[slot] then return slot_taken(at[1][1], limit, look) end
      local failure = is_stale(fence, highest_for_slot(look)) or
        set_all({look.place}, token, ttl, granted .. now_word)
      if failure then return failure end
      has_slot(at, limit, look, fence)
      return true
    end

    -- As extend, with the slot at the end of the result. If `slot` is 0: of the slot that the token has.
    local function extend_slot(at, limit, slot, take)
      if wrong_set then return wrong_set end
      local ended, look = look_at_slots(at, limit, slot, ARGV[a + 1])
      if ended then return ended[1] == 'held' and {'held', ended[2]} or ended end
      if not look.own or slot ~= 0 and look.own ~= slot then
        return look.holders[slot] and {'held', left_of(at[1][1], slot)} or {'not_held', 0}
      end
      local result = extend_all({look.place}, ARGV[a + 6], ARGV[a + 2], ARGV[a + 3], tonumber(ARGV[a + 4]),
                                tonumber(ARGV[a + 5]), tonumber(ARGV[a + 7]), ARGV[a + 8], take)
      if result[1] == true then
        has_slot(at, limit, look, math.abs(result[2]))
        result[5] = look.own
      end
      return result
    end

    -- As hand_over.
    local function hand_over_slot(at, limit, slot)
      if wrong_mark then return wrong_mark end
      local from, to, granted = ARGV[a + 1], ARGV[a + 2], ARGV[a + 4]
      local fence, _, attempt = parse(granted)
      local _, id = parts_of(attempt)
      local ended, look = look_at_slots(at, limit, slot, to)
      if ended then return ended end
      local _, _, keeper = parse(look.stored)
      local _, stored_id = parts_of(keeper)
      local found = look.holders[slot]
      local repeated = found == to and stored_id == id
      if found and found ~= from and not repeated or look.own and look.own ~= slot then
        return slot_taken(at[1][1], limit, look)
      end
      local stale = is_stale(fence, highest_for_slot(look))
      if stale then return stale end
      wants_clock = true
      local key = at[1][1]
      local before = left_of(key, slot)
      local failure = set_all({look.place}, to, ARGV[a + 3], granted .. now_word)
      if failure then return failure end
      has_slot(at, limit, look, fence, not is_made(from) and fence or nil)
      local left = left_of(key, slot)
      if left < before then  -- the marker may have been kept for the one who releases the slot
        call('PEXPIRE', key, math.max(1, left, last_left(key, limit, look.holders, slot)))
      end
      return {true, fence, found and 1 or 0}
    end

    -- As repair. Other slots may have higher fences.
    local function repair_slot(at, limit, slot)
      if wrong_set then return wrong_set end
      local counts = ARGV[a + 6] == '1'
      if wrong_mark and counts then return wrong_mark end
      local token, ttl, fence = ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 3])
      local ended, look = look_at_slots(at, limit, slot, token)
      if ended then return ended[1] == 'held' and {'held', ended[2]} or ended end
      local seen = parse(look.stored)
      local _, exclusive = fences_of(look.meta)
      local highest = math.max(exclusive, seen)
      if counts and highest > fence then return {'stale_fence', highest} end
      if look.own or look.holders[slot] then return {'held', left_of(at[1][1], look.own or slot)} end
      if highest > fence then fence = highest + 1 end
      local keeper = ARGV[a + 5] ~= '' and ARGV[a + 5] or nil
      local granted = format(fence, 'c', keeper, stored_holder(ARGV[a + 4]))
      local failure = note(fence) or set_all({look.place}, token, ttl, granted)
      if failure then return failure end
      has_slot(at, limit, look, fence)
      return {true, fence}
    end

    -- Announces the release of a part of the key, if `audible`. Stores in the result who heard of it.
    local function announce(key, audible, result)
      local heard = audible == '1' and try('PUBLISH', 'redlockd:released:' .. key, key)
      if type(heard) == 'number' then result[2] = heard end
    end

    -- As release_if, for a slot of a semaphore of this limit.
    local function release_slot(limit, key, meta, token, attempt, seal, audible, ended, ended_id, keep,
                                digest)
      local holders, own = holders_of(key, limit, token)
      if not own and keep ~= '' then holders, own = holders_of(key, limit, kept_value(token)) end
      if not own then return {'not_held', 0} end
      local place = slot_of(key, own)
      local result = release_if(place[1], place[2], token, attempt, seal, '0', ended, ended_id, keep, digest)
      if result[1] ~= true then return result end
      if tonumber(seal) > 0 then remember_fence(key, meta, tonumber(seal), tonumber(seal)) end
      local last = math.max(last_left(key, limit, holders, own), left_of(key, own))
      if last > 0 then
        call('PEXPIRE', key, last)
        if not note(fences_of(read(meta) or '')) then call('PEXPIRE', meta, lifetime(last)) end
      else
        call('DEL', key)
      end
      announce(key, audible, result)
      return result
    end

    -- A share that nobody has keeps the key taken for so long, or for as long as it does already.
    local function keep_share(key, all, kept, left)
      local place = share_of(key, kept)[1]
      left = math.max(left, call('PTTL', place))
      call('PEXPIRE', place, left)  -- needs no memory, and lets the next command have some
      call('SET', place, kept, 'PX', left)
      call('ZADD', all, millis + left + 1, kept)
      if call('PTTL', all) < left then call('PEXPIRE', all, left + 1) end
      if call('PTTL', key) < left then call('PEXPIRE', key, left) end
    end

    -- As release_if, for a share of this key.
    local function release_share(key, meta, token, attempt, seal, audible, ended, ended_id, keep, digest)
      local share, all = share_of(key, token), (shares_of(key))
      local kept = keep ~= '' and kept_value(token)
      local listed = try('ZSCORE', all, token)
      if failed(listed) then return {'failed', listed.err} end
      local left = 0
      if kept then
        local stored, unreadable = read(share[2])
        if unreadable then return unreadable end
        local fence, state, keeper, holder = parse(stored)
        left = time_kept(keep, share[1], holder, digest)
        local again = call('ZSCORE', all, kept) and call('GET', share_of(key, kept)[1]) == kept
        if again and (not listed or call('GET', share[1]) ~= token) then
          keep_share(key, all, kept, left)
          local stored_seal = math.max(tonumber(seal), fence)
          return {true, 0, seal_with(share[2], math.max(0, left), stored_seal, state, keeper, holder), 1}
        end
      end
      if not listed then return {'not_held', 0} end
      local result = release_if(share[1], share[2], token, attempt, seal, '0', ended, ended_id, '', '')
      if result[1] ~= true then return result end
      if tonumber(seal) > 0 then remember_fence(key, meta, tonumber(seal), tonumber(seal)) end
      call('ZREM', all, token)
      if left > 0 then
        keep_share(key, all, kept, left)
        call('PEXPIRE', share[2], lifetime(left))
      end
      -- A repeated release needs the time of the acquisition.
      if is_made(token) then call('PEXPIRE', share[2], math.max(0, left)) end
      call('ZREMRANGEBYSCORE', all, '-inf', millis)
      local last = call('ZRANGE', all, -1, -1, 'WITHSCORES')
      if last[2] then
        call('PEXPIREAT', key, last[2])
        result[4] = 1
      else
        call('DEL', key, all)
        announce(key, audible, result)
      end
      return result
    end

    -- As release_if, for what a token has of a key that holds this marker.
    local function release_part(marker, ...)
      local limit = match(marker, SEMAPHORE)
      if limit then return release_slot(tonumber(limit), ...) end
      return release_share(...)
    end

    -- Appends the shares or slots of a key that holds this marker to the result of inspect: at most 200,
    -- because replies are bounded.
    local function list_parts(marker, key, result)
      local function append(place, slot)
        local token, left = try('GET', place[1]), call('PTTL', place[1])
        if not token or failed(token) or left <= 0 then return end
        local fence, _, _, holder = parse(read(place[2]) or '')
        for _, part in ipairs({token, left, shown(holder or ''), fence, slot}) do
          result[#result + 1] = part
        end
      end
      local limit = tonumber(match(marker, SEMAPHORE))
      if limit then
        for i = 1, limit do append(slot_of(key, i), i) end
        return result
      end
      local all = try('ZREVRANGE', (shares_of(key)), 0, 199)
      if failed(all) then return {'failed', all.err} end
      for _, token in ipairs(all) do append(share_of(key, token), 0) end
      return result
    end

    -- id, ttl ('0' to withdraw)
    -- An exclusive acquisition waits until nobody shares the key any more. Result: true.
    local function intend(at)
      local _, intent = shares_of(at[1][1])
      local found = try('GET', intent)
      if failed(found) then return {'failed', found.err} end
      if found and found ~= ARGV[a + 1] then return true end  -- another one's has the same effect
      if ARGV[a + 2] == '0' then
        call('DEL', intent)
        return true
      end
      local set = try('SET', intent, ARGV[a + 1], 'PX', ARGV[a + 2])
      return set.err and {'failed', set.err} or true
    end

    -- The place of what a token has of a key: the key, a share or a slot. Nil and a result if it has
    -- nothing.
    local function place_of(key, meta, token)
      local refused = refusal(key, token)
      if not refused then return {key, meta} end
      if not refused.marker then return nil, refused end
      local limit, place = tonumber(match(refused.marker, SEMAPHORE)), nil
      if limit then
        local _, own = holders_of(key, limit, token)
        place = own and slot_of(key, own)
      elseif call('ZSCORE', (shares_of(key)), token) then
        place = share_of(key, token)
      end
      if not place or try('GET', place[1]) ~= token then return nil, {'not_held', 0} end
      return place
    end

    -- token, number, value, digest
    -- Replaces the value that the token publishes at all keys, unless the number is not above that of the
    -- present value and above the fence: the request is then late. Result: true.
    local function proclaim(at)
      if wrong_set then return wrong_set end
      local token, number, value, digest = ARGV[a + 1], tonumber(ARGV[a + 2]), ARGV[a + 3], ARGV[a + 4]
      local texts, last, highest = {}, 0, 0
      for _, one in ipairs(at) do
        local place, refused = place_of(one[1], one[2], token)
        if not place then return refused end
        local stored, unreadable = read(place[2])
        if unreadable then return unreadable end
        local fence, state, keeper, holder = parse(stored)
        if digest_of(holder) ~= digest then return {'not_held', 0} end
        last = math.max(last, fence, tonumber(match(holder, '\255%d+ (%d+) ') or '0'))
        highest = math.max(highest, fence)
        local text = format(fence, state, keeper, with_terms(holder, delay_of(holder), number, value))
        texts[#texts + 1] = {place[2], text, lifetime(call('PTTL', place[1]))}
      end
      if last >= number then return {'stale_fence', last} end
      local unnoted = note(highest)
      if unnoted then return unnoted end
      for _, text in ipairs(texts) do
        local set = try('SET', text[1], text[2], 'PX', text[3])
        if set.err then return {'failed', set.err} end  -- only the first: later ones need no permission
      end
      for _, one in ipairs(at) do change(one[1]) end
      return true
    end

    return {
      release_part = release_part,
      list_parts = list_parts,
      proclaim = proclaim,
      step = function(name, at)
        if name == 'acquire' then return acquire_together(at, false), 4 end
        if name == 'acquire_or_extend' then return acquire_together(at, true), 6 end
        if name == 'extend' then return extend_together(at, nil), 9 end
        if name == 'adopt' then return extend_together(at, 'last'), 9 end
        if name == 'release_if' then return release_together(at, unpack(ARGV, a + 1, a + 8)), 9 end
        if name == 'hand_over' then return hand_over_together(at), 5 end
        if name == 'repair' then return repair_together(at), 7 end
        if name == 'proclaim' then return proclaim(at), 5 end
      end,
      share_step = function(name, at)
        if name == 'acquire' then return acquire_shares(at, false), 4 end
        if name == 'acquire_or_extend' then return acquire_shares(at, true), 6 end
        if name == 'extend' then return extend_shares(at, nil), 10 end
        if name == 'adopt' then return extend_shares(at, 'last'), 10 end
        if name == 'repair' then return repair_shares(at), 7 end
        if name == 'intend' then return intend(at), 3 end
      end,
      slot_step = function(name, at, limit, slot)
        if name == 'acquire' then return acquire_slot(at, limit, slot, false), 4 end
        if name == 'acquire_or_extend' then return acquire_slot(at, limit, slot, true), 6 end
        if name == 'extend' then return extend_slot(at, limit, slot, nil), 9 end
        if name == 'adopt' then return extend_slot(at, limit, slot, 'last'), 9 end
        if name == 'hand_over' then return hand_over_slot(at, limit, slot), 5 end
        if name == 'repair' then return repair_slot(at, limit, slot), 7 end
      end,
    }
  end

  local function one_step(name, key, meta)
    if name == 'extend' then return extend(key, meta, nil, unpack(ARGV, a + 1, a + 8)), 9 end
    if name == 'adopt' then return extend(key, meta, 'last', unpack(ARGV, a + 1, a + 8)), 9 end
    if name == 'acquire_or_extend' then return acquire_or_extend(key, meta), 6 end
    if name == 'release_if' then return release_if(key, meta, unpack(ARGV, a + 1, a + 8)), 9 end
    if name == 'repair' then return repair(key, meta), 7 end
    if name == 'inspect' then return inspect(key, meta), 2 end
    if name == 'proclaim' then
      together = together or steps_together()
      return together.proclaim({{key, meta}}), 5
    end
    if name == 'mark' then return mark(key), 4 end
    if name == 'try_grant' then return try_grant(key, meta), 1 end
  end

  for i = 1, acquisitions do
    if not results[i] then
      local key, meta, b = KEYS[2 * i], KEYS[2 * i + 1], 3 * i + 5
      local stored, unreadable = read(meta)  -- a step before may have granted the key
      results[i] = wrong_mark or unreadable or
        acquire(key, meta, stored, ARGV[b], ARGV[b + 1], ARGV[b + 2])
    end
  end

  for _, i in ipairs(shared_releases or {}) do
    local key = KEYS[1 + 2 * acquisitions + i]
    results[acquisitions + i] = release_if(key, 'redlockd:meta:{' .. key .. '}',
                                           ARGV[arguments + i], '', '0', '1', '', '', '', '')
  end

  for i = 1, hand_overs do
    if not results[handed_over + i] then
      local b, k = h + 4 * i + 1, first_hand_over + 2 * i - 2
      results[handed_over + i] = hand_over(KEYS[k], KEYS[k + 1], unpack(ARGV, b, b + 3))
    end
  end

  for i = 1, extensions do
    if not results[extended + i] then
      local b, k = a + 5 * i - 2, first_extension + 2 * i - 2
      local id, digest = match(ARGV[b + 4], '^(%S+) (.*)$')
      results[extended + i] = extend(KEYS[k], KEYS[k + 1], nil, ARGV[b], ARGV[b + 1], ARGV[b + 2], '0', '0',
                                     digest, ARGV[b + 3], id)
    end
  end

  local n, k = extended + extensions, first_extension + 2 * extensions
  a = first_other
  while ARGV[a] do
    local count, result, words = 1
    if ARGV[a] == 'slot' then
      together = together or steps_together()
      local limit, slot = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
      a = a + 3
      result, words = together.slot_step(ARGV[a], {{KEYS[k], KEYS[k + 1]}}, limit, slot)
    elseif ARGV[a] == 'together' or ARGV[a] == 'shared' then
      together = together or steps_together()
      local step = ARGV[a] == 'shared' and together.share_step or together.step
      count, a = tonumber(ARGV[a + 1]), a + 2
      local at = {}
      for i = 1, count do at[i] = {KEYS[k + 2 * i - 2], KEYS[k + 2 * i - 1]} end
      result, words = step(ARGV[a], at)
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

if changed then
  for key in pairs(changed) do try('PUBLISH', 'redlockd:changed:' .. key, '') end
end

-- A waiter looks again when the TTL of its key ends, if not before. Nodes announce releases until the last
-- waiter has done so.
if longest_wait then
  longest_wait = math.min(longest_wait, LONGEST)
  local awaited_until = tonumber(try('GET', WAITERS) or '0') or 0
  if millis + longest_wait + 1000 >= awaited_until then
    awaited_until = string.format('%.0f', millis + longest_wait + 10000)
    -- A failure matters little, because those who wait also probe the nodes.
    try('SET', WAITERS, awaited_until, 'PX', string.format('%.0f', longest_wait + 10000))
  end
end

if wants_clock then results[#results + 1] = micros end
return results
