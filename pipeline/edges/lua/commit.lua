-- Apply a group of steps, each under the token of its claim; a stale token changes nothing.
-- What steps do alike is gathered and done by one command for the whole group: what a row costs here is a few table entries.
-- KEYS 1 meta, 2 ready, 3 submitting, 4 pending, 5 bodies, 6 records, 7 tokens, 8 results, 9 accepted, 10 done,
--      11 account, 12 account's runs, 13 what ended generations told, 14 reservations that are kept, by row,
--      15 account's counts
-- ARGV 1 guard before the first completed row, 2 guard after, 3 guard against polls answered 404, 4 key prefix, 5 most
--      that is kept of what ended generations told, 6 ambiguous answers in a row that hold the account back, 7 ms of
--      the grid on which polls are due, 8 rows of the run, 9 arguments of what the whole group counts, then those: name
--      and number each, counted where no token is stale; then 13 for each row: index, token, from, to, wait ms or -1
--      where the row goes before those that were never sent, record, the ending where to is done, else the accepted line
--      or '', the outcome or '', what the answer of this step used: prompt tokens, completion tokens, micro-cost; what the
--      generation told ('' or JSON), and what few steps have ('' or a JSON object):
--        like     what the guard against like ends counts
--        hold     ms for which the account is held back
--        block    what blocks the account: 'key <problem>' or 'balance <problem>'
--        trouble  what a person should see
--        doubt    the POST may have been billed without an id
--        lane     what was throttled, 'posts' or 'polls'
--        answered the POST brought the end of its generation: it counts as accepted, and there is no id to save
--        keeps    1 where the row's reservation is kept since it may have been billed, -1 where it is in flight again
-- RETURNS one 1 or 0 for each row: applied or stale
-- TTL none
-- PART gathered
local STRIDE, FIRST, MOST = 13, 10 + tonumber(ARGV[9]), 1000
local NOTHING = {}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local sets = {ready = KEYS[2], submitting = KEYS[3], pending = KEYS[4]}
local grid = tonumber(ARGV[7])
local meta = redis.call('HMGET', KEYS[1], 'held_tokens', 'held_micro', 'o:completed', 'streak', 'streak_code', 'missing',
  'doubt_since', 'fed')
local account = redis.call('HMGET', KEYS[11], 'doubts', 'tester', 'troubles', 'wait_until')
local held_tokens, held_micro = meta[1] and tonumber(meta[1]), meta[2] and tonumber(meta[2])
local completed = tonumber(meta[3] or 0)
local calm = tonumber(meta[4] or 0) == 0 and (meta[5] or '') == ''
local missing_before = tonumber(meta[6] or 0)
local missing = missing_before
local in_doubt = meta[7] and true or false
local doubts, tester = tonumber(account[1] or 0), account[2]
if not tester or tester == '' then tester = nil end
local troubles, wait_until = tonumber(account[3] or 0), tonumber(account[4] or 0)
local applied, accepted, polled, observed, stale, sane = {}, 0, 0, 0, 0, false

-- what the group does, until it is done
local sums, left, due, tokens_of, records, ended, results, ids, told
local function begin()
  sums, tokens_of, records, ended, results, ids, told = {}, {}, {}, {}, {}, {}, {}
  left, due = {ready = {}, submitting = {}, pending = {}}, {ready = {}, submitting = {}, pending = {}}
end
begin()
local function add(field, by) if by ~= 0 then sums[field] = (sums[field] or 0) + by end end

local function do_it()
  for state, set in pairs(sets) do
    in_pieces('ZREM', set, left[state])
    in_pieces('ZADD', set, due[state])
  end
  in_pieces('HDEL', KEYS[7], tokens_of)
  in_pieces('HSET', KEYS[6], records)
  in_pieces('HDEL', KEYS[5], ended)
  in_pieces('HDEL', KEYS[6], ended)
  in_pieces('RPUSH', KEYS[8], results)
  in_pieces('RPUSH', KEYS[9], ids)
  in_pieces('RPUSH', KEYS[13], told)
  for field, by in pairs(sums) do redis.call('HINCRBY', KEYS[1], field, by) end
  begin()
end

-- a row gives back no more than is kept for it
local function keep(row, by)
  if by < 0 and tonumber(redis.call('HGET', KEYS[14], row) or 0) <= 0 then return end
  if redis.call('HINCRBY', KEYS[14], row, by) <= 0 then redis.call('HDEL', KEYS[14], row) end
  add('kept', by)
end

-- generations that the API has in hand: of a run whose POSTs are held open those that are being sent, too
local function pending_now()
  do_it()
  local pending = 0
  for _, run in ipairs(redis.call('SMEMBERS', KEYS[12])) do
    local says = redis.call('HMGET', ARGV[4] .. run .. ':meta', 'polls', 'holds')
    if says[1] ~= '0' then
      pending = pending + redis.call('ZCARD', ARGV[4] .. run .. ':pending')
      if says[2] == '1' then pending = pending + redis.call('ZCARD', ARGV[4] .. run .. ':submitting') end
    end
  end
  return pending
end

-- one congestion event, however many requests meet it: those too that were claimed before it and answered after it
local function congested(lane, wait, token)
  local prefix, done = '', accepted
  if lane == 'polls' then
    prefix, done = 'poll_', polled
    local until_then = tonumber(redis.call('HGET', KEYS[11], 'poll_wait_until') or 0)
    if now + wait > until_then then redis.call('HSET', KEYS[11], 'poll_wait_until', now + wait) end
    if until_then > now then return end
  elseif wait_until > now
    or tonumber(string.match(token, '^%d+') or now) < tonumber(redis.call('HGET', KEYS[11], 'event_at') or 0) then
    return
  else
    redis.call('HSET', KEYS[11], 'event_in_flight', pending_now())
  end
  redis.call('HINCRBY', KEYS[11], prefix .. 'events', 1)
  redis.call('HSET', KEYS[11], prefix .. 'event_at', now, prefix .. 'event_wait', wait, prefix .. 'event_answered',
    tonumber(redis.call('HGET', KEYS[11], prefix .. 'answered') or 0) + done)
end

-- `beside` counts a tester that was in flight until now
local function tested(how, beside)
  tester = nil
  redis.call('HDEL', KEYS[11], 'tester', 'tester_until')
  if how == '' then return end
  redis.call('HINCRBY', KEYS[11], 'tested_n', 1)
  redis.call('HSET', KEYS[11], 'tested', how, 'tested_in_flight', pending_now() + beside)
end

local function account_says(few)
  local wait = few.hold or 0
  if few.block then
    redis.call('HSET', KEYS[11], 'blocked', string.match(few.block, '^%S+ (.*)$'),
      'polls', string.match(few.block, '^key ') and '0' or '1')
  end
  if few.doubt then
    -- one alone says little of the API; several in a row may each cost a generation
    doubts = redis.call('HINCRBY', KEYS[11], 'doubts', 1)
    if doubts < tonumber(ARGV[6]) then wait = 0 end
  end
  if wait > 0 then
    -- one congestion event, however many requests meet it
    if wait_until <= now then troubles = redis.call('HINCRBY', KEYS[11], 'troubles', 1) end
    if now + wait > wait_until then
      wait_until = now + wait
      redis.call('HSET', KEYS[11], 'wait_until', wait_until)
    end
  end
  if few.trouble then
    redis.call('HSET', KEYS[1], 'trouble', few.trouble)
    redis.call('HSETNX', KEYS[1], 'trouble_since', now)
  end
  if few.doubt then
    redis.call('HSETNX', KEYS[1], 'doubt_since', now)
    in_doubt = true
  end
end

local function in_words(ending)
  if not ending then return '' end
  local problem = cjson.decode(ending).e
  if not problem then return '' end
  local status = ''
  if problem.http_status then status = ' (HTTP ' .. string.format('%d', problem.http_status) .. ')' end
  return status .. ': ' .. problem.message
end

local function streak(like, ending)
  calm = false
  if redis.call('HGET', KEYS[1], 'streak_code') ~= like then
    redis.call('HSET', KEYS[1], 'streak_code', like, 'streak', 0)
  end
  local length = redis.call('HINCRBY', KEYS[1], 'streak', 1)
  local guard = completed == 0 and ARGV[1] or ARGV[2]
  if length >= tonumber(guard) and redis.call('HGET', KEYS[1], 'state') == 'running' then
    redis.call('HSET', KEYS[1], 'state', 'paused', 'streak', 0, 'guard', like .. in_words(ending),
      'reason', length .. ' rows in a row ended as ' .. like)
  end
end

-- what an answer used, whether its row ended with it or is asked again
local function settle(prompt, completion, micro)
  add('prompt_tokens', prompt)
  add('completion_tokens', completion)
  add('cost_micro', micro)
  if held_tokens then
    add('over_tokens', math.max(0, prompt + completion - held_tokens))
    add('over_micro', math.max(0, micro - held_micro))
  end
end

local function finish(i, row, few)
  local outcome = ARGV[i + 7]
  add('bodies_bytes', -redis.call('HSTRLEN', KEYS[5], row))
  put(ended, row)
  if redis.call('SETBIT', KEYS[10], row, 1) == 1 then
    add('double_ends', 1)
    return
  end
  settle(tonumber(ARGV[i + 8]), tonumber(ARGV[i + 9]), tonumber(ARGV[i + 10]))
  local result = '{"i":' .. row .. ',"r":' .. ARGV[i + 5] .. ',"e":' .. ARGV[i + 6] .. '}'
  put(results, result)
  add('results_bytes', #result)
  add('o:' .. outcome, 1)
  if string.find(ARGV[i + 5], '"q":true', 1, true) then add('possible_duplicates', 1) end
  if outcome == 'completed' then
    completed = completed + 1
    if not calm then
      calm = true
      redis.call('HSET', KEYS[1], 'streak_code', '', 'streak', 0)
    end
  elseif few.like then
    streak(few.like, ARGV[i + 6])
  end
end

local function miss(words)
  missing = missing + 1
  if missing < tonumber(ARGV[3]) then return end
  local reason = missing .. ' polls in a row found nothing under ids that were accepted'
  -- polls are held whatever the run does; one that a person ends, or holds back, stays so
  redis.call('HSET', KEYS[1], 'polls', '0', 'guard', 'missing: ' .. words)
  if redis.call('HGET', KEYS[1], 'state') == 'running' then
    redis.call('HSET', KEYS[1], 'state', 'paused', 'reason', reason)
  end
  missing = 0
end

local function go_on(i, row, to, few)
  local wait = tonumber(ARGV[i + 4])
  local at = wait < 0 and tonumber(row) or now + wait
  -- polls of many generations that are due together go out together
  if to == 'pending' then at = math.ceil(at / grid) * grid end
  settle(tonumber(ARGV[i + 8]), tonumber(ARGV[i + 9]), tonumber(ARGV[i + 10]))
  put(records, row, ARGV[i + 5])
  put(due[to], at, row)
  if few.like == 'missing' then
    miss(few.trouble or '')
  elseif few.like then
    streak(few.like)
  end
end

local function paid(line)
  accepted = accepted + 1
  if doubts > 0 then
    doubts = 0
    redis.call('HDEL', KEYS[11], 'doubts')
  end
  if in_doubt then
    in_doubt = false
    redis.call('HDEL', KEYS[1], 'doubt_since')
  end
  if troubles > 0 and wait_until <= now then
    troubles = 0
    redis.call('HSET', KEYS[11], 'troubles', 0)
  end
  if line ~= '' then put(ids, line) end
  add('accepted', 1)
end

-- the last rows of a run are its slowest: once nothing more is sent, their times would be taken for everybody's
local teaches = tonumber(meta[8] or 0) < tonumber(ARGV[8])
  or redis.call('ZCARD', KEYS[2]) + redis.call('ZCARD', KEYS[3]) > 0
  or redis.call('LLEN', KEYS[13]) < tonumber(ARGV[5])

local function apply(i, row)
  local from, to = ARGV[i + 2], ARGV[i + 3]
  local few = ARGV[i + 12] == '' and NOTHING or cjson.decode(ARGV[i + 12])
  if not few.trouble then
    sane = true
    if from == 'pending' then
      missing = 0
      polled = polled + 1
    end
  end
  if few ~= NOTHING then
    if few.lane then congested(few.lane, tonumber(ARGV[i + 4]), ARGV[i + 1]) end
    account_says(few)
  end
  put(tokens_of, row)
  if from ~= to then put(left[from], row) end
  -- a row that was taken out of ready waits under its lease among the submitting ones
  if from == 'ready' then put(left.submitting, row) end
  local line = ''
  if to == 'done' then
    finish(i, row, few)
  else
    line = ARGV[i + 6]
    go_on(i, row, to, few)
  end
  if ARGV[i + 11] ~= '' and teaches then
    observed = observed + 1
    put(told, ARGV[i + 11])
  end
  if few.keeps then keep(row, few.keeps) end
  local carried_out = line ~= '' or few.answered
  if from == 'submitting' and tester == ARGV[i + 1] then
    tested(carried_out and 'accepted' or few.lane == 'posts' and 'refused' or '', few.answered and 1 or 0)
  end
  if carried_out then paid(line) end
end

local rows, tokens = {}, {}
for i = FIRST, #ARGV, STRIDE do rows[#rows + 1] = ARGV[i] end
for from = 1, #rows, MOST do
  local upto = math.min(#rows, from + MOST - 1)
  for n, token in ipairs(redis.call('HMGET', KEYS[7], unpack(rows, from, upto))) do tokens[rows[from + n - 1]] = token end
end
for i = FIRST, #ARGV, STRIDE do
  local row, token = ARGV[i], ARGV[i + 1]
  local held = tokens[row]
  -- the answer of the worker that sent the row goes before whoever took the row over from it
  if held and (held == token or string.match(held, '^([^|]*)|') == token) then
    applied[#applied + 1] = 1
    tokens[row] = false
    apply(i, row)
  else
    applied[#applied + 1] = 0
    stale = stale + 1
  end
end
do_it()
if accepted > 0 then redis.call('HINCRBY', KEYS[11], 'answered', accepted) end
if polled > 0 then redis.call('HINCRBY', KEYS[11], 'poll_answered', polled) end
if observed > 0 then
  redis.call('HINCRBY', KEYS[11], 'observed', observed)
  redis.call('LTRIM', KEYS[13], -tonumber(ARGV[5]), -1)
end
if missing ~= missing_before then redis.call('HSET', KEYS[1], 'missing', missing) end
if sane then redis.call('HDEL', KEYS[1], 'trouble', 'trouble_since') end
if stale > 0 then
  redis.call('HINCRBY', KEYS[15], 'stale', stale)
else
  for i = 10, FIRST - 1, 2 do redis.call('HINCRBY', KEYS[15], ARGV[i], ARGV[i + 1]) end
end
return applied
