#!lua flags=allow-oom
-- KEYS: the mark of a purge. ARGV: a mark; 'force' to set it even where there is one. Returns the mark that is there.
-- A purge is wanted most when memory is full: what this writes, it has taken from elsewhere.
local mark = redis.call('GET', KEYS[1])
if mark and ARGV[2] == '' then return mark end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
