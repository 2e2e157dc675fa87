#!/bin/bash
# node writing 3,000 files
row() { awk "BEGIN { print \"row\", ($2 - $1) / 1e9, \"s\", \"$3\" }"; }
now() { date +%s%N; }
mkdir -p /work/b && cd /work/b && rm -rf *
t0=$(now); node -e 'const fs = require("fs"); for (let i = 0; i < 3000; i++) fs.writeFileSync("n" + i, "data " + i)'; row $t0 $(now)
