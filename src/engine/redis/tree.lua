-- tree.lua - the keys and the tree; stands at the head of every other script here.
--
-- ARGV[1] is the prefix, KEYS[1] the marker <prefix>:keep (it tells a cluster where to run). All
-- other keys are derived; they share the prefix, so in a cluster its {hash tag}.
--
--   <prefix>:doc:<path>    string      a value
--   <prefix>:idx:<folder>  sorted set  full paths of the direct children with a value, by place
--   <prefix>:dir:<folder>  sorted set  names of the children that have something below (score 0)
--   <prefix>:keep          hash        format: 1; absent: nothing here, or not adopted yet
--
-- Invariants, before and after every script:
--   1. <path> is a member of idx:<its parent> exactly when doc:<path> exists (until a document
--      vanishes by itself: eviction, expiry, DEL by others).
--   2. <name> is a member of dir:<folder> exactly when idx:<folder>/<name> or dir:<folder>/<name>
--      exists.
local prefix = ARGV[1]
local call = redis.call

local CHUNK = 5000 -- arguments of one command: Lua's stack holds 8,000

local function doc(path)
	return prefix .. ':doc:' .. path
end

local function idx(folder)
	return prefix .. ':idx:' .. folder
end

local function dir(folder)
	return prefix .. ':dir:' .. folder
end

-- "a/b/c" gives "a/b", "c"; "a" gives "", "a".
local function split(path)
	local parent, name = string.match(path, '^(.*)/([^/]*)$')
	if parent then
		return parent, name
	end
	return '', path
end

local function join(folder, name)
	if folder == '' then
		return name
	end
	return folder .. '/' .. name
end

-- What every path below `folder` begins with.
local function base_of(folder)
	if folder == '' then
		return ''
	end
	return folder .. '/'
end

-- `folder` has content: make every folder above it say so. The first that says so already ends the
-- walk, by invariant 2.
local function link(folder)
	while folder ~= '' do
		local parent, name = split(folder)
		if call('ZADD', dir(parent), 0, name) == 0 then
			return
		end
		folder = parent
	end
end

-- `folder` may have become empty: take it, and what it leaves empty, out of the folders above.
local function unlink(folder)
	while folder ~= '' and call('EXISTS', idx(folder), dir(folder)) == 0 do
		local parent, name = split(folder)
		call('ZREM', dir(parent), name)
		folder = parent
	end
end

