-- Extend the leases of rows that are still in hand; rows that went elsewhere are left alone.
-- KEYS 1 set, 2 tokens
-- ARGV 1 lease ms, then for each row: index, token
-- RETURNS how many leases were extended
-- TTL none
local time = redis.call('TIME')
local lease = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1])
local renewed = 0
for i = 2, #ARGV, 2 do
  if redis.call('HGET', KEYS[2], ARGV[i]) == ARGV[i + 1] then
    renewed = renewed + 1
    redis.call('ZADD', KEYS[1], 'XX', lease, ARGV[i])
  end
end
return renewed
