-- open.lua - the namespace's format, and whether this user may do what changes need.
--
-- ARGV: prefix, "w" for an engine that will write. Answers the format; nil when there is no marker.
-- A right that is missing must be known before a change is half done, so every writing command of
-- the other scripts is tried here on a key that is gone when the script ends. UNLINK comes first:
-- Redis refuses for lack of memory only before the first write.
if ARGV[2] == 'w' then
	local probe = prefix .. ':keep:probe'
	call('UNLINK', probe)
	call('PUBLISH', prefix .. ':watch', '/') -- no path; watches pass over it
	call('SET', probe, '')
	call('UNLINK', probe)
	call('ZADD', probe, 0, 'a')
	call('ZREM', probe, 'a')
	call('HSETNX', probe, 'format', 1)
	call('UNLINK', probe)
end
return call('HGET', KEYS[1], 'format')
