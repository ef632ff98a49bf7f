-- Give back rows that were claimed for a shift which never heard of it: the claim's reply was lost, so none was sent.
-- KEYS 1 ready, 2 submitting, 3 records, 4 tokens
-- ARGV 1 holder, then each row that the shift has in hand
-- RETURNS how many rows were given back
-- TTL none
local held = {}
for i = 2, #ARGV do held[ARGV[i]] = true end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local back = 0
local all = redis.call('HGETALL', KEYS[4])
for i = 1, #all, 2 do
  local row = all[i]
  -- a token is <ms>:<holder>:<number>; one with '|' was taken over by another
  if not held[row] and string.match(all[i + 1], '^%d+:(.*):%d+$') == ARGV[1] and redis.call('ZREM', KEYS[2], row) == 1 then
    redis.call('HDEL', KEYS[4], row)
    -- a fresh row goes to the front again, in order
    redis.call('ZADD', KEYS[1], redis.call('HEXISTS', KEYS[3], row) == 1 and now or tonumber(row), row)
    back = back + 1
  end
end
return back
