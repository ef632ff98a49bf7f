-- Set some fields of a hash and remove others; one that must exist is not made anew.
-- KEYS 1 hash
-- ARGV 1 '1' when the hash must exist, then pairs: field, value ('' removes it)
-- RETURNS 1, or 0 when the hash does not exist
-- TTL none
-- PART set_pairs
if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
set_pairs(KEYS[1], 2)
return 1
