-- How many requests a lane may let go now: the arithmetic of core/permits.py, for scripts that give permits.
-- KEYS none
-- ARGV its arguments, in µs: now, when the next request is due, the gap between two (not 0), how late a permit may be used
--      at most and at least, as long as how many permits take is late enough, and after which lateness there was a pause
-- RETURNS from when on permits are given, how many there are by now, and how late one may be used
-- TTL none
local function permits(now_us, tat, gap, late_us, least_late_us, late_permits, pause_us)
  -- what a lateness missed is made up for, up to a bound, and a pause is not
  local forgiven = math.min(tonumber(late_us), math.max(tonumber(least_late_us), tonumber(late_permits) * gap))
  local from = math.max(tat, now_us - forgiven)
  if tat < now_us - tonumber(pause_us) then from = now_us end
  if from > now_us then return from, 0, forgiven end
  return from, math.floor((now_us - from) / gap) + 1, forgiven
end
