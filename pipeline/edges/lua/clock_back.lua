-- Put times back with the clock, which was put back: else what they hold would stand still until it has caught up.
-- A time that has come by now stays, so a row that was never sent keeps its index as its score.
-- KEYS 1 meta or account, then sorted sets that are scored by times
-- ARGV 1 by how much the clock was put back, ms, 0 where nobody knows, 2 the longest wait there is, ms; then for each set
--      the ms of a lease, where it holds leases, or '' where it tells what waits; then fields of the hash in pairs: a name,
--      and '1' where it tells the end of a wait, '' where it tells what happened
-- RETURNS how many scores and fields were put back
-- TTL none
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local jump, ahead = tonumber(ARGV[1]), now + tonumber(ARGV[2])
local back = 0
-- a lease is never cut below a whole one, so that the living renew before anything of theirs is given up
for key = 2, #KEYS do
  local lease = tonumber(ARGV[key + 1])
  local latest = lease and now + lease or ahead
  local by = lease and 0 or jump
  local scored = redis.call('ZRANGEBYSCORE', KEYS[key], '(' .. (by > 0 and now or latest), '+inf', 'WITHSCORES')
  for i = 1, #scored, 2 do
    local due = tonumber(scored[i + 1]) - by
    if due > latest then due = lease and latest or now end
    redis.call('ZADD', KEYS[key], due, scored[i])
    back = back + 1
  end
end
-- a wait may lie ahead, what happened may not
for i = #KEYS + 2, #ARGV, 2 do
  local was = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0)
  local latest = ARGV[i + 1] == '1' and ahead or now
  if was > now and (jump > 0 or was > latest) then
    local at = was - jump
    if at > latest then at = now end
    redis.call('HSET', KEYS[1], ARGV[i], at)
    back = back + 1
  end
end
return back
