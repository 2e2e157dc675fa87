#!/bin/bash
# git add, commit and gc of 1,000 files
row() { awk "BEGIN { print \"row\", ($2 - $1) / 1e9, \"s\", \"$3\" }"; }
now() { date +%s%N; }
mkdir -p /work/b && cd /work/b && rm -rf *
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q . ; for i in $(seq 1000); do echo "content $i" > f$i; done
t0=$(now); git add . && git commit -q -m one && git gc -q; row $t0 $(now)
