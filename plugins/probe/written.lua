#!lua flags=allow-oom
-- KEYS: the list aside. ARGV: the last message of the batch that is written, which may go.
-- Only the batch that ends with this message: a run that was killed may say so when another has taken the next one.
local last = redis.call('RPOP', KEYS[1])
if last == ARGV[1] then redis.call('DEL', KEYS[1]) elseif last then redis.call('RPUSH', KEYS[1], last) end
return 1
