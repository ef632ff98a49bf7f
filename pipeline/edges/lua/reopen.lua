-- Continue a run with a new card, whatever stopped it; the account's block is lifted; its back-off is everyone's and stays.
-- KEYS 1 meta, 2 account, 3 account's runs, 4 runs of the account that the run had before, 5 submitting, 6 pending
-- ARGV 1 run id, 2 card, 3 state, then pairs for meta: field, value ('' removes it)
-- RETURNS 1 when reopened, 0 for an unknown run
-- TTL none
-- PART given_cap
-- PART set_pairs
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('SREM', KEYS[4], ARGV[1])
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[2], 'blocked', 'polls')
redis.call('HDEL', KEYS[1], 'trouble', 'trouble_since', 'doubt_since', 'guard', 'polls', 'missing')
-- what a person ends at this very moment is not gone on with
local state = redis.call('HGET', KEYS[1], 'state')
local kept = ARGV[3] == 'running' and (state == 'cancelling' or state == 'abandoning')
redis.call('HSET', KEYS[1], 'card', ARGV[2], 'state', kept and state or ARGV[3], 'reason', '', 'streak', 0, 'streak_code', '')
set_pairs(KEYS[1], 4)
given_cap(KEYS[1], KEYS[5], KEYS[6])
return 1
