#!/bin/bash
# limit: 90
# A long walk through the shell: pipes, traps, here-documents, job control, subshells, expansions, redirections.
export LC_ALL=C
tmp=$(mktemp -d)
cd "$tmp" || exit 1
section() { echo "== $*"; }

section arithmetic
echo $((1 + 2 * 3)) $((7 / 2)) $((7 % 3)) $((1 << 10)) $((0x1f)) $((010)) $((5 > 3 ? 1 : 2))
i=0
while [ $i -lt 10 ]; do i=$((i + 1)); printf '%d ' $i; done
echo
for ((j = 0; j < 5; j++)); do printf '%d ' $((j * j)); done
echo
let 'k = 3 ** 4'
echo $k

section strings
s="hello, world"
echo "${#s} ${s:7} ${s:0:5} ${s/world/there} ${s//o/0} ${s^^} ${s%,*} ${s#*, }"
unset u
echo "${u:-default} ${u-unset} ${s:+set}"
echo ${u:=assigned} $u
printf '%-10s|%5d|%05.2f|%x|%c\n' left 42 3.14159 255 z
printf '%s\n' a b c | sort -r | tr '\n' ' '
echo
path=/usr/local/lib/file.tar.gz
echo "${path##*/} ${path%/*} ${path%%.*} ${path##*.}"

section quoting
echo 'single $HOME' "double \$HOME" $'ansi\tc'
echo "a  b" a  b
set -- "one two" three
echo $# "$1"
for a in "$@"; do echo "[$a]"; done
for a in $*; do echo "[$a]"; done

section here-documents
cat <<END
expanded: $((2 + 2)) $s
END
cat <<'END'
literal: $((2 + 2)) $s
END
cat <<-END
	tabs stripped
	END
tr a-z A-Z <<< "here string"
cat <<A; cat <<B
first
A
second
B

section pipes
seq 1 1000 | grep 7 | wc -l
seq 1 100 | awk '{ s += $1 } END { print s }'
echo "c b a" | tr ' ' '\n' | sort | paste -sd,
yes | head -5 | uniq -c | sed 's/^ *//'
false | true; echo "status ${PIPESTATUS[*]}"
set -o pipefail
false | true; echo $?
set +o pipefail
{ echo out; echo err >&2; } 2>&1 | sort
seq 1 20000 | sort -n | tail -1
head -c 1000000 /dev/zero | wc -c
cat /dev/null | wc -l
(exit 3) | (exit 4) | (exit 5); echo "${PIPESTATUS[@]}"

section redirections
echo one > f; echo two >> f; cat f
exec 3> g; echo three >&3; echo four >&3; exec 3>&-; cat g
exec 4< g; read -u 4 line; echo "$line"; exec 4<&-
ls /nonexistent 2> err; echo $?; [ -s err ] && echo "error kept"
{ echo a; echo b; } > h; wc -l < h
cat < f > copy; cmp f copy && echo same
echo noclobber > nc; set -C; echo again 2>/dev/null > nc || echo refused; set +C; echo force >| nc; cat nc
exec 5<>rw; echo data >&5; exec 5>&-; cat rw
: > empty; [ -s empty ] || echo empty
command 2>&- true; echo closed $?
diff <(seq 1 5) <(seq 1 2 5) | head -3
tee t1 t2 <<< tee > /dev/null; cat t1 t2

section tests
[ -d . ] && echo dir; [ -f f ] && echo file; [ -e nope ] || echo none
ln -s f sl; [ -L sl ] && echo link; [ -r f ] && [ -w f ] && echo rw
[ f -nt nope ] && echo newer; [ f -ef sl ] && echo same
[[ abc == a* ]] && echo glob; [[ abc =~ ^a(.)c$ ]] && echo "re ${BASH_REMATCH[1]}"
[ 5 -gt 3 ] && [ "a" != "b" ] && ! [ -z x ] && echo ok
test -p /dev/stdin; case $? in 0 | 1) echo answered ;; esac
mkfifo ff; [ -p ff ] && echo fifo; [ -c /dev/null ] && echo char
[ -x /bin/sh ] && echo exec; chmod 000 empty; stat -c %a empty

section functions
fact() { local n=$1; if [ $n -le 1 ]; then echo 1; else echo $((n * $(fact $((n - 1))))); fi; }
fact 10
ret() { return $1; }
ret 7; echo $?
scope() { local v=inner; inner; }
inner() { echo "v=$v"; }
v=outer; inner; scope; inner
rec() { [ $1 -eq 0 ] && return; echo -n "$1 "; rec $(($1 - 1)); }
rec 10; echo
args() { echo "$# $*"; shift 2; echo "$# $*"; }
args a b c d

section arrays
arr=(zero one two three)
echo ${arr[2]} ${#arr[@]} ${arr[@]:1:2} ${!arr[@]}
arr+=(four); unset 'arr[1]'; echo "${arr[@]}" "${!arr[@]}"
declare -A map=([a]=1 [b]=2); map[c]=3
for key in $(echo "${!map[@]}" | tr ' ' '\n' | sort); do echo "$key=${map[$key]}"; done
mapfile -t lines < f; echo "${#lines[@]} ${lines[1]}"
IFS=: read -r a b c <<< "x:y:z"; echo "$c $b $a"

section case
classify() { case $1 in [0-9]*) echo number ;; [a-z]*) echo word ;; -*) echo option ;; *) echo other ;; esac; }
classify 42; classify hello; classify -x; classify @
select_case() { case $1 in a) echo a ;;& ?) echo single ;;& *) echo any ;; esac; }
select_case a

section globbing
mkdir gl; touch gl/a.c gl/b.c gl/c.h gl/.hidden
echo gl/*.c; echo gl/[ab]*; echo gl/*.none; echo gl/{a,c}.?
shopt -s nullglob dotglob; echo gl/*.none end; echo gl/*; shopt -u nullglob dotglob
echo {1..5} {a..e} {01..03} x{1,2}y

section subshells
v=1; (v=2; echo in $v); echo out $v
(cd /; pwd); pwd | grep -q "$tmp" && echo "still here"
x=$(echo a; echo b); echo "$x"; echo $x
echo $(echo $(echo nested))
y=`echo backtick`; echo $y
( exit 42 ); echo $?
out=$(exit 3); echo $?
for n in 1 2 3; do (exit $n); echo -n "$? "; done; echo
echo "$BASH_SUBSHELL $( (echo $BASH_SUBSHELL) )"

section traps
(trap 'echo exit trap' EXIT; echo body)
(trap 'echo got usr1' USR1; kill -USR1 $BASHPID; echo after)
(trap '' TERM; kill -TERM $BASHPID; echo survived)
bash -c 'trap "echo term; exit 9" TERM; kill -TERM $$; sleep 1'; echo $?
bash -c 'kill -TERM $$; sleep 1'; echo $?
bash -c 'kill -SEGV $$' 2> /dev/null; echo $?
(trap 'echo err trap' ERR; false; true)
(trap 'echo int' INT; kill -INT $BASHPID; echo next)
(trap 'echo debug >> dbg' DEBUG; :; :); wc -l < dbg
(set -e; echo before; false; echo never) ; echo "set -e $?"
sleep 5 & p=$!; kill $p; wait $p 2> /dev/null; echo "waited $?"

section background
sleep 0.05 & wait; echo $?
(exit 5) & wait $!; echo $?
for n in 1 2 3; do (sleep 0.0$n; echo job $n >> jobs.out) & done; wait; sort jobs.out
(echo bg > bgfile) & wait; cat bgfile
{ sleep 0.1; exit 6; } & a=$!; { exit 7; } & b=$!
wait $b; echo $?; wait $a; echo $?
coproc { read l; echo "co: $l"; }
echo hi >&${COPROC[1]}; read reply <&${COPROC[0]}; echo "$reply"; wait

section job-control
cat > jc <<'JC'
set -m
sleep 10 & jobs -r | wc -l
kill -STOP %1; sleep 0.1; jobs -s | sed 's/ \+/ /g' | cut -d' ' -f2
kill -CONT %1; sleep 0.1; jobs -r | wc -l
kill %1; wait %1 2> /dev/null; echo $?
(sleep 0.05; exit 3) & fg %% > /dev/null 2>&1; echo "fg $?"
JC
bash jc

section fifos
mkfifo pipe1 pipe2
(while read l; do echo "got $l"; done < pipe1 > pipe2) &
cat pipe2 > received &
{ echo x; echo y; echo z; } > pipe1; wait; cat received

section files
mkdir -p d/e/f; echo deep > d/e/f/g; find d | sort
cp -r d d2; mv d2/e/f/g d2/e/h; find d2 -type f; rm -rf d2; ls -d d2 2> /dev/null || echo gone
seq 1 100 > nums; split -l 30 nums part.; ls part.* | tr '\n' ' '; echo; cat part.* | cmp - nums && echo joined
ln nums hard; stat -c '%h' nums; rm nums; wc -l < hard
touch -d '2020-01-02 03:04:05 UTC' old; stat -c %Y old; find . -name old -mtime +100
chmod 640 old; stat -c '%a %A' old; umask 077; touch priv; stat -c %a priv; umask 022
truncate -s 1M sparse; stat -c %s sparse; dd if=/dev/zero of=sparse bs=1k count=4 conv=notrunc 2> /dev/null; stat -c %s sparse
readlink sl; readlink -f sl | sed "s,$tmp,TMP,"; basename /a/b.c .c; dirname /a/b
tar cf t.tar d gl; tar tf t.tar | sort; mkdir x; tar xf t.tar -C x; diff -r d x/d && echo identical
echo "payload $(seq 1 50)" | gzip -9 | gunzip | md5sum; echo data | xz | xz -d; echo data | bzip2 | bunzip2
md5sum hard | cut -c1-32; sha256sum < hard | cut -c1-16; cksum hard | cut -d' ' -f2

section text
printf 'b 2\na 1\nc 3\n' > tbl; sort tbl; sort -k2 -rn tbl; cut -d' ' -f2 tbl | paste -s
awk '{ c[$1] += $2 } END { for (k in c) print k, c[k] }' tbl | sort; awk -v OFS=- '{ print $2, $1 }' tbl
sed -n '2p; s/a/A/p' tbl; sed 's/\([a-z]\) \([0-9]\)/\2\1/' tbl; sed -e '/b/d' -e '$a end' tbl
grep -c '[0-9]' tbl; grep -v a tbl; grep -n c tbl; grep -o '[0-9]' tbl | tr -d '\n'; echo; fgrep -x 'a 1' tbl
join <(sort tbl) <(printf 'a x\nc z\n'); comm -12 <(seq 1 5) <(seq 3 8) | tr '\n' ' '; echo
nl tbl | sed 's/^ *//'; tac tbl; rev tbl; fold -w 3 tbl | head -3; expand <<< $'a\tb'; od -c tbl | head -2
head -c 3 tbl; echo; tail -n +2 tbl; uniq -d <<< $'a\na\nb'; wc tbl | tr -s ' '; xargs -n 1 echo < tbl | head -2
seq 5 | xargs -P 2 -I{} sh -c 'echo {}' | sort; find gl -name '*.c' -exec basename {} \; | sort; env -i A=1 sh -c 'echo $A$B'
echo $((RANDOM >= 0)) ; expr 3 + 4; expr abc : 'a\(.*\)'; bc <<< '2^64'; date -u -d @0 +%F; numfmt --to=iec 1048576

section processes
sh -c 'echo $PPID' | grep -q "^[0-9]" && echo ppid; echo $$ | grep -q . && echo pid
( sleep 0.2 & echo $! ) | grep -q . && echo orphan
timeout 0.1 sleep 5; echo $?; timeout -s KILL 0.1 sleep 5; echo $?
nice -n 5 sh -c nice; ulimit -n 50; ulimit -n; sh -c 'ulimit -n'
[ "$(cat /proc/self/comm)" = cat ] && echo comm; tr '\0' ' ' < /proc/self/cmdline; echo
exec 9>&1; sh -c 'echo inherited >&9'; exec 9>&-
n=0; for i in $(seq 1 100); do n=$((n + $(echo 1))); done; echo $n
for i in $(seq 1 50); do /bin/true || echo bad; done; echo forks
time_taken=$( { time sleep 0.05; } 2>&1 | grep -c real); echo $time_taken
sh -c 'sleep 0.05; exit 11' & wait $!; echo $?; kill -0 $$ && echo alive; kill -l 9; kill -l 15
bash -c 'exec sh -c "exit 12"'; echo $?; nonexistent_command_xyz 2> /dev/null; echo $?; ./f 2> /dev/null; echo $?
setsid sh -c 'ps -o sid= -p $$ | tr -d " " | grep -qx $$ && echo session'

section tables
check() { local got; got=$(eval "$1" 2>&1); [ "$got" = "$2" ] && echo "pass $1" || echo "fail $1: $got"; }
check 'echo $((1 * 1 % 97))' '1'
check 'echo $((2 * 2 % 97))' '4'
check 'echo $((3 * 3 % 97))' '9'
check 'echo $((4 * 4 % 97))' '16'
check 'echo $((5 * 5 % 97))' '25'
check 'echo $((6 * 6 % 97))' '36'
check 'echo $((7 * 7 % 97))' '49'
check 'echo $((8 * 8 % 97))' '64'
check 'echo $((9 * 9 % 97))' '81'
check 'echo $((10 * 10 % 97))' '3'
check 'echo $((11 * 11 % 97))' '24'
check 'echo $((12 * 12 % 97))' '47'
check 'echo $((13 * 13 % 97))' '72'
check 'echo $((14 * 14 % 97))' '2'
check 'echo $((15 * 15 % 97))' '31'
check 'echo $((16 * 16 % 97))' '62'
check 'echo $((17 * 17 % 97))' '95'
check 'echo $((18 * 18 % 97))' '33'
check 'echo $((19 * 19 % 97))' '70'
check 'echo $((20 * 20 % 97))' '12'
check 'echo $((21 * 21 % 97))' '53'
check 'echo $((22 * 22 % 97))' '96'
check 'echo $((23 * 23 % 97))' '44'
check 'echo $((24 * 24 % 97))' '91'
check 'echo $((25 * 25 % 97))' '43'
check 'echo $((26 * 26 % 97))' '94'
check 'echo $((27 * 27 % 97))' '50'
check 'echo $((28 * 28 % 97))' '8'
check 'echo $((29 * 29 % 97))' '65'
check 'echo $((30 * 30 % 97))' '27'
check 'echo $((31 * 31 % 97))' '88'
check 'echo $((32 * 32 % 97))' '54'
check 'echo $((33 * 33 % 97))' '22'
check 'echo $((34 * 34 % 97))' '89'
check 'echo $((35 * 35 % 97))' '61'
check 'echo $((36 * 36 % 97))' '35'
check 'echo $((37 * 37 % 97))' '11'
check 'echo $((38 * 38 % 97))' '86'
check 'echo $((39 * 39 % 97))' '66'
check 'echo $((40 * 40 % 97))' '48'
check 'echo alpha | tr a-z A-Z' 'ALPHA'
check 'printf %s alpha | wc -c | tr -d " "' '5'
check 'echo alpha | rev' 'ahpla'
check 'x=alpha; echo ${x:1:3}' 'lph'
check 'echo beta | tr a-z A-Z' 'BETA'
check 'printf %s beta | wc -c | tr -d " "' '4'
check 'echo beta | rev' 'ateb'
check 'x=beta; echo ${x:1:3}' 'eta'
check 'echo gamma | tr a-z A-Z' 'GAMMA'
check 'printf %s gamma | wc -c | tr -d " "' '5'
check 'echo gamma | rev' 'ammag'
check 'x=gamma; echo ${x:1:3}' 'amm'
check 'echo delta | tr a-z A-Z' 'DELTA'
check 'printf %s delta | wc -c | tr -d " "' '5'
check 'echo delta | rev' 'atled'
check 'x=delta; echo ${x:1:3}' 'elt'
check 'echo epsilon | tr a-z A-Z' 'EPSILON'
check 'printf %s epsilon | wc -c | tr -d " "' '7'
check 'echo epsilon | rev' 'nolispe'
check 'x=epsilon; echo ${x:1:3}' 'psi'
check 'echo zeta | tr a-z A-Z' 'ZETA'
check 'printf %s zeta | wc -c | tr -d " "' '4'
check 'echo zeta | rev' 'atez'
check 'x=zeta; echo ${x:1:3}' 'eta'
check 'echo eta | tr a-z A-Z' 'ETA'
check 'printf %s eta | wc -c | tr -d " "' '3'
check 'echo eta | rev' 'ate'
check 'x=eta; echo ${x:1:3}' 'ta'
check 'echo theta | tr a-z A-Z' 'THETA'
check 'printf %s theta | wc -c | tr -d " "' '5'
check 'echo theta | rev' 'ateht'
check 'x=theta; echo ${x:1:3}' 'het'
check 'echo iota | tr a-z A-Z' 'IOTA'
check 'printf %s iota | wc -c | tr -d " "' '4'
check 'echo iota | rev' 'atoi'
check 'x=iota; echo ${x:1:3}' 'ota'
check 'echo kappa | tr a-z A-Z' 'KAPPA'
check 'printf %s kappa | wc -c | tr -d " "' '5'
check 'echo kappa | rev' 'appak'
check 'x=kappa; echo ${x:1:3}' 'app'
check 'seq 1 10 | awk "{ s += \$1 } END { print s }"' '55'
check 'seq 1 20 | awk "{ s += \$1 } END { print s }"' '210'
check 'seq 1 30 | awk "{ s += \$1 } END { print s }"' '465'
check 'seq 1 40 | awk "{ s += \$1 } END { print s }"' '820'
check 'seq 1 50 | awk "{ s += \$1 } END { print s }"' '1275'
check 'seq 1 60 | awk "{ s += \$1 } END { print s }"' '1830'
check 'seq 1 70 | awk "{ s += \$1 } END { print s }"' '2485'
check 'seq 1 80 | awk "{ s += \$1 } END { print s }"' '3240'
check 'seq 1 90 | awk "{ s += \$1 } END { print s }"' '4095'
check 'seq 1 100 | awk "{ s += \$1 } END { print s }"' '5050'
check 'seq 1 110 | awk "{ s += \$1 } END { print s }"' '6105'
check 'seq 1 120 | awk "{ s += \$1 } END { print s }"' '7260'
check 'seq 1 130 | awk "{ s += \$1 } END { print s }"' '8515'
check 'seq 1 140 | awk "{ s += \$1 } END { print s }"' '9870'
check 'seq 1 150 | awk "{ s += \$1 } END { print s }"' '11325'
check 'seq 1 160 | awk "{ s += \$1 } END { print s }"' '12880'
check 'seq 1 170 | awk "{ s += \$1 } END { print s }"' '14535'
check 'seq 1 180 | awk "{ s += \$1 } END { print s }"' '16290'
check 'seq 1 190 | awk "{ s += \$1 } END { print s }"' '18145'
check 'seq 1 200 | awk "{ s += \$1 } END { print s }"' '20100'
check 'seq 1 210 | awk "{ s += \$1 } END { print s }"' '22155'
check 'seq 1 220 | awk "{ s += \$1 } END { print s }"' '24310'
check 'seq 1 230 | awk "{ s += \$1 } END { print s }"' '26565'
check 'seq 1 240 | awk "{ s += \$1 } END { print s }"' '28920'
check 'seq 1 250 | awk "{ s += \$1 } END { print s }"' '31375'
check 'seq 1 260 | awk "{ s += \$1 } END { print s }"' '33930'
check 'seq 1 270 | awk "{ s += \$1 } END { print s }"' '36585'
check 'seq 1 280 | awk "{ s += \$1 } END { print s }"' '39340'
check 'seq 1 290 | awk "{ s += \$1 } END { print s }"' '42195'
check 'seq 1 300 | awk "{ s += \$1 } END { print s }"' '45150'
check '(exit 0); echo $?' '0'
check '(exit 8); echo $?' '8'
check '(exit 16); echo $?' '16'
check '(exit 24); echo $?' '24'
check '(exit 32); echo $?' '32'
check '(exit 40); echo $?' '40'
check '(exit 48); echo $?' '48'
check '(exit 56); echo $?' '56'
check '(exit 64); echo $?' '64'
check '(exit 72); echo $?' '72'
check '(exit 80); echo $?' '80'
check '(exit 88); echo $?' '88'
check '(exit 96); echo $?' '96'
check '(exit 104); echo $?' '104'
check '(exit 112); echo $?' '112'
check '(exit 120); echo $?' '120'
check '(exit 128); echo $?' '128'
check '(exit 136); echo $?' '136'
check '(exit 144); echo $?' '144'
check '(exit 152); echo $?' '152'
check '(exit 160); echo $?' '160'
check '(exit 168); echo $?' '168'
check '(exit 176); echo $?' '176'
check '(exit 184); echo $?' '184'
check '(exit 192); echo $?' '192'
check '(exit 200); echo $?' '200'
check '(exit 208); echo $?' '208'
check '(exit 216); echo $?' '216'
check '(exit 224); echo $?' '224'
check '(exit 232); echo $?' '232'
check 'echo 1 > n1; cat n1 n1 | paste -sd+ | bc' '2'
check 'echo 2 > n2; cat n2 n2 | paste -sd+ | bc' '4'
check 'echo 3 > n3; cat n3 n3 | paste -sd+ | bc' '6'
check 'echo 4 > n4; cat n4 n4 | paste -sd+ | bc' '8'
check 'echo 5 > n5; cat n5 n5 | paste -sd+ | bc' '10'
check 'echo 6 > n6; cat n6 n6 | paste -sd+ | bc' '12'
check 'echo 7 > n7; cat n7 n7 | paste -sd+ | bc' '14'
check 'echo 8 > n8; cat n8 n8 | paste -sd+ | bc' '16'
check 'echo 9 > n9; cat n9 n9 | paste -sd+ | bc' '18'
check 'echo 10 > n10; cat n10 n10 | paste -sd+ | bc' '20'
check 'echo 11 > n11; cat n11 n11 | paste -sd+ | bc' '22'
check 'echo 12 > n12; cat n12 n12 | paste -sd+ | bc' '24'
check 'echo 13 > n13; cat n13 n13 | paste -sd+ | bc' '26'
check 'echo 14 > n14; cat n14 n14 | paste -sd+ | bc' '28'
check 'echo 15 > n15; cat n15 n15 | paste -sd+ | bc' '30'
check 'echo 16 > n16; cat n16 n16 | paste -sd+ | bc' '32'
check 'echo 17 > n17; cat n17 n17 | paste -sd+ | bc' '34'
check 'echo 18 > n18; cat n18 n18 | paste -sd+ | bc' '36'
check 'echo 19 > n19; cat n19 n19 | paste -sd+ | bc' '38'
check 'echo 20 > n20; cat n20 n20 | paste -sd+ | bc' '40'
check 'echo 21 > n21; cat n21 n21 | paste -sd+ | bc' '42'
check 'echo 22 > n22; cat n22 n22 | paste -sd+ | bc' '44'
check 'echo 23 > n23; cat n23 n23 | paste -sd+ | bc' '46'
check 'echo 24 > n24; cat n24 n24 | paste -sd+ | bc' '48'
check 'echo 25 > n25; cat n25 n25 | paste -sd+ | bc' '50'
check 'echo 26 > n26; cat n26 n26 | paste -sd+ | bc' '52'
check 'echo 27 > n27; cat n27 n27 | paste -sd+ | bc' '54'
check 'echo 28 > n28; cat n28 n28 | paste -sd+ | bc' '56'
check 'echo 29 > n29; cat n29 n29 | paste -sd+ | bc' '58'
check 'echo 30 > n30; cat n30 n30 | paste -sd+ | bc' '60'
check '{ seq 1 2 | while read l; do echo $l; done; } | tail -n 1' '2'
check '{ seq 1 3 | while read l; do echo $l; done; } | tail -n 1' '3'
check '{ seq 1 4 | while read l; do echo $l; done; } | tail -n 1' '4'
check '{ seq 1 5 | while read l; do echo $l; done; } | tail -n 1' '5'
check '{ seq 1 6 | while read l; do echo $l; done; } | tail -n 1' '6'
check '{ seq 1 7 | while read l; do echo $l; done; } | tail -n 1' '7'
check '{ seq 1 8 | while read l; do echo $l; done; } | tail -n 1' '8'
check '{ seq 1 9 | while read l; do echo $l; done; } | tail -n 1' '9'
check '{ seq 1 10 | while read l; do echo $l; done; } | tail -n 1' '10'
check '{ seq 1 11 | while read l; do echo $l; done; } | tail -n 1' '11'
check '{ seq 1 12 | while read l; do echo $l; done; } | tail -n 1' '12'
check '{ seq 1 13 | while read l; do echo $l; done; } | tail -n 1' '13'
check '{ seq 1 14 | while read l; do echo $l; done; } | tail -n 1' '14'
check '{ seq 1 15 | while read l; do echo $l; done; } | tail -n 1' '15'
check '{ seq 1 16 | while read l; do echo $l; done; } | tail -n 1' '16'
check '{ seq 1 17 | while read l; do echo $l; done; } | tail -n 1' '17'
check '{ seq 1 18 | while read l; do echo $l; done; } | tail -n 1' '18'
check '{ seq 1 19 | while read l; do echo $l; done; } | tail -n 1' '19'
check '{ seq 1 20 | while read l; do echo $l; done; } | tail -n 1' '20'
check '{ seq 1 21 | while read l; do echo $l; done; } | tail -n 1' '21'
check '{ seq 1 22 | while read l; do echo $l; done; } | tail -n 1' '22'
check '{ seq 1 23 | while read l; do echo $l; done; } | tail -n 1' '23'
check '{ seq 1 24 | while read l; do echo $l; done; } | tail -n 1' '24'
check '{ seq 1 25 | while read l; do echo $l; done; } | tail -n 1' '25'
check '{ seq 1 26 | while read l; do echo $l; done; } | tail -n 1' '26'
check '{ seq 1 27 | while read l; do echo $l; done; } | tail -n 1' '27'
check '{ seq 1 28 | while read l; do echo $l; done; } | tail -n 1' '28'
check '{ seq 1 29 | while read l; do echo $l; done; } | tail -n 1' '29'
check '{ seq 1 30 | while read l; do echo $l; done; } | tail -n 1' '30'
check '{ seq 1 31 | while read l; do echo $l; done; } | tail -n 1' '31'
check 'trap "echo t1" EXIT; (trap "echo in1" EXIT; exit 1); echo $?; trap - EXIT' $'in1\n1'
check 'trap "echo t2" EXIT; (trap "echo in2" EXIT; exit 2); echo $?; trap - EXIT' $'in2\n2'
check 'trap "echo t3" EXIT; (trap "echo in3" EXIT; exit 3); echo $?; trap - EXIT' $'in3\n3'
check 'trap "echo t4" EXIT; (trap "echo in4" EXIT; exit 4); echo $?; trap - EXIT' $'in4\n4'
check 'trap "echo t5" EXIT; (trap "echo in5" EXIT; exit 5); echo $?; trap - EXIT' $'in5\n5'
check 'trap "echo t6" EXIT; (trap "echo in6" EXIT; exit 6); echo $?; trap - EXIT' $'in6\n6'
check 'trap "echo t7" EXIT; (trap "echo in7" EXIT; exit 7); echo $?; trap - EXIT' $'in7\n7'
check 'trap "echo t8" EXIT; (trap "echo in8" EXIT; exit 8); echo $?; trap - EXIT' $'in8\n8'
check 'trap "echo t9" EXIT; (trap "echo in9" EXIT; exit 9); echo $?; trap - EXIT' $'in9\n9'
check 'trap "echo t10" EXIT; (trap "echo in10" EXIT; exit 10); echo $?; trap - EXIT' $'in10\n10'
check 'trap "echo t11" EXIT; (trap "echo in11" EXIT; exit 11); echo $?; trap - EXIT' $'in11\n11'
check 'trap "echo t12" EXIT; (trap "echo in12" EXIT; exit 12); echo $?; trap - EXIT' $'in12\n12'
check 'trap "echo t13" EXIT; (trap "echo in13" EXIT; exit 13); echo $?; trap - EXIT' $'in13\n13'
check 'trap "echo t14" EXIT; (trap "echo in14" EXIT; exit 14); echo $?; trap - EXIT' $'in14\n14'
check 'trap "echo t15" EXIT; (trap "echo in15" EXIT; exit 15); echo $?; trap - EXIT' $'in15\n15'
check 'trap "echo t16" EXIT; (trap "echo in16" EXIT; exit 16); echo $?; trap - EXIT' $'in16\n16'
check 'trap "echo t17" EXIT; (trap "echo in17" EXIT; exit 17); echo $?; trap - EXIT' $'in17\n17'
check 'trap "echo t18" EXIT; (trap "echo in18" EXIT; exit 18); echo $?; trap - EXIT' $'in18\n18'
check 'trap "echo t19" EXIT; (trap "echo in19" EXIT; exit 19); echo $?; trap - EXIT' $'in19\n19'
check 'trap "echo t20" EXIT; (trap "echo in20" EXIT; exit 20); echo $?; trap - EXIT' $'in20\n20'
check 'trap "echo t21" EXIT; (trap "echo in21" EXIT; exit 21); echo $?; trap - EXIT' $'in21\n21'
check 'trap "echo t22" EXIT; (trap "echo in22" EXIT; exit 22); echo $?; trap - EXIT' $'in22\n22'
check 'trap "echo t23" EXIT; (trap "echo in23" EXIT; exit 23); echo $?; trap - EXIT' $'in23\n23'
check 'trap "echo t24" EXIT; (trap "echo in24" EXIT; exit 24); echo $?; trap - EXIT' $'in24\n24'
check 'trap "echo t25" EXIT; (trap "echo in25" EXIT; exit 25); echo $?; trap - EXIT' $'in25\n25'
check 'trap "echo t26" EXIT; (trap "echo in26" EXIT; exit 26); echo $?; trap - EXIT' $'in26\n26'
check 'trap "echo t27" EXIT; (trap "echo in27" EXIT; exit 27); echo $?; trap - EXIT' $'in27\n27'
check 'trap "echo t28" EXIT; (trap "echo in28" EXIT; exit 28); echo $?; trap - EXIT' $'in28\n28'
check 'trap "echo t29" EXIT; (trap "echo in29" EXIT; exit 29); echo $?; trap - EXIT' $'in29\n29'
check 'trap "echo t30" EXIT; (trap "echo in30" EXIT; exit 30); echo $?; trap - EXIT' $'in30\n30'
check 'trap "echo t31" EXIT; (trap "echo in31" EXIT; exit 31); echo $?; trap - EXIT' $'in31\n31'
check 'trap "echo t32" EXIT; (trap "echo in32" EXIT; exit 32); echo $?; trap - EXIT' $'in32\n32'
check 'trap "echo t33" EXIT; (trap "echo in33" EXIT; exit 33); echo $?; trap - EXIT' $'in33\n33'
check 'trap "echo t34" EXIT; (trap "echo in34" EXIT; exit 34); echo $?; trap - EXIT' $'in34\n34'
check 'trap "echo t35" EXIT; (trap "echo in35" EXIT; exit 35); echo $?; trap - EXIT' $'in35\n35'
check 'trap "echo t36" EXIT; (trap "echo in36" EXIT; exit 36); echo $?; trap - EXIT' $'in36\n36'
check 'trap "echo t37" EXIT; (trap "echo in37" EXIT; exit 37); echo $?; trap - EXIT' $'in37\n37'
check 'trap "echo t38" EXIT; (trap "echo in38" EXIT; exit 38); echo $?; trap - EXIT' $'in38\n38'
check 'trap "echo t39" EXIT; (trap "echo in39" EXIT; exit 39); echo $?; trap - EXIT' $'in39\n39'
check 'trap "echo t40" EXIT; (trap "echo in40" EXIT; exit 40); echo $?; trap - EXIT' $'in40\n40'
check 'trap "echo t41" EXIT; (trap "echo in41" EXIT; exit 41); echo $?; trap - EXIT' $'in41\n41'
check 'trap "echo t42" EXIT; (trap "echo in42" EXIT; exit 42); echo $?; trap - EXIT' $'in42\n42'
check 'trap "echo t43" EXIT; (trap "echo in43" EXIT; exit 43); echo $?; trap - EXIT' $'in43\n43'
check 'trap "echo t44" EXIT; (trap "echo in44" EXIT; exit 44); echo $?; trap - EXIT' $'in44\n44'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 1); do echo $n; done > $f; wc -l < $f; rm $f' '1'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 2); do echo $n; done > $f; wc -l < $f; rm $f' '2'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 3); do echo $n; done > $f; wc -l < $f; rm $f' '3'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 4); do echo $n; done > $f; wc -l < $f; rm $f' '4'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 5); do echo $n; done > $f; wc -l < $f; rm $f' '5'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 6); do echo $n; done > $f; wc -l < $f; rm $f' '6'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 7); do echo $n; done > $f; wc -l < $f; rm $f' '7'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 8); do echo $n; done > $f; wc -l < $f; rm $f' '8'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 9); do echo $n; done > $f; wc -l < $f; rm $f' '9'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 10); do echo $n; done > $f; wc -l < $f; rm $f' '10'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 11); do echo $n; done > $f; wc -l < $f; rm $f' '11'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 12); do echo $n; done > $f; wc -l < $f; rm $f' '12'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 13); do echo $n; done > $f; wc -l < $f; rm $f' '13'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 14); do echo $n; done > $f; wc -l < $f; rm $f' '14'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 15); do echo $n; done > $f; wc -l < $f; rm $f' '15'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 16); do echo $n; done > $f; wc -l < $f; rm $f' '16'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 17); do echo $n; done > $f; wc -l < $f; rm $f' '17'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 18); do echo $n; done > $f; wc -l < $f; rm $f' '18'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 19); do echo $n; done > $f; wc -l < $f; rm $f' '19'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 20); do echo $n; done > $f; wc -l < $f; rm $f' '20'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 21); do echo $n; done > $f; wc -l < $f; rm $f' '21'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 22); do echo $n; done > $f; wc -l < $f; rm $f' '22'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 23); do echo $n; done > $f; wc -l < $f; rm $f' '23'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 24); do echo $n; done > $f; wc -l < $f; rm $f' '24'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 25); do echo $n; done > $f; wc -l < $f; rm $f' '25'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 26); do echo $n; done > $f; wc -l < $f; rm $f' '26'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 27); do echo $n; done > $f; wc -l < $f; rm $f' '27'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 28); do echo $n; done > $f; wc -l < $f; rm $f' '28'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 29); do echo $n; done > $f; wc -l < $f; rm $f' '29'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 30); do echo $n; done > $f; wc -l < $f; rm $f' '30'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 31); do echo $n; done > $f; wc -l < $f; rm $f' '31'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 32); do echo $n; done > $f; wc -l < $f; rm $f' '32'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 33); do echo $n; done > $f; wc -l < $f; rm $f' '33'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 34); do echo $n; done > $f; wc -l < $f; rm $f' '34'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 35); do echo $n; done > $f; wc -l < $f; rm $f' '35'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 36); do echo $n; done > $f; wc -l < $f; rm $f' '36'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 37); do echo $n; done > $f; wc -l < $f; rm $f' '37'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 38); do echo $n; done > $f; wc -l < $f; rm $f' '38'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 39); do echo $n; done > $f; wc -l < $f; rm $f' '39'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 40); do echo $n; done > $f; wc -l < $f; rm $f' '40'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 41); do echo $n; done > $f; wc -l < $f; rm $f' '41'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 42); do echo $n; done > $f; wc -l < $f; rm $f' '42'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 43); do echo $n; done > $f; wc -l < $f; rm $f' '43'
check 'f=$(mktemp p.XXXXXX); for n in $(seq 44); do echo $n; done > $f; wc -l < $f; rm $f' '44'

cd /; rm -rf "$tmp"; echo done
