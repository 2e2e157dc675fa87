#!/bin/bash
# limit: 240
# stress-ng: each of these a moment; only failures are shown.
cd /tmp
for s in cpu matrix branch cache vm mmap mremap brk malloc stack pipe fifo sock udp sockpair poll epoll eventfd futex switch yield fork vfork clone exec pthread sem sem-sysv msg mq shm shm-sysv signal sigq sigfd sigsegv sigsuspend timer timerfd itimer nanosleep wait kill rename link symlink dir dentry fallocate seek lockf flock inotify sendfile splice tee vm-splice getdent memfd madvise mincore mprotect utime affinity schedpolicy get set zero null urandom; do
    if stress-ng --$s 2 --$s-ops 50 --timeout 4s --quiet > log 2>&1; then echo "$s ok"; else echo "$s failed $?"; grep -v '^$' log | head -2; fi
done
