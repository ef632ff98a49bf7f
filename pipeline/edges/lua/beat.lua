-- Note that the acting heartbeat looked after all runs just now.
-- KEYS 1 beat
-- ARGV 1 holder
-- RETURNS 1
-- TTL none: when the last one looked is to be known however long ago that was
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'at', time[1] * 1000 + math.floor(time[2] / 1000))
return 1
