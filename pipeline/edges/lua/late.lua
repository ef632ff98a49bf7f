-- Keep, count and queue an accepted id whose row went on without it: it was paid for.
-- KEYS 1 meta, 2 accepted, 3 late, 4 records
-- ARGV 1 line, 2 row, 3 generation id as it stands in a record
-- RETURNS 1, or 0 when the run is finished or forgotten: then nobody would ask for it; nothing happens where the id is
--         one that the row knows
-- TTL none
local state = redis.call('HGET', KEYS[1], 'state')
if not state or state == 'finished' then return 0 end
local record = redis.call('HGET', KEYS[4], ARGV[2])
if record and string.find(record, ARGV[3], 1, true) then return 1 end
local time = redis.call('TIME')
if redis.call('ZADD', KEYS[3], 'NX', time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1]) == 0 then return 1 end
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[1], 'late', 1)
return 1
