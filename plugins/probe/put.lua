#!lua
-- KEYS: how many messages of a dump are back; the lists of the queue's priorities. ARGV: how many are back before and
-- after this, then for each message the number of its list and its text.
if (redis.call('GET', KEYS[1]) or '0') == ARGV[1] then
  for index = 3, #ARGV, 2 do redis.call('LPUSH', KEYS[2 + tonumber(ARGV[index])], ARGV[index + 1]) end
  redis.call('SET', KEYS[1], ARGV[2])
end
return 1
