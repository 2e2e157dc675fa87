#!/bin/bash
# limit: 30
# busybox's own shell and applets.
mkdir -p /tmp/bb && cd /tmp/bb
busybox --list > list
busybox sh <<'END'
set -e
for a in echo cat ls cp mv rm mkdir grep sed awk sort uniq wc head tail tr cut find xargs tar gzip md5sum seq expr test printf date vi; do busybox grep -qx $a list && echo "has $a"; done
busybox seq 1 20 | busybox awk '{ s += $1 } END { print s }'
busybox mkdir -p a/b; echo x > a/b/f; busybox tar c a | busybox gzip | busybox gunzip | busybox tar t
busybox find a -type f -exec busybox cat {} \;
busybox ls -l a/b | busybox awk '{ print $1, $5 }'; busybox stat -c %a a; busybox df . > /dev/null && echo df; busybox free > /dev/null && echo free
busybox ps > /dev/null && echo ps; busybox uname; busybox id -u; busybox hostname; busybox mount > /dev/null && echo mount; busybox dd if=/dev/zero bs=1k count=3 2>/dev/null | busybox wc -c
busybox sh -c 'trap "echo bye" EXIT; (sleep 0.1; echo bg) & wait'; busybox timeout 1 busybox sleep 0.1; echo $?
busybox nc -l -p 7777 > got & busybox sleep 0.3; echo net | busybox nc -w 3 127.0.0.1 7777; wait; cat got
END
