-- Gather what many rows need alike, for one command instead of one a row.
-- KEYS none
-- ARGV none
-- RETURNS put(list, first, second): append one value or two; in_pieces(command, key, list): the command with all of a list,
--         in pieces that Lua can hold on its stack; nothing for an empty one
local function put(list, first, second)
  list[#list + 1] = first
  if second then list[#list + 1] = second end
end
local function in_pieces(command, key, list)
  for from = 1, #list, 1000 do redis.call(command, key, unpack(list, from, math.min(#list, from + 999))) end
end
