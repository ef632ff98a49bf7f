-- Claim rows of a set whose score has come: pending rows to be polled, or submitting rows whose lease ran out.
-- KEYS 1 meta, 2 set, 3 records, 4 tokens, 5 account
-- ARGV 1 holder, 2 limit, 3 lease ms, 4 '1' when the account must allow polling
-- RETURNS {now ms, troubles, wait ms, bound, row, token, old token, record, row, token, old token, record, ...}
--         a row that was taken over bears the lost claim's token before its own, so that a second takeover, after a
--         first one that also died, still knows when and by whom the row was sent; holders have no '|' in their names
-- TTL none
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local account = redis.call('HMGET', KEYS[5], 'blocked', 'polls', 'troubles')
local troubles = tonumber(account[3] or 0)
if ARGV[4] == '1' and redis.call('HGET', KEYS[1], 'polls') == '0' then return {now, troubles, 1000, 'paused'} end
if ARGV[4] == '1' and account[1] and account[1] ~= '' and account[2] == '0' then
  return {now, troubles, 1000, 'account'}
end
local rows = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, tonumber(ARGV[2]))
if #rows == 0 then
  local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  if #first == 0 then return {now, troubles, 250, 'empty'} end
  return {now, troubles, math.max(1, math.ceil(first[2] - now)), 'not before'}
end
local token = now .. ':' .. ARGV[1] .. ':' .. redis.call('HINCRBY', KEYS[1], 'claims', 1)
local lease = now + tonumber(ARGV[3])
local records = redis.call('HMGET', KEYS[3], unpack(rows))
local before = redis.call('HMGET', KEYS[4], unpack(rows))
local adds, tokens, reply = {}, {}, {now, troubles, 0, ''}
for i, row in ipairs(rows) do
  local lost, own = '', token
  if ARGV[4] ~= '1' then
    lost = string.match(before[i] or '', '^[^|]*')
    own = lost .. '|' .. token
  end
  adds[#adds + 1] = lease
  adds[#adds + 1] = row
  tokens[#tokens + 1] = row
  tokens[#tokens + 1] = own
  reply[#reply + 1] = row
  reply[#reply + 1] = own
  reply[#reply + 1] = lost
  reply[#reply + 1] = records[i] or ''
end
redis.call('ZADD', KEYS[2], unpack(adds))
redis.call('HSET', KEYS[4], unpack(tokens))
return reply
