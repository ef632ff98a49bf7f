-- Note and return the oldest items of a list: the same range is given again until it is acknowledged.
-- KEYS 1 meta, 2 list
-- ARGV 1 field of the number of the list's first item, 2 field of the noted length, 3 limit
-- RETURNS {number of the first item, item, item, ...}
-- TTL none
local start = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)
local noted = tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or 0)
if noted == 0 then
  noted = math.min(redis.call('LLEN', KEYS[2]), tonumber(ARGV[3]))
  if noted == 0 then return {start} end
  redis.call('HSET', KEYS[1], ARGV[2], noted)
end
local reply = {start}
for _, item in ipairs(redis.call('LRANGE', KEYS[2], 0, noted - 1)) do reply[#reply + 1] = item end
return reply
