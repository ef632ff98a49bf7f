-- Take one row out of ready, to adopt a late id, or put it back where it was.
-- KEYS 1 meta, 2 ready, 3 submitting, 4 records, 5 tokens
-- ARGV 1 holder, 2 row, 3 lease ms, 4 '' to take, else the token under which to put it back, 5 wait ms when put back
-- RETURNS {now ms, token, record} when taken, 1 when put back, else nil
-- TTL none
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[4] ~= '' then
  if redis.call('HGET', KEYS[5], ARGV[2]) ~= ARGV[4] then return nil end
  redis.call('HDEL', KEYS[5], ARGV[2])
  redis.call('ZREM', KEYS[3], ARGV[2])
  redis.call('ZADD', KEYS[2], now + tonumber(ARGV[5]), ARGV[2])
  return 1
end
if redis.call('ZREM', KEYS[2], ARGV[2]) == 0 then return nil end
local token = now .. ':' .. ARGV[1] .. ':' .. redis.call('HINCRBY', KEYS[1], 'claims', 1)
redis.call('ZADD', KEYS[3], now + tonumber(ARGV[3]), ARGV[2])
redis.call('HSET', KEYS[5], ARGV[2], token)
return {now, token, redis.call('HGET', KEYS[4], ARGV[2]) or ''}
