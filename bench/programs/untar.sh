#!/bin/bash
# untar of 3,000 files
row() { awk "BEGIN { print \"row\", ($2 - $1) / 1e9, \"s\", \"$3\" }"; }
now() { date +%s%N; }
mkdir -p /work/b && cd /work/b && rm -rf *
mkdir s; for i in $(seq 3000); do echo "file $i" > s/f$i; done; tar cf s.tar s; rm -rf s
t0=$(now); tar xf s.tar; row $t0 $(now)
