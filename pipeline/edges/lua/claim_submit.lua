-- Claim rows that may be sent now, together with their permits: the intent and its lease are recorded before the POST.
-- KEYS 1 meta, 2 ready, 3 submitting, 4 pending, 5 bodies, 6 records, 7 tokens, 8 account, 9 account's runs,
--      10 lock of the command that leads the run
-- ARGV 1 holder, 2 limit, 3 lease ms, 4 first rows, 5 most in flight, 6 results bytes that stop submitting, 7 key prefix,
--      8 '1' when the run needs no leader
-- RETURNS {now ms, troubles, wait ms, bound, token, row, body, record, row, body, record, ...}
-- TTL none
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local meta = redis.call('HMGET', KEYS[1], 'state', 'results_bytes', 'o:completed', 'claims')
local account = redis.call('HMGET', KEYS[8], 'blocked', 'wait_until', 'troubles')
local troubles = tonumber(account[3] or 0)
local function none(wait, bound) return {now, troubles, wait, bound} end
if meta[1] ~= 'running' then return none(1000, 'paused') end
if ARGV[8] ~= '1' and redis.call('EXISTS', KEYS[10]) == 0 then return none(1000, 'no leader') end
if account[1] and account[1] ~= '' then return none(1000, 'account') end
local wait_until = tonumber(account[2] or 0)
if wait_until > now then return none(wait_until - now, 'back-off') end
if tonumber(meta[2] or 0) >= tonumber(ARGV[6]) then return none(200, 'results') end
local own = redis.call('ZCARD', KEYS[3]) + redis.call('ZCARD', KEYS[4])
local limit = tonumber(ARGV[2])
local bound = ''
if tonumber(meta[3] or 0) == 0 and tonumber(ARGV[4]) - own < limit then
  limit = tonumber(ARGV[4]) - own
  bound = 'first rows'
end
if troubles > 0 then
  -- after a back-off a few rows try whether the API accepts again
  local probes = tonumber(ARGV[4]) - redis.call('ZCARD', KEYS[3])
  if probes < limit then
    limit = probes
    bound = 'back-off'
  end
end
local in_flight = 0
for _, run in ipairs(redis.call('SMEMBERS', KEYS[9])) do
  in_flight = in_flight + redis.call('ZCARD', ARGV[7] .. run .. ':submitting')
    + redis.call('ZCARD', ARGV[7] .. run .. ':pending')
end
if tonumber(ARGV[5]) - in_flight < limit then
  limit = tonumber(ARGV[5]) - in_flight
  bound = 'in flight'
end
if limit <= 0 then return none(100, bound) end
local rows = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, limit)
if #rows == 0 then
  local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  if #first == 0 then return none(250, 'empty') end
  return none(math.max(1, math.ceil(first[2] - now)), 'not before')
end
local token = now .. ':' .. ARGV[1] .. ':' .. redis.call('HINCRBY', KEYS[1], 'claims', 1)
local lease = now + tonumber(ARGV[3])
local bodies = redis.call('HMGET', KEYS[5], unpack(rows))
local records = redis.call('HMGET', KEYS[6], unpack(rows))
redis.call('ZREM', KEYS[2], unpack(rows))
local adds, tokens, reply = {}, {}, {now, troubles, 0, bound, token}
for i, row in ipairs(rows) do
  adds[#adds + 1] = lease
  adds[#adds + 1] = row
  tokens[#tokens + 1] = row
  tokens[#tokens + 1] = token
  reply[#reply + 1] = row
  reply[#reply + 1] = bodies[i] or ''
  reply[#reply + 1] = records[i] or ''
end
redis.call('ZADD', KEYS[3], unpack(adds))
redis.call('HSET', KEYS[7], unpack(tokens))
return reply
