-- Replace a schedule's book, if it is still the one that was read, and have its history keep firings that are over.
-- KEYS 1 books by name, 2 history: firings by id
-- ARGV 1 name, 2 revision of the book that was read, or '' where there was none, 3 the book, or '' where it is removed,
--      with its history, 4 firings that the history keeps, then of each new one: id, firing
-- RETURNS 1 when replaced, 0 when the book is another one
-- TTL none
local before = redis.call('HGET', KEYS[1], ARGV[1])
if ARGV[2] == '' then
  if before then return 0 end
elseif not before or tonumber(ARGV[2]) ~= cjson.decode(before).revision then
  return 0
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('DEL', KEYS[2])
  return 1
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
for i = 5, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
local kept = tonumber(ARGV[4])
if redis.call('HLEN', KEYS[2]) > kept then
  local ids = redis.call('HKEYS', KEYS[2])
  table.sort(ids)
  for i = 1, #ids - kept do redis.call('HDEL', KEYS[2], ids[i]) end
end
return 1
