-- Ask for a late id again later, or save its end and forget it, once.
-- KEYS 1 meta, 2 accepted, 3 late
-- ARGV 1 line as queued, 2 line with its end, or '' when it has none yet, 3 wait ms
-- RETURNS 1, or 0 when the id is not queued any more
-- TTL none
local time = redis.call('TIME')
if ARGV[2] == '' then
  local due = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[3])
  return redis.call('ZADD', KEYS[3], 'XX', 'CH', due, ARGV[1])
end
if redis.call('ZREM', KEYS[3], ARGV[1]) == 0 then return 0 end
redis.call('RPUSH', KEYS[2], ARGV[2])
return 1
