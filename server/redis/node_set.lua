-- Carries out one step on what a Redis node stores about the node set, atomically
-- (server/core/nodes/set_steps.h).
--
-- KEYS[1]  the mark: the stamp of the node's record or proposal, a space, and the guard's mark
-- KEYS[2]  a hash:
--   member      the node's id
--   record      the last record of the set that the node knows to be decided, and its epoch in `epoch`
--   promised    the ballot below which it accepts nothing
--   ballot      the ballot of the proposal for the next epoch that it has accepted, in `accepted`
--   readmitted  the mark with which it was readmitted
-- KEYS[3]  an epoch that the node does not leave before this key expires
-- ARGV[1]  the step, ARGV[2...] its arguments
--
-- Ballots are 40 decimal digits, so that they compare as text.
-- Returns whether the step's conditions held, and then the state: member, record, promised, ballot,
-- accepted, readmitted, the remaining wait in milliseconds, the mark's key.

-- As redis.call, but names the permission that is lacking, which Redis does not.
local function call(name, ...)
  local reply = redis.pcall(name, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if string.find(reply.err, "can't run this command", 1, true) then
    error('NOPERM missing: +' .. string.lower(name), 0)
  end
  return redis.call(name, ...)  -- fails in the same way
end
local node, wait = KEYS[2], KEYS[3]

local value = call('GET', KEYS[1]) or ''
local stamp, mark = string.match(value, '^(%S*) (.*)$')
if not stamp then stamp, mark = '', value end
local stored = call('HMGET', node, 'member', 'record', 'epoch', 'promised', 'accepted')
local member, record, epoch, promised = stored[1], stored[2], stored[3] or '0', stored[4] or ''
local accepted = stored[5]

local function set_mark(new_stamp, new_mark)
  stamp, mark = new_stamp, new_mark
  call('SET', KEYS[1], stamp .. ' ' .. mark)
end

-- The node stays at `at_epoch` for that long. Never shortens a wait.
local function begin_wait(at_epoch, ms)
  local longest = math.max(tonumber(ms), call('PTTL', wait))
  if longest > 0 then call('SET', wait, at_epoch, 'PX', string.format('%d', longest)) end
end

-- Every step that changes something writes only after all of its conditions have been checked.
local steps = {}

function steps.read()
  return true
end

function steps.enroll(new_member, new_mark, replaces)
  if member and (member ~= replaces or record) then return false end
  call('DEL', node)
  call('HSET', node, 'member', new_member)
  set_mark('', new_mark)
  return true
end

function steps.found(to_member, first_record)
  if member ~= to_member or record then return false end
  if accepted then return accepted == first_record end
  call('HSET', node, 'accepted', first_record, 'ballot', string.rep('0', 40))
  return true
end

function steps.prepare(at_mark, at_epoch, new_ballot)
  if mark ~= at_mark or epoch ~= at_epoch or not record or new_ballot <= promised then return false end
  call('HSET', node, 'promised', new_ballot)
  return true
end

function steps.accept(at_mark, at_epoch, new_ballot, new_record, new_stamp, wait_ms, back)
  if mark ~= at_mark or epoch ~= at_epoch or not record or new_ballot < promised then return false end
  if back ~= '1' and call('GET', wait) == epoch then return false end
  call('HSET', node, 'promised', new_ballot, 'ballot', new_ballot, 'accepted', new_record)
  set_mark(new_stamp, mark)
  begin_wait(string.format('%d', tonumber(epoch) + 1), wait_ms)
  return true
end

function steps.learn(to_member, decided, new_epoch, new_stamp, wait_ms)
  if member ~= to_member then return false end
  if record == decided then return true end
  if tonumber(epoch) >= tonumber(new_epoch) then return false end
  if accepted ~= decided then begin_wait(new_epoch, wait_ms) end
  call('HSET', node, 'record', decided, 'epoch', new_epoch)
  call('HDEL', node, 'promised', 'ballot', 'accepted')
  set_mark(new_stamp, mark)
  return true
end

function steps.readmit(at_mark, new_mark, as_member, decided, new_epoch, new_stamp, promise, new_ballot,
                       new_accepted, accepted_stamp, wait_ms)
  -- A second one is late: since the first, the node may have promised and accepted more.
  if mark ~= at_mark or call('HGET', node, 'readmitted') == at_mark then return false end
  call('DEL', node)
  call('HSET', node, 'member', as_member, 'record', decided, 'epoch', new_epoch, 'promised', promise,
       'readmitted', new_mark)
  local at_epoch = new_epoch
  if new_accepted ~= '' then
    call('HSET', node, 'ballot', new_ballot, 'accepted', new_accepted)
    new_stamp = accepted_stamp
    at_epoch = string.format('%d', tonumber(new_epoch) + 1)
  end
  set_mark(new_stamp, new_mark)
  begin_wait(at_epoch, wait_ms)
  return true
end

local done = steps[ARGV[1]](unpack(ARGV, 2))
local now = call('HMGET', node, 'member', 'record', 'promised', 'ballot', 'accepted', 'readmitted', 'epoch')
local left = 0
if now[7] and call('GET', wait) == now[7] then left = call('PTTL', wait) end
return {done and 1 or 0, now[1] or '', now[2] or '', now[3] or '', now[4] or '', now[5] or '', now[6] or '',
        left, stamp .. ' ' .. mark}
