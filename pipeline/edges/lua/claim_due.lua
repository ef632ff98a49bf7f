-- Claim rows of a set whose score has come: pending rows to be polled, or submitting rows whose lease ran out.
-- KEYS 1 meta, 2 set, 3 records, 4 tokens, 5 account
-- ARGV 1 holder, 2 limit, 3 lease ms, 4 '1' when the account must allow polling, then in µs how late a permit may be
--      used at most, the longest wait for a turn, from when on nobody was late, but there was a pause, and how late a
--      permit may be used at least; 9 as long as so many permits take is late enough
-- RETURNS {now ms, troubles, wait ms, bound, row, token, old token, record, row, token, old token, record, ...}
--         a row that was taken over bears the lost claim's token before its own, so that a second takeover, after a
--         first one that also died, still knows when and by whom the row was sent; holders have no '|' in their names
-- TTL none
-- PART permits
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local account = redis.call('HMGET', KEYS[5], 'blocked', 'polls', 'troubles')
local troubles = tonumber(account[3] or 0)
if ARGV[4] == '1' and redis.call('HGET', KEYS[1], 'polls') == '0' then return {now, troubles, 1000, 'paused'} end
if ARGV[4] == '1' and account[1] and account[1] ~= '' and account[2] == '0' then
  return {now, troubles, 1000, 'account'}
end
local limit = tonumber(ARGV[2])
local bound = ''
if ARGV[4] == '1' then
  -- the arithmetic of core/permits.py, as in claim_submit.lua
  local pace = redis.call('HMGET', KEYS[5], 'poll_wait_until', 'poll_gap', 'poll_tat', 'poll_turn')
  local wait_until = tonumber(pace[1] or 0)
  if wait_until > now then return {now, troubles, wait_until - now, 'back-off'} end
  local gap = tonumber(pace[2] or 0)
  local due = gap > 0 and redis.call('ZCOUNT', KEYS[2], '-inf', now) or 0
  if due > 0 then
    local now_us = time[1] * 1000000 + time[2]
    local tat, turn = tonumber(pace[3] or 0), tonumber(pace[4] or 0)
    if tat > now_us + gap or turn > now_us + tonumber(ARGV[6]) + gap then
      -- the rate was raised meanwhile, or the clock put back
      tat, turn = math.min(tat, now_us + gap), math.min(turn, now_us + tonumber(ARGV[6]) + gap)
      redis.call('HSET', KEYS[5], 'poll_tat', string.format('%.0f', tat), 'poll_turn', string.format('%.0f', turn))
    end
    local from, room = permits(now_us, tat, gap, ARGV[5], ARGV[8], ARGV[9], ARGV[7])
    if room < math.min(limit, due) then
      redis.call('HINCRBY', KEYS[5], 'poll_bound', 1)
      bound = 'rate'
      limit = room
    end
    tat = from + math.min(limit, due) * gap
    if limit > 0 then redis.call('HSET', KEYS[5], 'poll_tat', string.format('%.0f', tat)) end
    if limit == 0 then
      local comes = math.max(tat, turn, now_us)
      if comes - now_us >= tonumber(ARGV[6]) then return {now, troubles, tonumber(ARGV[6]) / 1000, bound} end
      redis.call('HSET', KEYS[5], 'poll_turn', string.format('%.0f', comes + gap))
      return {now, troubles, math.floor((comes - now_us) / 1000) + 1, bound}
    end
  end
end
local rows = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, limit)
if #rows == 0 then
  local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  if #first == 0 then return {now, troubles, 250, 'empty'} end
  return {now, troubles, math.max(1, math.ceil(first[2] - now)), 'not before'}
end
local token = now .. ':' .. ARGV[1] .. ':' .. redis.call('HINCRBY', KEYS[1], 'claims', 1)
local lease = now + tonumber(ARGV[3])
local records = redis.call('HMGET', KEYS[3], unpack(rows))
local before = redis.call('HMGET', KEYS[4], unpack(rows))
local adds, tokens, reply = {}, {}, {now, troubles, 0, bound}
for i, row in ipairs(rows) do
  local lost, own = '', token
  if ARGV[4] ~= '1' then
    lost = string.match(before[i] or '', '^[^|]*')
    own = lost .. '|' .. token
  end
  adds[#adds + 1] = lease
  adds[#adds + 1] = row
  tokens[#tokens + 1] = row
  tokens[#tokens + 1] = own
  reply[#reply + 1] = row
  reply[#reply + 1] = own
  reply[#reply + 1] = lost
  reply[#reply + 1] = records[i] or ''
end
redis.call('ZADD', KEYS[2], unpack(adds))
redis.call('HSET', KEYS[4], unpack(tokens))
return reply
