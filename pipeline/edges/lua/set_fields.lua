-- Set some fields of a hash and remove others; one that must exist is not made anew.
-- KEYS 1 hash
-- ARGV 1 '1' when the hash must exist, then pairs: field, value ('' removes it)
-- RETURNS 1, or 0 when the hash does not exist
-- TTL none
if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return 1
