-- Claim rows that may be sent now, together with their permits: the intent and its lease are recorded before the POST.
-- The arithmetic of permits is that of core/permits.py.
-- KEYS 1 meta, 2 ready, 3 submitting, 4 pending, 5 bodies, 6 records, 7 tokens, 8 account, 9 account's runs,
--      10 lock of the command that leads the run
-- ARGV 1 holder, 2 limit, 3 lease ms, 4 first rows, 5 most in flight, 6 results bytes that stop submitting, 7 key prefix,
--      8 '1' when the run needs no leader, 9 run id, 10 priority; then, in µs but for the last two, how late a permit may
--      be used at most, the longest wait for a turn, permits to be ahead, the same as time, 15 the cost of a permit at
--      priority 1, 16 ms after which a refused run does not wait any more, 17 ms without a POST before a tester, and in µs:
--      18 from when on nobody was late, but there was a pause, 19 how late a permit may be used at least; 20 ms for which
--      a tester is waited for, 21 the part of the limit in flight that a run may be ahead where that is the bound, and
--      22 as long as so many permits take is late enough
-- RETURNS {now ms, troubles, wait ms, bound, token, row, body, record, row, body, record, ...}
-- TTL none
-- PART permits
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local now_us = time[1] * 1000000 + time[2]
local meta = redis.call('HMGET', KEYS[1], 'state', 'results_bytes', 'o:completed', 'bound', 'max_tokens', 'max_micro',
  'reserve_tokens', 'reserve_micro', 'prompt_tokens', 'completion_tokens', 'cost_micro', 'kept')
local account = redis.call('HMGET', KEYS[8], 'blocked', 'wait_until', 'troubles', 'gap', 'tat', 'turn', 'most', 'cap',
  'tests', 'sent_at', 'tester_until', 'v:' .. ARGV[9], 'a:' .. ARGV[9], 'turns')
local troubles = tonumber(account[3] or 0)
local function whole(number) return string.format('%.0f', number) end
local function told(bound)
  if meta[1] and (meta[4] or '') ~= bound then redis.call('HSET', KEYS[1], 'bound', bound) end
end
local function none(wait, bound)
  told(bound)
  return {now, troubles, wait, bound}
end
if meta[1] ~= 'running' then return none(1000, 'paused') end
if ARGV[8] ~= '1' and redis.call('EXISTS', KEYS[10]) == 0 then return none(1000, 'no leader') end
if account[1] and account[1] ~= '' then return none(1000, 'account') end
local wait_until = tonumber(account[2] or 0)
if wait_until > now then return none(wait_until - now, 'back-off') end
if tonumber(meta[2] or 0) >= tonumber(ARGV[6]) then return none(200, 'results') end
local submitting = redis.call('ZCARD', KEYS[3])
local own = submitting + redis.call('ZCARD', KEYS[4])
local wanted = tonumber(ARGV[2])
local bound = ''
if tonumber(meta[3] or 0) == 0 and tonumber(ARGV[4]) - own < wanted then
  wanted = tonumber(ARGV[4]) - own
  bound = 'first rows'
end
if troubles > 0 and tonumber(ARGV[4]) - submitting < wanted then
  -- after a back-off a few rows try whether the API accepts again
  wanted = tonumber(ARGV[4]) - submitting
  bound = 'back-off'
end
if wanted <= 0 then return none(100, bound) end

-- what the run may spend: one reservation for each row in flight, and for each that may have been billed
local kept = tonumber(meta[12] or 0)
local function left(cap, spent, reserved) return tonumber(cap) - spent - kept * reserved end
local function affordable(cap, spent, reserved)
  if not cap then return wanted end
  if not reserved then return 0 end
  local rest = left(cap, spent, reserved)
  if rest <= 0 then return 0 end
  local rows = math.floor(rest / math.max(1, tonumber(reserved))) - own
  -- while nothing is known of what a row costs, one goes alone for whatever is left
  if own == 0 and spent == 0 and kept == 0 then rows = math.max(1, rows) end
  return math.max(0, rows)
end
local used = tonumber(meta[9] or 0) + tonumber(meta[10] or 0)
local rows_left = math.min(affordable(meta[5], used, meta[7]), affordable(meta[6], tonumber(meta[11] or 0), meta[8]))
if rows_left < wanted then
  wanted = rows_left
  bound = 'budget'
end
local due = redis.call('ZCOUNT', KEYS[2], '-inf', now)
if due == 0 then
  local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  if #first == 0 then return none(250, 'empty') end
  return none(math.max(1, math.ceil(first[2] - now)), 'not before')
end
if wanted <= 0 then return none(500, 'budget') end
if due < wanted then
  wanted = due
  bound = ''
end

-- what the account allows all of its runs together
local permitted = wanted
local in_flight = 0
local runs = redis.call('SMEMBERS', KEYS[9])
for _, run in ipairs(runs) do
  -- generations that the API no longer finds take nobody's place
  if redis.call('HGET', ARGV[7] .. run .. ':meta', 'polls') ~= '0' then
    in_flight = in_flight + redis.call('ZCARD', ARGV[7] .. run .. ':submitting')
      + redis.call('ZCARD', ARGV[7] .. run .. ':pending')
  end
end
local limit = math.min(tonumber(ARGV[5]), tonumber(account[7] or ARGV[5]))
local most = limit - in_flight
if account[8] then limit = math.min(limit, tonumber(account[8])) end
local free = limit - in_flight
local tester = false
if free <= 0 and most > 0 and account[9] == '1' and now - tonumber(account[10] or 0) >= tonumber(ARGV[17])
  and now >= tonumber(account[11] or 0) then
  free = 1
  tester = true
end
if free < permitted then
  permitted = math.max(0, free)
  bound = 'in flight'
end
local gap = tonumber(account[4] or 0)
local tat, turn = tonumber(account[5] or 0), tonumber(account[6] or 0)
if gap > 0 and (tat > now_us + gap or turn > now_us + tonumber(ARGV[12]) + gap) then
  -- the rate was raised meanwhile, or the clock put back
  tat, turn = math.min(tat, now_us + gap), math.min(turn, now_us + tonumber(ARGV[12]) + gap)
  redis.call('HSET', KEYS[8], 'tat', whole(tat), 'turn', whole(turn))
end
local from, room, forgiven = tat, permitted, 0
if gap > 0 then from, room, forgiven = permits(now_us, tat, gap, ARGV[11], ARGV[19], ARGV[22], ARGV[18]) end
if room < permitted then
  permitted = room
  bound = 'rate'
  redis.call('HINCRBY', KEYS[8], 'bound', 1)
end
local clock = tonumber(account[12] or 0)
local waits = account[13] and math.abs(now - tonumber(account[13])) <= tonumber(ARGV[16])
-- who did not wait has no right to what others used meanwhile, whether or not they wait just now
if not waits then clock = math.max(clock, tonumber(account[14] or 0)) end
local lowest
for _, run in ipairs(runs) do
  if run ~= ARGV[9] then
    local other = redis.call('HMGET', KEYS[8], 'a:' .. run, 'v:' .. run)
    if other[1] and math.abs(now - tonumber(other[1])) <= tonumber(ARGV[16]) then
      local theirs = tonumber(other[2] or 0)
      if not lowest or theirs < lowest then lowest = theirs end
    end
  end
end
local cost = math.floor(tonumber(ARGV[15]) / tonumber(ARGV[10]))
if lowest then
  local ahead = tonumber(ARGV[13])
  local by_rate = gap > 0 and bound ~= 'in flight'
  if bound == 'in flight' then
    ahead = math.max(ahead, math.floor(limit / tonumber(ARGV[21])))
  elseif gap > 0 then
    ahead = math.max(ahead, math.floor(tonumber(ARGV[14]) / gap))
  end
  local share = math.max(0, math.floor((lowest + ahead * cost - clock) / cost))
  local since = now_us - math.floor(forgiven * 2 / 3)
  if by_rate and from <= since then
    share = math.max(share, math.floor((since - from) / gap) + 1)
  end
  -- who is too far ahead takes no place among those who wait for the rate, either
  if share == 0 or share < permitted then
    permitted = share
    bound = 'turn'
  end
end

local wait = 0
if permitted < wanted then
  redis.call('HSET', KEYS[8], 'a:' .. ARGV[9], now)
  wait = 100
elseif account[13] then
  redis.call('HDEL', KEYS[8], 'a:' .. ARGV[9])
end
if permitted > 0 then
  redis.call('HSET', KEYS[8], 'turns', whole(math.max(clock, tonumber(account[14] or 0))))
  clock = clock + permitted * cost
  if gap > 0 then tat = from + permitted * gap end
  redis.call('HSET', KEYS[8], 'tat', whole(tat), 'sent_at', now)
end
redis.call('HSET', KEYS[8], 'v:' .. ARGV[9], whole(clock))
if bound == 'rate' then
  -- each waiter has a place of its own, one gap after the last one's; but who is first among others that wait comes for
  -- the very next permit, else it would go to them
  local is_first = lowest and clock <= lowest
  local comes = is_first and math.max(tat, now_us) or math.max(tat, turn, now_us)
  if comes - now_us >= tonumber(ARGV[12]) then
    wait = tonumber(ARGV[12]) / 1000
  else
    if not is_first then redis.call('HSET', KEYS[8], 'turn', whole(comes + gap)) end
    wait = math.floor((comes - now_us) / 1000) + 1
  end
end
if permitted == 0 then return none(wait, bound) end
told(bound)
if meta[5] or meta[6] then
  -- all that is in flight now fits under the cap at these amounts: what rows cost beyond them can overshoot it
  local function held(cap, spent, reserved)
    return math.floor(cap and math.min(reserved, left(cap, spent, reserved)) or reserved)
  end
  redis.call('HSET', KEYS[1], 'held_tokens', held(meta[5], used, meta[7]),
    'held_micro', held(meta[6], tonumber(meta[11] or 0), meta[8]), 'over_tokens', 0, 'over_micro', 0)
end

local rows = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, permitted)
local token = now .. ':' .. ARGV[1] .. ':' .. redis.call('HINCRBY', KEYS[1], 'claims', 1)
if tester then redis.call('HSET', KEYS[8], 'tester', token, 'tester_until', now + tonumber(ARGV[20])) end
local lease = now + tonumber(ARGV[3])
local bodies = redis.call('HMGET', KEYS[5], unpack(rows))
local records = redis.call('HMGET', KEYS[6], unpack(rows))
redis.call('ZREM', KEYS[2], unpack(rows))
local adds, tokens, reply = {}, {}, {now, troubles, wait, bound, token}
for i, row in ipairs(rows) do
  adds[#adds + 1] = lease
  adds[#adds + 1] = row
  tokens[#tokens + 1] = row
  tokens[#tokens + 1] = token
  reply[#reply + 1] = row
  reply[#reply + 1] = bodies[i] or ''
  reply[#reply + 1] = records[i] or ''
end
redis.call('ZADD', KEYS[3], unpack(adds))
redis.call('HSET', KEYS[7], unpack(tokens))
return reply
