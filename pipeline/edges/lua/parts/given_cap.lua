-- What rows in flight hold of caps that were just given, and what was spent beyond these before: core/budget.py says why.
-- A function for scripts that give caps, so that no crash comes between the two.
-- KEYS its arguments: meta, submitting, pending
-- ARGV none
-- RETURNS nothing
-- TTL none
local function given_cap(meta_key, submitting, pending)
  local meta = redis.call('HMGET', meta_key, 'max_tokens', 'max_micro', 'reserve_tokens', 'reserve_micro', 'prompt_tokens',
    'completion_tokens', 'cost_micro', 'kept')
  if not meta[1] and not meta[2] then
    redis.call('HDEL', meta_key, 'held_tokens', 'held_micro', 'over_tokens', 'over_micro')
    return
  end
  local in_flight = redis.call('ZCARD', submitting) + redis.call('ZCARD', pending)
  local kept = tonumber(meta[8] or 0)
  local function held(cap, spent, reserved)
    if not cap then return reserved end
    if in_flight == 0 then return 0 end
    return math.min(reserved, math.floor(math.max(0, tonumber(cap) - spent - kept * reserved) / in_flight))
  end
  local function beyond(cap, spent) return cap and math.max(0, spent - tonumber(cap)) or 0 end
  local tokens, micro = tonumber(meta[5] or 0) + tonumber(meta[6] or 0), tonumber(meta[7] or 0)
  redis.call('HSET', meta_key, 'held_tokens', held(meta[1], tokens, tonumber(meta[3] or 0)),
    'held_micro', held(meta[2], micro, tonumber(meta[4] or 0)),
    'over_tokens', beyond(meta[1], tokens), 'over_micro', beyond(meta[2], micro))
end
