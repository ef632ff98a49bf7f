-- Ask for a late id again later, or save its end and forget it, once.
-- KEYS 1 accepted, 2 late
-- ARGV 1 line as queued, 2 line as it is now, 3 '1' when it has its end, 4 wait ms
-- RETURNS 1, or 0 when the id is not queued any more
-- TTL none
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then return 0 end
if ARGV[3] == '1' then
  redis.call('RPUSH', KEYS[1], ARGV[2])
else
  local time = redis.call('TIME')
  redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[4]), ARGV[2])
end
return 1
