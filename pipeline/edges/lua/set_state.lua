-- Change what a run is doing; a run that was forgotten stays forgotten.
-- KEYS 1 meta
-- ARGV 1 state, 2 reason, 3 the only state to come from, or ''
-- RETURNS 1 when changed, 0 for an unknown run
-- TTL none
-- what is finished stays so: a late report of a fault must not undo it
local state = redis.call('HGET', KEYS[1], 'state')
if not state or state == 'finished' then return 0 end
if ARGV[3] ~= '' and state ~= ARGV[3] then return 0 end
-- a run that a person ends sends nothing more, whoever pauses or resumes it meanwhile; a disk that refuses still stops it
local ending = state == 'cancelling' or state == 'abandoning'
local onwards = ARGV[1] == 'finished' or ARGV[1] == 'cancelling' or ARGV[1] == 'abandoning'
if ending and not onwards and not string.match(ARGV[2], '^storage: ') then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'reason', ARGV[2])
redis.call('HDEL', KEYS[1], 'guard', 'polls')
return 1
