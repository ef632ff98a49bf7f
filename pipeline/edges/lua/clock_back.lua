-- Bring back what lies further ahead than any wait, since the clock was put back: else it would stand still until then.
-- KEYS 1 account, 2 submitting, then the sets whose rows are due at once: ready, pending, late
-- ARGV 1 the longest wait there is, ms, 2 lease ms: whoever holds a row may renew before it is given up
-- RETURNS how many rows and fields were brought back
-- TTL none
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ahead = now + tonumber(ARGV[1])
local back = 0
for key = 2, #KEYS do
  local due = key == 2 and now + tonumber(ARGV[2]) or now
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[key], '(' .. ahead, '+inf')) do
    redis.call('ZADD', KEYS[key], due, member)
    back = back + 1
  end
end
local names = {'wait_until', 'poll_wait_until', 'event_at', 'poll_event_at', 'sent_at', 'tester_until'}
for i, value in ipairs(redis.call('HMGET', KEYS[1], unpack(names))) do
  -- a wait may lie ahead, what happened may not
  local latest = (i <= 2 or i == 6) and ahead or now
  if value and tonumber(value) > latest then
    redis.call('HSET', KEYS[1], names[i], now)
    back = back + 1
  end
end
return back
