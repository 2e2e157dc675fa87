#!/bin/bash
# limit: 180
# PostgreSQL: initdb, server, SQL, pgbench, crash recovery.
bin=$(echo /usr/lib/postgresql/*/bin); d=/tmp/pg
mkdir $d && chown postgres $d && cd /tmp
as() { setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/tmp LC_ALL=C.UTF-8 "$@"; }
as $bin/initdb -D $d/data -A trust --no-sync > $d.init 2>&1; echo "initdb $?"
as $bin/pg_ctl -D $d/data -o "-k /tmp -h 127.0.0.1 -p 5433 -c fsync=on -c shared_buffers=16MB" -l $d/log -w -t 60 start > /dev/null; echo "start $?"
q() { as psql -h /tmp -p 5433 -d postgres -qAt -c "$1"; }
q "create table t(id serial primary key, v text, n int)"; q "insert into t(v, n) select md5(i::text), i % 10 from generate_series(1, 5000) i"
q "select count(*), sum(n), max(v) from t"; q "create index on t(n)"; q "select n, count(*) from t group by n order by n limit 3"
q "begin; delete from t where n = 1; rollback"; q "select count(*) from t where n = 1"; as psql -h 127.0.0.1 -p 5433 -d postgres -qAt -c "select 'tcp'"
q "select 1/0" 2>&1 | head -1; q "copy (select generate_series(1, 3)) to stdout"; q "vacuum analyze t"; q "select pg_sleep(0.05) is not null"
as $bin/pgbench -h /tmp -p 5433 -i -s 1 -q postgres > /dev/null 2>&1; echo "init $?"
as $bin/pgbench -h /tmp -p 5433 -c 4 -j 2 -t 50 -n postgres 2> /dev/null | grep -E 'transactions actually|failed'
q "select sum(abalance) = (select sum(bbalance) from pgbench_branches) from pgbench_accounts"
as $bin/pg_ctl -D $d/data -m immediate stop > /dev/null; echo "crash $?"
as $bin/pg_ctl -D $d/data -o "-k /tmp -h 127.0.0.1 -p 5433" -l $d/log -w -t 60 start > /dev/null; echo "restart $?"; q "select count(*) from pgbench_history"; grep -c 'automatic recovery in progress' $d/log
as $bin/pg_ctl -D $d/data -m fast stop > /dev/null; echo "stop $?"
