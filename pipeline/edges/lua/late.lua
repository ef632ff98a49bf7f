-- Keep and count an accepted id whose row went on without it: it was paid for.
-- KEYS 1 meta, 2 accepted
-- ARGV 1 accepted line
-- RETURNS 1, or 0 when the run was forgotten
-- TTL none
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[1], 'late', 1)
return 1
