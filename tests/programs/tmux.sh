#!/bin/bash
# limit: 60
# A tmux session with bash inside, resized.
export TERM=xterm TMUX_TMPDIR=/tmp
t() { tmux -L t -f /dev/null "$@"; }
until_seen() { for i in $(seq 1 100); do t capture-pane -p -t s | grep -q "$1" && return; sleep 0.05; done; echo "never saw $1"; t capture-pane -p -t s; exit 1; }
t new-session -d -s s -x 80 -y 24 'env PS1="$ " bash --norc --noprofile'
until_seen '^\$'
t send-keys -t s 'echo one two | tr a-z A-Z' Enter; until_seen 'ONE TWO'
t send-keys -t s 'stty size' Enter; until_seen '^24 80'
t resize-window -t s -x 100 -y 30; t send-keys -t s 'stty size; echo $COLUMNS' Enter; until_seen '^30 100'
t send-keys -t s 'trap "echo winch" WINCH' Enter; sleep 0.2; t resize-window -t s -x 90 -y 20; t send-keys -t s '' Enter; until_seen 'winch$'
t send-keys -t s 'sleep 100' Enter; sleep 0.3; t send-keys -t s C-z; until_seen 'Stopped'
t send-keys -t s 'bg' Enter 'kill %1; wait; echo gone' Enter; until_seen '^gone'
t send-keys -t s 'sleep 100' Enter; sleep 0.3; t send-keys -t s C-c; t send-keys -t s 'echo status $?' Enter; until_seen 'status 130'
t send-keys -t s 'cat' Enter; sleep 0.2; t send-keys -t s 'typed' Enter C-d; t send-keys -t s 'tty | cut -c1-8' Enter; until_seen '^/dev/pts'
t split-window -t s: 'sleep 30'; t list-panes -t s: | wc -l; t new-window -t s: 'sleep 30'; t list-windows -t s | wc -l
t kill-server; sleep 0.2; t ls 2>&1 | grep -c 'no server\|error connecting'; echo end
