-- End rows that wait in one set, while the run is being cancelled or abandoned.
-- KEYS 1 meta, 2 set, 3 bodies, 4 records, 5 results, 6 done, 7 tokens, 8 late, 9 reservations that are kept, by row,
--      10 account's counts
-- ARGV 1 limit, 2 ending, 3 outcome, 4 '1' when only an abandoned run may end them, and forgets its late ids
-- RETURNS how many ended
-- TTL none
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'abandoning' and (state ~= 'cancelling' or ARGV[4] == '1') then return 0 end
if ARGV[4] == '1' then redis.call('DEL', KEYS[8]) end
local rows = redis.call('ZRANGE', KEYS[2], 0, tonumber(ARGV[1]) - 1)
if #rows == 0 then return 0 end
local records = redis.call('HMGET', KEYS[4], unpack(rows))
local bodies_bytes, results_bytes, ended, answered, flagged, double = 0, 0, 0, 0, 0, 0
for i, row in ipairs(rows) do
  bodies_bytes = bodies_bytes + redis.call('HSTRLEN', KEYS[3], row)
  if redis.call('SETBIT', KEYS[6], row, 1) == 1 then
    double = double + 1
  else
    local record = records[i] or '{}'
    local result = '{"i":' .. row .. ',"r":' .. record .. ',"e":' .. ARGV[2] .. '}'
    redis.call('RPUSH', KEYS[5], result)
    results_bytes = results_bytes + #result
    ended = ended + 1
    -- with an answer that was asked for again the row is completed; no string holds these quotes as they stand here
    if string.find(record, '"f":{', 1, true) then answered = answered + 1 end
    -- rows that were sent may be billed, and nobody waits to hear what they cost
    if ARGV[4] == '1' then redis.call('HINCRBY', KEYS[9], row, 1) end
    if string.find(record, '"q":true', 1, true) then flagged = flagged + 1 end
  end
end
redis.call('ZREM', KEYS[2], unpack(rows))
redis.call('HDEL', KEYS[3], unpack(rows))
redis.call('HDEL', KEYS[4], unpack(rows))
redis.call('HDEL', KEYS[7], unpack(rows))
local kept = ARGV[4] == '1' and ended or 0
local sums = {kept = kept, bodies_bytes = -bodies_bytes, results_bytes = results_bytes, ['o:' .. ARGV[3]] = ended - answered,
  ['o:completed'] = answered, possible_duplicates = flagged, double_ends = double}
for field, by in pairs(sums) do
  if by ~= 0 then redis.call('HINCRBY', KEYS[1], field, by) end
end
local counts = {['ended:' .. ARGV[3]] = ended - answered, ['ended:completed'] = answered, possible_duplicates = flagged}
for field, by in pairs(counts) do
  if by ~= 0 then redis.call('HINCRBY', KEYS[10], field, by) end
end
return #rows
