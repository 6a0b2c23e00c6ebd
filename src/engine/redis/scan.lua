-- scan.lua - one page of the documents below a path.
--
-- ARGV: prefix, base, folder, score, member. The last three are the cursor: go on in `folder`
-- behind (score, member), or at its beginning when score is empty. Answers the next cursor and the
-- page: {folder, score, member, {path, value, …}}; folder is nil at the end.
--
-- The walk is depth first. A folder's children are read newest first, so that what is set
-- meanwhile moves behind the cursor and is not seen twice; its folders in order of their names,
-- which never moves. A page ends after ROWS members or folders, or BYTES of values.
local base, folder, score, member = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local ROWS, BYTES = 256, 1048576
local rows, steps, bytes = {}, 0, 0

-- Is `a` before `b` in byte order? Lua's own comparison follows the server's locale.
local function is_before(a, b)
	for i = 1, math.min(#a, #b) do
		local left, right = string.byte(a, i), string.byte(b, i)
		if left ~= right then
			return left < right
		end
	end
	return #a < #b
end

-- The rank behind (score, member), newest first.
local function rank_behind(key)
	if score == '' then
		return 0
	end
	local place, current = tonumber(score), tonumber(call('ZSCORE', key, member) or nil)
	-- Lower within its millisecond: its ties were closed up, and all moved along.
	if current and current <= place and math.floor(current) == math.floor(place) then
		return call('ZREVRANK', key, member) + 1
	end
	local rank = call('ZCOUNT', key, '(' .. score, '+inf')
	while true do
		-- Equal scores are in descending order of their members.
		local page = call('ZREVRANGE', key, rank, rank + 99, 'WITHSCORES')
		for i = 1, #page, 2 do
			if tonumber(page[i + 1]) ~= place or is_before(page[i], member) then
				return rank + (i - 1) / 2
			end
		end
		rank = rank + #page / 2
		if #page < 200 then
			return rank
		end
	end
end

-- The folder after this one; nil when the walk is over.
local function next_folder()
	local below = call('ZRANGEBYLEX', dir(folder), '-', '+', 'LIMIT', 0, 1)
	if below[1] then
		return join(folder, below[1])
	end
	while folder ~= base do
		local parent, name = split(folder)
		local beside = call('ZRANGEBYLEX', dir(parent), '(' .. name, '+', 'LIMIT', 0, 1)
		if beside[1] then
			return join(parent, beside[1])
		end
		folder = parent
	end
end

-- Add the folder's documents from the cursor on; true when the page is full.
local function read_folder()
	local key, head = idx(folder), base_of(folder)
	local rank = rank_behind(key)
	while true do
		local page = call('ZREVRANGE', key, rank, rank + 63, 'WITHSCORES')
		for i = 1, #page, 2 do
			member, score = page[i], page[i + 1]
			local value = string.sub(member, 1, #head) == head and member ~= head
				and call('GET', doc(member))
			if value then
				rows[#rows + 1] = member
				rows[#rows + 1] = value
				bytes = bytes + #value
			end
			steps = steps + 1
			if steps >= ROWS or bytes >= BYTES then
				return true
			end
		end
		if #page < 128 then
			return false
		end
		rank = rank + 64
	end
end

while true do
	if read_folder() then
		return {folder, score, member, rows}
	end
	folder, score, member = next_folder(), '', ''
	if not folder then
		return {false, '', '', rows}
	end
	steps = steps + 1
	if steps >= ROWS then
		return {folder, '', '', rows}
	end
end
