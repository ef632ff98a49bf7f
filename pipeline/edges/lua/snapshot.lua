-- What a run looks like at one moment.
-- KEYS 1 meta, 2 ready, 3 submitting, 4 pending, 5 results, 6 accepted, 7 account, 8 to 11 shifts by role,
--      12 to 15 tickets by role, 16 lock of the command that leads the run, 17 late
-- ARGV 1 how far ahead a poll counts as due, ms
-- RETURNS nil, or {now ms, meta as a flat list, account as a flat list, ready, ready due, submitting, submitting
--         lapsed, pending, pending due, results, accepted ids not on disk, live shifts and tickets by role ..., led, late ids to be
--         asked for, those due}
-- TTL none; expired shifts and tickets are removed
if redis.call('HEXISTS', KEYS[1], 'card') == 0 then return nil end
local meta = redis.call('HGETALL', KEYS[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reply = {
  now, meta, redis.call('HGETALL', KEYS[7]),
  redis.call('ZCARD', KEYS[2]), redis.call('ZCOUNT', KEYS[2], '-inf', now),
  redis.call('ZCARD', KEYS[3]), redis.call('ZCOUNT', KEYS[3], '-inf', now),
  redis.call('ZCARD', KEYS[4]), redis.call('ZCOUNT', KEYS[4], '-inf', now + tonumber(ARGV[1])),
  redis.call('LLEN', KEYS[5]), redis.call('LLEN', KEYS[6]),
}
for role = 0, 3 do
  redis.call('ZREMRANGEBYSCORE', KEYS[8 + role], '-inf', now)
  redis.call('ZREMRANGEBYSCORE', KEYS[12 + role], '-inf', now)
  reply[#reply + 1] = redis.call('ZCARD', KEYS[8 + role]) + redis.call('ZCARD', KEYS[12 + role])
end
reply[#reply + 1] = redis.call('EXISTS', KEYS[16])
reply[#reply + 1] = redis.call('ZCARD', KEYS[17])
reply[#reply + 1] = redis.call('ZCOUNT', KEYS[17], '-inf', now)
return reply
