-- Forget a noted range that is safely on disk, once.
-- KEYS 1 meta, 2 list
-- ARGV 1 field of the number of the list's first item, 2 field of the noted length, 3 start, 4 end, 5 bytes,
--      6 field of the list's bytes or '', 7 field that counts batches or ''
-- RETURNS 1 when forgotten, 0 when it was already
-- TTL none
local length = tonumber(ARGV[4]) - tonumber(ARGV[3])
if tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0) ~= tonumber(ARGV[3]) then return 0 end
-- an empty batch must not take away the note of a range that another writer is just writing
if length == 0 or tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or 0) ~= length then return 0 end
redis.call('LTRIM', KEYS[2], length, -1)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4], ARGV[2], 0)
if ARGV[6] ~= '' then redis.call('HINCRBY', KEYS[1], ARGV[6], -tonumber(ARGV[5])) end
if ARGV[7] ~= '' then redis.call('HINCRBY', KEYS[1], ARGV[7], 1) end
return 1
