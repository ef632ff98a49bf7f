-- What an account looks like at one moment.
-- KEYS 1 account, 2 account's runs
-- ARGV 1 key prefix
-- RETURNS {now ms, the account as a flat list, rows in flight of all its runs whose generations the API finds}
-- TTL none
local time = redis.call('TIME')
local in_flight = 0
for _, run in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  if redis.call('HGET', ARGV[1] .. run .. ':meta', 'polls') ~= '0' then
    in_flight = in_flight + redis.call('ZCARD', ARGV[1] .. run .. ':submitting')
      + redis.call('ZCARD', ARGV[1] .. run .. ':pending')
  end
end
return {time[1] * 1000 + math.floor(time[2] / 1000), redis.call('HGETALL', KEYS[1]), in_flight}
