-- Where one row stands.
-- KEYS 1 ready, 2 submitting, 3 pending, 4 records, 5 done
-- ARGV 1 row
-- RETURNS {state or '', record}
-- TTL none
local state = ''
if redis.call('GETBIT', KEYS[5], ARGV[1]) == 1 then
  state = 'done'
elseif redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  state = 'ready'
elseif redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  state = 'submitting'
elseif redis.call('ZSCORE', KEYS[3], ARGV[1]) then
  state = 'pending'
end
return {state, redis.call('HGET', KEYS[4], ARGV[1]) or ''}
