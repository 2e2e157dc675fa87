#!/bin/bash
# limit: 90
# redis-server on a Unix socket and on loopback, with its own benchmark.
cd /tmp
redis-server --port 6399 --bind 127.0.0.1 --unixsocket /tmp/redis.sock --save '' --appendonly yes --dir /tmp --daemonize yes --pidfile /tmp/redis.pid --loglevel warning > /dev/null
for i in $(seq 1 100); do redis-cli -s /tmp/redis.sock ping 2> /dev/null | grep -q PONG && break; sleep 0.05; done
c() { redis-cli -s /tmp/redis.sock "$@"; }
c set k v; c get k; c incr n; c incr n; c lpush l a b c; c lrange l 0 -1; c hset h f1 1 f2 2; c hgetall h; c expire k 100; c exists k nope
redis-cli -p 6399 get k; redis-cli -h 127.0.0.1 -p 6399 -r 3 incr n
c eval 'return redis.call("get", KEYS[1]) .. ARGV[1]' 1 k x
for i in $(seq 1 300); do echo "set key$i val$i"; done | redis-cli -p 6399 --pipe 2>&1 | tail -1
c dbsize
redis-benchmark -s /tmp/redis.sock -q -n 3000 -c 20 -t set,get,lpush --csv | cut -d, -f1
redis-benchmark -p 6399 -q -n 3000 -c 20 -P 8 -t set,get --csv | cut -d, -f1
c bgsave > /dev/null; for i in $(seq 1 60); do c info persistence | grep -q 'rdb_bgsave_in_progress:0' && break; sleep 0.05; done
c info persistence | grep -o 'rdb_last_bgsave_status:ok'; [ -s dump.rdb ] && echo dumped
(redis-cli -p 6399 subscribe ch > sub & echo $! > sub.pid); sleep 0.2; c publish ch message; sleep 0.1; grep -c message sub
c shutdown nosave 2> /dev/null; for i in $(seq 1 100); do [ -e /tmp/redis.pid ] || break; sleep 0.05; done; [ -e /tmp/redis.pid ] || echo stopped
kill "$(cat sub.pid)" 2> /dev/null; echo end
