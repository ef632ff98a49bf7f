-- Late ids that are due to be asked for, as far as the account allows polls; nobody else gets them for a while.
-- The arithmetic of permits is that of core/permits.py.
-- KEYS 1 late, 2 account
-- ARGV 1 limit, 2 lease ms, and in µs: 3 how late a permit may be used at most, 4 from when on nobody was late, but
--      there was a pause, 5 how late it may be used at least; 6 as long as so many permits take is late enough
-- RETURNS {now ms, ms until more of those that are due may be asked for, or 0 where no more are due, line, line, ...}
-- TTL none
-- PART permits
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local now_us = time[1] * 1000000 + time[2]
local due = redis.call('ZCOUNT', KEYS[1], '-inf', now)
if due == 0 then return {now, 0} end
local pace = redis.call('HMGET', KEYS[2], 'poll_wait_until', 'poll_gap', 'poll_tat')
local wait_until = tonumber(pace[1] or 0)
if wait_until > now then return {now, wait_until - now} end
local count = math.min(tonumber(ARGV[1]), due)
local gap = tonumber(pace[2] or 0)
local wait = 1
if gap > 0 then
  local tat = math.min(tonumber(pace[3] or 0), now_us + gap)
  local from, room = permits(now_us, tat, gap, ARGV[3], ARGV[5], ARGV[6], ARGV[4])
  count = math.min(count, room)
  tat = from + count * gap
  if count > 0 then redis.call('HSET', KEYS[2], 'poll_tat', string.format('%.0f', tat)) end
  wait = math.max(1, math.ceil((tat - now_us) / 1000))
end
local reply = {now, count < due and wait or 0}
if count == 0 then return reply end
for _, line in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, count)) do
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), line)
  reply[#reply + 1] = line
end
return reply
