-- Make a run's ledger anew, unless it is there already.
-- KEYS 1 meta, 2 done, 3 runs, 4 account's runs, 5 accounts, 6 submitting, 7 pending
-- ARGV 1 run id, 2 bitmap of the rows that already ended, 3 account, then pairs for meta: field, value ('' is left out)
-- RETURNS 1 when made, 0 when it was there
-- TTL none
-- PART given_cap
if redis.call('HEXISTS', KEYS[1], 'card') == 1 then return 0 end
-- what a script left that came to a ledger which its server had lost
redis.call('DEL', KEYS[1])
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] ~= '' then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
if ARGV[2] ~= '' then redis.call('SET', KEYS[2], ARGV[2]) end
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('SADD', KEYS[4], ARGV[1])
redis.call('SADD', KEYS[5], ARGV[3])
given_cap(KEYS[1], KEYS[6], KEYS[7])
return 1
