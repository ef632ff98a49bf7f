-- Begin, renew or end a shift, or note a ticket: sorted sets with leases, never counters.
-- KEYS 1 shifts of the role, 2 tickets of the role
-- ARGV 1 'begin', 'renew', 'end' or 'ticket', 2 holder or ticket id, 3 lease ms, 4 most live shifts (begin)
-- RETURNS 1, or 0 when as many shifts are live already
-- TTL the newest lease, so that nothing of a forgotten run stays; an entry counts until its own lease ends
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[1] == 'end' then
  redis.call('ZREM', KEYS[1], ARGV[2])
  return 1
end
local lease = now + tonumber(ARGV[3])
if ARGV[1] == 'ticket' then
  redis.call('ZADD', KEYS[2], lease, ARGV[2])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  return 1
end
if ARGV[1] == 'begin' then
  -- whichever ticket brought this shift, one fewer is on its way
  redis.call('ZPOPMIN', KEYS[2])
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
  if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
end
redis.call('ZADD', KEYS[1], lease, ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
