-- fast.lua - the head of apply.lua: the two changes that make up nearly all traffic, a set and an
-- unset of a document that has neighbours, in the plainest case. They would work without it; but
-- Lua makes every function below anew in each call, which takes as long as the change itself.
--
-- ARGV and the answer are apply.lua's, and so are its two rules: read first, then write.
local prefix, kind, path = ARGV[1], ARGV[4], ARGV[5]

if kind == 's' and not ARGV[7] then
	local key = prefix .. ':idx:' .. (string.match(path, '^(.*)/') or '')
	local top = tonumber(redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2] or nil)
	-- An empty folder has to be linked; a score out of range is apply.lua's to refuse.
	if top and top > -2 ^ 44 and top < 2 ^ 44 then
		local place, ms = tonumber(ARGV[2]), math.floor(top)
		if ms >= place then
			local _, exponent = math.frexp(ms)
			local step = math.ldexp(1, math.max(exponent - 53, -16))
			place = ms + (math.floor((top - ms) / step) + 1) * step
		end
		if place ~= ms + 1 or ms < tonumber(ARGV[2]) then
			redis.call('PUBLISH', prefix .. ':watch', ARGV[3])
			redis.call('SET', prefix .. ':doc:' .. path, ARGV[6])
			redis.call('ZADD', key, string.format('%.17g', place), path)
			return false
		end
	end
elseif kind == 'u' and not ARGV[6] and path ~= '' then
	local key = prefix .. ':idx:' .. (string.match(path, '^(.*)/') or '')
	-- Nothing below, and the folder keeps another document: no folder has to be unlinked.
	if redis.call('EXISTS', prefix .. ':idx:' .. path, prefix .. ':dir:' .. path) == 0
		and redis.call('ZCARD', key) > 1 then
		redis.call('PUBLISH', prefix .. ':watch', ARGV[3])
		redis.call('UNLINK', prefix .. ':doc:' .. path)
		redis.call('ZREM', key, path)
		return false
	end
end

