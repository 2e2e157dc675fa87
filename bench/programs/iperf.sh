#!/bin/bash
# iperf3 over loopback, Gbit per second
row() { awk "BEGIN { print \"row\", ($2 - $1) / 1e9, \"s\", \"$3\" }"; }
now() { date +%s%N; }
mkdir -p /work/b && cd /work/b && rm -rf *
iperf3 -s -1 -D -I /work/b/pid > /dev/null 2>&1; sleep 0.5
echo "row $(iperf3 -c 127.0.0.1 -t 2 -J | awk '/"sum_received"/ { f = 1 } f && /bits_per_second/ { gsub(/[^0-9.e+]/, "", $2); print $2 / 1e9; exit }') Gbit/s Gbit/s"
