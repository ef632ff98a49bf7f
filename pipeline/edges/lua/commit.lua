-- Apply a group of steps, each under the token of its claim; a stale token changes nothing.
-- KEYS 1 meta, 2 ready, 3 submitting, 4 pending, 5 bodies, 6 records, 7 tokens, 8 results, 9 accepted, 10 done,
--      11 account, 12 account's runs, 13 what ended generations told, 14 reservations that are kept, by row
-- ARGV 1 guard before the first completed row, 2 guard after, 3 guard against polls answered 404, 4 key prefix, 5 most
--      that is kept of what ended generations told, 6 ambiguous answers in a row that hold the account back, 7 ms of
--      the grid on which polls are due, then 20 for each row: index, token, from, to, wait ms, record, ending,
--      outcome, what the guard counts, accepted line, account wait ms, account block (ending and outcome '' unless to is
--      done; account block '' or 'key <problem>' or 'balance <problem>'); the trouble, prompt tokens, completion tokens,
--      micro-cost, '1' where the POST may have been billed without an id, the lane that was throttled ('posts', 'polls' or
--      ''), what the generation told ('' or JSON), and '1' where the row's reservation is kept since it may have been
--      billed, '-1' where one that was kept is in flight again
-- RETURNS one 1 or 0 for each row: applied or stale
-- TTL none
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local sets = {ready = KEYS[2], submitting = KEYS[3], pending = KEYS[4]}
local applied = {}
local function add(field, by) if by ~= 0 then redis.call('HINCRBY', KEYS[1], field, by) end end

local accepted, polled, observed = 0, 0, 0
local doubts = tonumber(redis.call('HGET', KEYS[11], 'doubts') or 0)
local held_by_each = redis.call('HMGET', KEYS[1], 'held_tokens', 'held_micro')
local tester = redis.call('HGET', KEYS[11], 'tester')
if not tester or tester == '' then tester = nil end

-- a row gives back no more than is kept for it
local function keep(row, by)
  if by < 0 and tonumber(redis.call('HGET', KEYS[14], row) or 0) <= 0 then return end
  if redis.call('HINCRBY', KEYS[14], row, by) <= 0 then redis.call('HDEL', KEYS[14], row) end
  add('kept', by)
end

local function pending_now()
  local pending = 0
  for _, run in ipairs(redis.call('SMEMBERS', KEYS[12])) do
    if redis.call('HGET', ARGV[4] .. run .. ':meta', 'polls') ~= '0' then
      pending = pending + redis.call('ZCARD', ARGV[4] .. run .. ':pending')
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
  elseif tonumber(redis.call('HGET', KEYS[11], 'wait_until') or 0) > now
    or tonumber(string.match(token, '^%d+') or now) < tonumber(redis.call('HGET', KEYS[11], 'event_at') or 0) then
    return
  else
    redis.call('HSET', KEYS[11], 'event_in_flight', pending_now())
  end
  redis.call('HINCRBY', KEYS[11], prefix .. 'events', 1)
  redis.call('HSET', KEYS[11], prefix .. 'event_at', now, prefix .. 'event_wait', wait, prefix .. 'event_answered',
    tonumber(redis.call('HGET', KEYS[11], prefix .. 'answered') or 0) + done)
end

local function tested(how)
  tester = nil
  redis.call('HDEL', KEYS[11], 'tester', 'tester_until')
  if how == '' then return end
  redis.call('HINCRBY', KEYS[11], 'tested_n', 1)
  redis.call('HSET', KEYS[11], 'tested', how, 'tested_in_flight', pending_now())
end

local function account_says(wait, block, trouble, doubt)
  if block ~= '' then
    redis.call('HSET', KEYS[11], 'blocked', string.match(block, '^%S+ (.*)$'),
      'polls', string.match(block, '^key ') and '0' or '1')
  end
  if doubt ~= '' then
    -- one alone says little of the API; several in a row may each cost a generation
    doubts = redis.call('HINCRBY', KEYS[11], 'doubts', 1)
    if doubts < tonumber(ARGV[6]) then wait = 0 end
  end
  if wait > 0 then
    local until_then = tonumber(redis.call('HGET', KEYS[11], 'wait_until') or 0)
    -- one congestion event, however many requests meet it
    if until_then <= now then redis.call('HINCRBY', KEYS[11], 'troubles', 1) end
    if now + wait > until_then then redis.call('HSET', KEYS[11], 'wait_until', now + wait) end
  end
  if trouble ~= '' then
    redis.call('HSET', KEYS[1], 'trouble', trouble)
    redis.call('HSETNX', KEYS[1], 'trouble_since', now)
  end
  if doubt ~= '' then redis.call('HSETNX', KEYS[1], 'doubt_since', now) end
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
  if redis.call('HGET', KEYS[1], 'streak_code') ~= like then
    redis.call('HSET', KEYS[1], 'streak_code', like, 'streak', 0)
  end
  local length = redis.call('HINCRBY', KEYS[1], 'streak', 1)
  local guard = ARGV[2]
  if tonumber(redis.call('HGET', KEYS[1], 'o:completed') or 0) == 0 then guard = ARGV[1] end
  if length >= tonumber(guard) and redis.call('HGET', KEYS[1], 'state') == 'running' then
    redis.call('HSET', KEYS[1], 'state', 'paused', 'streak', 0, 'guard', like .. in_words(ending),
      'reason', length .. ' rows in a row ended as ' .. like)
  end
end

local function finish(i, row)
  local body_bytes = redis.call('HSTRLEN', KEYS[5], row)
  redis.call('HDEL', KEYS[5], row)
  redis.call('HDEL', KEYS[6], row)
  add('bodies_bytes', -body_bytes)
  if redis.call('SETBIT', KEYS[10], row, 1) == 1 then
    add('double_ends', 1)
    return
  end
  local result = '{"i":' .. row .. ',"r":' .. ARGV[i + 5] .. ',"e":' .. ARGV[i + 6] .. '}'
  redis.call('RPUSH', KEYS[8], result)
  add('results_bytes', #result)
  add('o:' .. ARGV[i + 7], 1)
  add('prompt_tokens', tonumber(ARGV[i + 13]))
  add('completion_tokens', tonumber(ARGV[i + 14]))
  add('cost_micro', tonumber(ARGV[i + 15]))
  if held_by_each[1] then
    add('over_tokens', math.max(0, tonumber(ARGV[i + 13]) + tonumber(ARGV[i + 14]) - tonumber(held_by_each[1])))
    add('over_micro', math.max(0, tonumber(ARGV[i + 15]) - tonumber(held_by_each[2])))
  end
  if string.find(ARGV[i + 5], '"q":true', 1, true) then add('possible_duplicates', 1) end
  if ARGV[i + 7] == 'completed' then
    redis.call('HSET', KEYS[1], 'streak_code', '', 'streak', 0)
  elseif ARGV[i + 8] ~= '' then
    streak(ARGV[i + 8], ARGV[i + 6])
  end
end

local missing_before = tonumber(redis.call('HGET', KEYS[1], 'missing') or 0)
local missing = missing_before
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

local sane = false
for i = 8, #ARGV, 20 do
  local row, to = ARGV[i], ARGV[i + 3]
  local held = redis.call('HGET', KEYS[7], row)
  -- the answer of the worker that sent the row goes before whoever took the row over from it
  if held ~= ARGV[i + 1] and (not held or string.match(held, '^([^|]*)|') ~= ARGV[i + 1]) then
    applied[#applied + 1] = 0
  else
    applied[#applied + 1] = 1
    if ARGV[i + 12] == '' then
      sane = true
      if ARGV[i + 2] == 'pending' then
        missing = 0
        polled = polled + 1
      end
    end
    if ARGV[i + 17] ~= '' then congested(ARGV[i + 17], tonumber(ARGV[i + 4]), ARGV[i + 1]) end
    account_says(tonumber(ARGV[i + 10]), ARGV[i + 11], ARGV[i + 12], ARGV[i + 16])
    redis.call('HDEL', KEYS[7], row)
    redis.call('ZREM', sets[ARGV[i + 2]], row)
    -- a row that was taken out of ready waits under its lease among the submitting ones
    if ARGV[i + 2] == 'ready' then redis.call('ZREM', KEYS[3], row) end
    if to == 'done' then
      finish(i, row)
    else
      redis.call('HSET', KEYS[6], row, ARGV[i + 5])
      local due = now + tonumber(ARGV[i + 4])
      -- polls of many generations that are due together go out together
      if to == 'pending' then due = math.ceil(due / tonumber(ARGV[7])) * tonumber(ARGV[7]) end
      redis.call('ZADD', sets[to], due, row)
      if ARGV[i + 8] == 'missing' then
        miss(ARGV[i + 12])
      elseif ARGV[i + 8] ~= '' then
        streak(ARGV[i + 8])
      end
    end
    if ARGV[i + 18] ~= '' then
      observed = observed + 1
      redis.call('RPUSH', KEYS[13], ARGV[i + 18])
    end
    if ARGV[i + 19] ~= '' then keep(row, tonumber(ARGV[i + 19])) end
    if ARGV[i + 2] == 'submitting' and tester == ARGV[i + 1] then
      tested(ARGV[i + 9] ~= '' and 'accepted' or ARGV[i + 17] == 'posts' and 'refused' or '')
    end
    if ARGV[i + 9] ~= '' then
      accepted = accepted + 1
      if doubts > 0 then
        doubts = 0
        redis.call('HDEL', KEYS[11], 'doubts')
      end
      redis.call('RPUSH', KEYS[9], ARGV[i + 9])
      redis.call('HDEL', KEYS[1], 'doubt_since')
      add('accepted', 1)
      if tonumber(redis.call('HGET', KEYS[11], 'wait_until') or 0) <= now then
        redis.call('HSET', KEYS[11], 'troubles', 0)
      end
    end
  end
end
if accepted > 0 then redis.call('HINCRBY', KEYS[11], 'answered', accepted) end
if polled > 0 then redis.call('HINCRBY', KEYS[11], 'poll_answered', polled) end
if observed > 0 then
  redis.call('HINCRBY', KEYS[11], 'observed', observed)
  redis.call('LTRIM', KEYS[13], -tonumber(ARGV[5]), -1)
end
if missing ~= missing_before then redis.call('HSET', KEYS[1], 'missing', missing) end
if sane then redis.call('HDEL', KEYS[1], 'trouble', 'trouble_since') end
return applied
