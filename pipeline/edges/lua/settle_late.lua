-- Ask for a late id again later, or save its end and forget it, once; what it used is spent from then on.
-- KEYS 1 accepted, 2 late, 3 meta, 4 account, 5 reservations that are kept, by row, 6 account's counts
-- ARGV 1 line as queued, 2 line as it is now, 3 '1' when it has its end, 4 wait ms; 5 prompt tokens, 6 completion tokens,
--      7 micro-cost, 8 '-1' where the reservation that was kept for it is not needed any more; 9 '1' when the poll was
--      throttled, and holds everybody's polls back; 10 row
-- RETURNS 1, or 0 when the id is not queued any more
-- TTL none
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[6], 'poll:late', 1)
if ARGV[3] ~= '1' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local due = now + tonumber(ARGV[4])
  redis.call('ZADD', KEYS[2], due, ARGV[2])
  if ARGV[9] == '1' then
    local lane = redis.call('HMGET', KEYS[4], 'poll_wait_until', 'poll_answered')
    local until_then = tonumber(lane[1] or 0)
    if due > until_then then redis.call('HSET', KEYS[4], 'poll_wait_until', due) end
    if until_then <= now then
      redis.call('HINCRBY', KEYS[4], 'poll_events', 1)
      redis.call('HSET', KEYS[4], 'poll_event_at', now, 'poll_event_wait', ARGV[4], 'poll_event_answered', lane[2] or 0)
    end
  end
  return 1
end
redis.call('RPUSH', KEYS[1], ARGV[2])
local function add(field, by) if by ~= 0 then redis.call('HINCRBY', KEYS[3], field, by) end end
local meta = redis.call('HMGET', KEYS[3], 'held_tokens', 'held_micro', 'recover_until')
local kept = tonumber(redis.call('HGET', KEYS[5], ARGV[10]) or 0)
-- core/late.py says why: else it is an id that the row ended with, and was spent with it
if kept <= 0 and tonumber(ARGV[10]) >= tonumber(meta[3] or 0) then return 1 end
local tokens, micro = tonumber(ARGV[5]) + tonumber(ARGV[6]), tonumber(ARGV[7])
add('prompt_tokens', tonumber(ARGV[5]))
add('completion_tokens', tonumber(ARGV[6]))
add('cost_micro', micro)
if kept > 0 and ARGV[8] == '-1' then
  if redis.call('HINCRBY', KEYS[5], ARGV[10], -1) == 0 then redis.call('HDEL', KEYS[5], ARGV[10]) end
  add('kept', -1)
end
if meta[1] then
  add('over_tokens', math.max(0, tokens - tonumber(meta[1])))
  add('over_micro', math.max(0, micro - tonumber(meta[2])))
end
return 1
