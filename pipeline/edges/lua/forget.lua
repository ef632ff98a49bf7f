-- Remove all of a run.
-- KEYS 1 runs, 2 account's runs, 3 account, then every key of the run
-- ARGV 1 run id
-- RETURNS 1
-- TTL none
redis.call('SREM', KEYS[1], ARGV[1])
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], 'v:' .. ARGV[1], 'a:' .. ARGV[1])
for i = 4, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 1
