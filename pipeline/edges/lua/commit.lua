-- Apply a group of steps, each under the token of its claim; a stale token changes nothing.
-- KEYS 1 meta, 2 ready, 3 submitting, 4 pending, 5 bodies, 6 records, 7 tokens, 8 results, 9 accepted, 10 done,
--      11 account
-- ARGV 1 guard before the first completed row, 2 guard after, 3 guard against polls answered 404, then 17 for each
--      row: index, token, from, to, wait ms, record, ending, outcome, what the guard counts, accepted line,
--      account wait ms, account block (ending and outcome '' unless to is done; account block '' or 'key <problem>' or
--      'balance <problem>'); the trouble, prompt tokens, completion tokens, micro-cost, and '1' where the POST may have
--      been billed without an id, follow as 5 more
-- RETURNS one 1 or 0 for each row: applied or stale
-- TTL none
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local sets = {ready = KEYS[2], submitting = KEYS[3], pending = KEYS[4]}
local applied = {}
local function add(field, by) if by ~= 0 then redis.call('HINCRBY', KEYS[1], field, by) end end

local function account_says(wait, block, trouble, doubt)
  if block ~= '' then
    redis.call('HSET', KEYS[11], 'blocked', string.match(block, '^%S+ (.*)$'),
      'polls', string.match(block, '^key ') and '0' or '1')
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
for i = 4, #ARGV, 17 do
  local row, to = ARGV[i], ARGV[i + 3]
  local held = redis.call('HGET', KEYS[7], row)
  -- the answer of the worker that sent the row goes before whoever took the row over from it
  if held ~= ARGV[i + 1] and (not held or string.match(held, '^([^|]*)|') ~= ARGV[i + 1]) then
    applied[#applied + 1] = 0
  else
    applied[#applied + 1] = 1
    if ARGV[i + 12] == '' then
      sane = true
      if ARGV[i + 2] == 'pending' then missing = 0 end
    end
    account_says(tonumber(ARGV[i + 10]), ARGV[i + 11], ARGV[i + 12], ARGV[i + 16])
    redis.call('HDEL', KEYS[7], row)
    redis.call('ZREM', sets[ARGV[i + 2]], row)
    -- a row that was taken out of ready waits under its lease among the submitting ones
    if ARGV[i + 2] == 'ready' then redis.call('ZREM', KEYS[3], row) end
    if to == 'done' then
      finish(i, row)
    else
      redis.call('HSET', KEYS[6], row, ARGV[i + 5])
      redis.call('ZADD', sets[to], now + tonumber(ARGV[i + 4]), row)
      if ARGV[i + 8] == 'missing' then
        miss(ARGV[i + 12])
      elseif ARGV[i + 8] ~= '' then
        streak(ARGV[i + 8])
      end
    end
    if ARGV[i + 9] ~= '' then
      redis.call('RPUSH', KEYS[9], ARGV[i + 9])
      redis.call('HDEL', KEYS[1], 'doubt_since')
      add('accepted', 1)
      if tonumber(redis.call('HGET', KEYS[11], 'wait_until') or 0) <= now then
        redis.call('HSET', KEYS[11], 'troubles', 0)
      end
    end
  end
end
if missing ~= missing_before then redis.call('HSET', KEYS[1], 'missing', missing) end
if sane then redis.call('HDEL', KEYS[1], 'trouble', 'trouble_since') end
return applied
