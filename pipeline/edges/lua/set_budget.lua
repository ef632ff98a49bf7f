-- Replace the caps of a run, which hold from its next claim on.
-- KEYS 1 meta, 2 submitting, 3 pending
-- ARGV pairs for meta: field, value ('' removes it)
-- RETURNS 1, or 0 for an unknown run
-- TTL none
-- PART given_cap
-- PART set_pairs
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
set_pairs(KEYS[1], 1)
given_cap(KEYS[1], KEYS[2], KEYS[3])
return 1
