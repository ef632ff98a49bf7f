-- Take, renew or give back a short lock.
-- KEYS 1 lock
-- ARGV 1 holder, 2 lease ms (0 gives it back)
-- RETURNS 1 when the lock is ours (or was given back), 0 when another holds it
-- TTL the lease; one that is longer than ours would be is cut to it: the clock was put back, and its holder may be dead
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  local lease = tonumber(ARGV[2])
  if lease > 0 and redis.call('PTTL', KEYS[1]) > lease then redis.call('PEXPIRE', KEYS[1], lease) end
  return 0
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
