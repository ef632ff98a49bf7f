-- Change what a run is doing; a run that was forgotten stays forgotten.
-- KEYS 1 meta
-- ARGV 1 state, 2 reason
-- RETURNS 1 when changed, 0 for an unknown run
-- TTL none
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'reason', ARGV[2])
redis.call('HDEL', KEYS[1], 'guard')
return 1
