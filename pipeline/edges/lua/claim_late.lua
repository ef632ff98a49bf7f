-- Late ids that are due to be asked for; nobody else gets them for a while.
-- KEYS 1 late
-- ARGV 1 limit, 2 lease ms
-- RETURNS {now ms, line, line, ...}
-- TTL none
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reply = {now}
for _, line in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))) do
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), line)
  reply[#reply + 1] = line
end
return reply
