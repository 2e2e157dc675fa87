#!/bin/bash
# redis SET, pipelining off, over a Unix socket and over loopback, per second
row() { awk "BEGIN { print \"row\", ($2 - $1) / 1e9, \"s\", \"$3\" }"; }
now() { date +%s%N; }
mkdir -p /work/b && cd /work/b && rm -rf *
redis-server --port 6390 --bind 127.0.0.1 --unixsocket /work/b/s --save '' --daemonize yes --pidfile /work/b/pid > /dev/null
for i in $(seq 100); do redis-cli -s s ping > /dev/null 2>&1 && break; sleep 0.05; done
r() { redis-benchmark "$@" -n 20000 -c 20 -t set --csv | awk -F, '/"SET"/ { gsub(/"/, "", $2); print $2 }'; }
echo "row $(r -s /work/b/s) per-s unix_per_s"; echo "row $(r -p 6390) per-s tcp_per_s"
redis-cli -s s shutdown nosave
