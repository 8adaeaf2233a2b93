#!lua flags=allow-oom
-- KEYS: a queue, the list aside. ARGV: messages at most, bytes after which no more are taken. Returns what is aside.
-- What is aside already is given again, so that an answer that went astray loses nothing. The ACL has no command that
-- only reads a list. What this writes, it has taken from elsewhere: it may do so when memory is full.
local size = 0
if redis.call('LLEN', KEYS[2]) == 0 then
  for _ = 1, tonumber(ARGV[1]) do
    local message = size < tonumber(ARGV[2]) and redis.call('RPOP', KEYS[1])
    if not message then break end
    redis.call('RPUSH', KEYS[2], message)
    size = size + #message
  end
end
local taken = {}
for _ = 1, redis.call('LLEN', KEYS[2]) do
  local message = redis.call('RPOP', KEYS[2])
  redis.call('LPUSH', KEYS[2], message)
  table.insert(taken, 1, message)
end
return taken
