-- apply.lua - a list of changes, whole or not at all.
--
-- ARGV: prefix, now in ms, the notice for watches, then the changes, each one of
--
--   s PATH VALUE                  set
--   p PATH VALUE SCORE            set with a place
--   u PATH                        unset; the empty path is everything
--   c PATH EXPECTED VALUE FLAGS   compare and set; FLAGS "ev": both present, "e-" unset, "-v" add
--
-- Answers nil when done, or the number of the change whose expectation differs, or an error.
--
-- Redis does not undo a script that fails half way, therefore:
--   1. Phase one only reads. It evaluates expectations against the state that the earlier changes
--      leave, reads every key that phase two will change outside of unset subtrees with a command
--      of its type (another type is an error there), and counts the room for equal places.
--   2. Phase two cannot fail but at its very first command: by then Redis has refused for lack of
--      memory (-OOM), a replica (-READONLY) or a full disk (-MISCONF), or lets all pass.
--
-- Places are doubles: the millisecond is the score that callers see, fractions are ties. A
-- millisecond of today holds 4096 ties, one of the year 2248 still 1024.

local now = tonumber(ARGV[2])
local notice = ARGV[3]

-- ------------------------------------------------------------------ places

-- The distance of two ties within the millisecond `ms`: the finest that all its doubles have.
local function step_of(ms)
	local _, exponent = math.frexp(ms)
	return math.ldexp(1, math.max(exponent - 53, -16))
end

local function exact(score)
	return string.format('%.17g', score)
end

-- The tie above `score` in its millisecond; nil when that was the last.
local function after(score)
	local ms = math.floor(score)
	local step = step_of(ms)
	local tie = ms + (math.floor((score - ms) / step) + 1) * step
	if tie < ms + 1 then
		return tie
	end
end

-- Largest place in a folder, false for none; remembered until an unset.
local tops = {}

local function top_of(folder)
	local top = tops[folder]
	if top == nil then
		local found = call('ZREVRANGE', idx(folder), 0, 0, 'WITHSCORES')
		top = found[2] and tonumber(found[2]) or false
		if top and not (top < 2 ^ 44 and top > -2 ^ 44) then
			error({err = 'CORRUPT a score in ' .. idx(folder) .. ' is out of range'})
		end
		tops[folder] = top
	end
	return top
end

-- Close the gaps between the ties of `ms` if they are at most `most` (a share of all), leaving out
-- `path`; the place above them, or nil.
local function compact(folder, ms, path, most)
	local key, step = idx(folder), step_of(ms)
	local members = call('ZRANGEBYSCORE', key, ms, '(' .. exact(ms + 1))
	local place = ms
	if (#members - 1) * step >= most then
		return nil
	end
	for _, member in ipairs(members) do
		if member ~= path then
			call('ZADD', key, exact(place), member)
			place = place + step
		end
	end
	if place < ms + 1 then
		return place
	end
end

local function newest_place(folder, path)
	local top = top_of(folder)
	if not top or math.floor(top) < now then
		return now
	end
	local ms = math.floor(top)
	return after(top) or compact(folder, ms, path, 0.5) or ms + 1
end

local function highest_tie(folder, ms)
	return call('ZREVRANGEBYSCORE', idx(folder), '(' .. exact(ms + 1), exact(ms), 'WITHSCORES',
		'LIMIT', 0, 1)
end

local function scored_place(folder, path, ms)
	local found = highest_tie(folder, ms)
	if not found[1] then
		return ms
	end
	if found[1] == path then
		return tonumber(found[2])
	end
	return after(tonumber(found[2])) or compact(folder, ms, path, 1)
end

-- ------------------------------------------------------------------ phase one: read and decide

local written = {} -- path: {number of the change, its value or false}
local wiped = {} -- path: number of the change that removes it and everything below

-- What `path` holds when the changes so far are done; false for nothing.
local function value_of(path)
	local last, value = 0, nil
	local above = path
	if written[path] then
		last, value = written[path][1], written[path][2]
	end
	while true do
		if wiped[above] and wiped[above] > last then
			last, value = wiped[above], false
		end
		if above == '' then
			break
		end
		above = split(above)
	end
	if last == 0 then
		value = call('GET', doc(path))
	end
	return value
end

-- The keys that link and unlink may change above `folder` have their types.
local seen = {}

local function check_above(folder)
	if seen[folder] then
		return
	end
	seen[folder] = true
	call('HLEN', KEYS[1])
	call('ZCARD', dir(folder))
	while folder ~= '' do
		folder = split(folder)
		call('ZCARD', dir(folder))
		call('ZCARD', idx(folder))
	end
end

local plain = {} -- folder: how many paths get a place without asking for one
local asked = {} -- folder and ms: {members there now or by this list, set of paths}

-- Room for one more tie? Counts generously: nothing that leaves is subtracted.
local function check_room(folder, path, ms)
	local name = exact(ms) .. ' ' .. folder
	local room = asked[name]
	if not room then
		room = {count = call('ZCOUNT', idx(folder), exact(ms), '(' .. exact(ms + 1)), paths = {}}
		asked[name] = room
	end
	if not room.paths[path] then
		room.paths[path] = true
		local score = call('ZSCORE', idx(folder), path)
		if not score or math.floor(tonumber(score)) ~= ms then
			room.count = room.count + 1
		end
	end
	local count = room.count
	if ms >= now then
		count = count + (plain[folder] or 0)
	end
	local most = 1 / step_of(ms)
	if count > most then
		error({err = 'FULL more equal scores than Redis can order: ' .. exact(most)})
	end
end

local function check_set(change, number, single)
	if not top_of(change.parent) then
		check_above(change.parent)
	end
	if change.score then
		check_room(change.parent, change.path, change.score)
	elseif not single then
		plain[change.parent] = (plain[change.parent] or 0) + 1
	end
	if not single then
		written[change.path] = {number, change.value}
	end
end

local function check_unset(change, number)
	if change.path ~= '' then
		top_of(change.parent)
		check_above(change.parent)
	end
	wiped[change.path] = number
end

-- Read the changes; nil, or the number of the first whose expectation differs.
local function check(changes)
	local at, number = 4, 0
	while ARGV[at] do
		local kind, path = ARGV[at], ARGV[at + 1]
		local change = {path = path, value = ARGV[at + 2], parent = (split(path))}
		number = number + 1
		if kind == 's' then
			at = at + 3
		elseif kind == 'p' then
			change.score = tonumber(ARGV[at + 3])
			at = at + 4
		elseif kind == 'u' then
			change.value = nil
			at = at + 2
		else
			local flags = ARGV[at + 4]
			local expected = string.sub(flags, 1, 1) == 'e' and ARGV[at + 2]
			if value_of(path) ~= expected then
				return number
			end
			change.value = string.sub(flags, 2, 2) == 'v' and ARGV[at + 3] or nil
			at = at + 5
		end
		if change.value then
			check_set(change, number, number == 1 and not ARGV[at])
		else
			check_unset(change, number)
		end
		changes[number] = change
	end
end

-- ------------------------------------------------------------------ phase two: write

local function set(change)
	local folder, path = change.parent, change.path
	local top = top_of(folder)
	local place
	call('SET', doc(path), change.value)
	if change.score then
		place = scored_place(folder, path, change.score)
	else
		place = newest_place(folder, path)
	end
	call('ZADD', idx(folder), exact(place), path)
	if not top then
		call('HSETNX', KEYS[1], 'format', 1)
		link(folder)
	end
	if not change.score or not top or place > top then
		tops[folder] = place
	else
		tops[folder] = nil -- it may have been the newest itself
	end
end

-- The members of a sorted set; what has another type there is nobody's and counts as empty.
local function members_of(key, first, last)
	local found = redis.pcall('ZRANGE', key, first, last)
	return found.err and {} or found
end

local function unset(path)
	local keys, count = {doc(path)}, 1
	local folders = {path}

	local function drop(key)
		if count == CHUNK then
			call('UNLINK', unpack(keys))
			keys, count = {}, 0
		end
		count = count + 1
		keys[count] = key
	end

	while #folders > 0 do
		local folder = table.remove(folders)
		local base, first = base_of(folder), 0
		repeat
			local members = members_of(idx(folder), first, first + CHUNK - 1)
			for _, member in ipairs(members) do
				if string.sub(member, 1, #base) == base then
					drop(doc(member))
				end
			end
			first = first + CHUNK
		until #members < CHUNK
		for _, name in ipairs(members_of(dir(folder), 0, -1)) do
			folders[#folders + 1] = join(folder, name)
		end
		drop(idx(folder))
		drop(dir(folder))
	end
	if path == '' then
		drop(KEYS[1])
	end
	call('UNLINK', unpack(keys))
	if path ~= '' then
		local parent, name = split(path)
		call('ZREM', idx(parent), path)
		call('ZREM', dir(parent), name)
		unlink(parent)
	end
	tops = {}
end

local changes = {}
local differs = check(changes)
if differs then
	return differs
end
-- First, because a user without the right to publish must be refused before anything is written;
-- nobody receives it before the script has ended.
call('PUBLISH', prefix .. ':watch', notice)
for _, change in ipairs(changes) do
	if change.value then
		set(change)
	else
		unset(change.path)
	end
end
return false
