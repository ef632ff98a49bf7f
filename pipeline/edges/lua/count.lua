-- Add to what is counted of an account.
-- KEYS 1 account's counts
-- ARGV pairs: name, number
-- RETURNS 1
-- TTL none
for i = 1, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
