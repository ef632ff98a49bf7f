-- Set some fields of a hash and remove others: a function for scripts that are given pairs.
-- KEYS its first argument: a hash
-- ARGV from its second argument on, pairs: field, value ('' removes it)
-- RETURNS nothing
-- TTL none
local function set_pairs(key, first)
  for i = first, #ARGV, 2 do
    if ARGV[i + 1] == '' then
      redis.call('HDEL', key, ARGV[i])
    else
      redis.call('HSET', key, ARGV[i], ARGV[i + 1])
    end
  end
end
