-- list.lua - the values of a folder's direct children, newest first.
--
-- ARGV: prefix, folder, offset, limit, "n" to put each name before its value, "r" to repair.
-- Members whose document vanished (eviction, expiry) are passed over, and taken out of the index
-- when met; count follows. Refused repairs (a replica, a full disk) are left for another time.
local folder, start, wanted = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local named, repairs = ARGV[5] == 'n', ARGV[6] == 'r'
local key, base = idx(folder), base_of(folder)
local rows, lost, found = {}, {}, 0

-- A value, or nil for a member to pass over.
local function accept(member, value)
	if string.sub(member, 1, #base) ~= base or member == base then
		lost[#lost + 1] = member
		return nil
	end
	if not value then
		-- Nil stands for another type, too.
		if call('TYPE', doc(member)).ok ~= 'none' then
			error({err = 'CORRUPT ' .. doc(member) .. ' is not a string'})
		end
		lost[#lost + 1] = member
		return nil
	end
	return value
end

while found < wanted do
	local size = math.min(wanted - found, CHUNK)
	local members = call('ZREVRANGE', key, start, start + size - 1)
	local keys = {}
	if #members == 0 then
		break
	end
	for i, member in ipairs(members) do
		keys[i] = doc(member)
	end
	local values = call('MGET', unpack(keys))
	for i, member in ipairs(members) do
		local value = accept(member, values[i])
		if value then
			found = found + 1
			if named then
				rows[#rows + 1] = string.sub(member, #base + 1)
			end
			rows[#rows + 1] = value
		end
	end
	start = start + #members
	if #members < size then
		break
	end
end

-- At the end, because it shifts the ranks.
local function repair()
	for first = 1, #lost, CHUNK do
		call('ZREM', key, unpack(lost, first, math.min(first + CHUNK - 1, #lost)))
	end
	unlink(folder)
end

if repairs and #lost > 0 then
	pcall(repair)
end
return rows
