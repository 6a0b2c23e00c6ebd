-- adopt.lua - make what the source project wrote Keep's own.
--
-- ARGV: prefix, then "doc" PATH and "idx" FOLDER for keys that a SCAN met; or "end" "" as the last,
-- which writes the marker. That project knows no dir keys, and killed between its two commands it
-- leaves a document that no index shows: such a one becomes the oldest of its siblings.

-- As link, but without trusting what is there.
local function link_all(folder)
	while folder ~= '' do
		local parent, name = split(folder)
		call('ZADD', dir(parent), 0, name)
		folder = parent
	end
end

for i = 2, #ARGV, 2 do
	local kind, path = ARGV[i], ARGV[i + 1]
	if kind == 'end' then
		call('HSET', KEYS[1], 'format', 1, 'adopted', 1)
	elseif kind == 'idx' then
		-- The root was its own child there.
		if path == '' then
			call('ZREM', idx(''), '')
		end
		if call('EXISTS', idx(path)) == 1 then
			link_all(path)
		end
	elseif path ~= '' and call('EXISTS', doc(path)) == 1 then
		local parent = split(path)
		call('ZADD', idx(parent), 'NX', 0, path)
		link_all(parent)
	end
end
return false
