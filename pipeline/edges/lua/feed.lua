-- Push rows into the window and move the feed cursor, if nobody moved it meanwhile.
-- KEYS 1 meta, 2 ready, 3 bodies, 4 records, 5 pending, 6 submitting, 7 reservations that are kept, by row
-- ARGV 1 expected cursor, 2 new cursor, 3 lease ms, then for each row: index, body, record ('' when new), 'ready', 'again'
--      when it may have been sent (a living worker's answer comes first), 'pending' when its generation is known, or
--      'lost' when it may have been sent and is not to be sent again: it is taken up like a row of a dead worker; and how
--      many reservations are kept for what it may have been billed before
-- RETURNS 1 when pushed, 0 when the cursor was elsewhere
-- TTL none: the run's keys live until the run is forgotten
-- A fresh row's score is its index: below any time of day, so it is due at once, and rows go out in order.
-- PART gathered
if redis.call('HGET', KEYS[1], 'fed') ~= ARGV[1] then return 0 end
local bytes, kept = 0, 0
local bodies, records, due, keeps = {}, {}, {ready = {}, pending = {}, submitting = {}}, {}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 4, #ARGV, 5 do
  local row, body, record, place = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  put(bodies, row, body)
  bytes = bytes + #body
  if record ~= '' then put(records, row, record) end
  if place == 'pending' then
    put(due.pending, now, row)
  elseif place == 'again' then
    put(due.ready, now + tonumber(ARGV[3]), row)
  elseif place == 'lost' then
    put(due.submitting, now, row)
  else
    put(due.ready, row, row)
  end
  if ARGV[i + 4] ~= '0' then
    put(keeps, row, ARGV[i + 4])
    kept = kept + tonumber(ARGV[i + 4])
  end
end
in_pieces('HSET', KEYS[3], bodies)
in_pieces('HSET', KEYS[4], records)
in_pieces('ZADD', KEYS[2], due.ready)
in_pieces('ZADD', KEYS[5], due.pending)
in_pieces('ZADD', KEYS[6], due.submitting)
in_pieces('HSET', KEYS[7], keeps)
redis.call('HSET', KEYS[1], 'fed', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'bodies_bytes', bytes)
if kept > 0 then redis.call('HINCRBY', KEYS[1], 'kept', kept) end
return 1
