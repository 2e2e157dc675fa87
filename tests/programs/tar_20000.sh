#!/bin/bash
# limit: 180
# tar and untar of 20,000 files.
set -e
mkdir -p /work/t && cd /work/t
perl -e 'for my $d (1..200) { mkdir "d$d"; for my $f (1..100) { open(my $h, ">", "d$d/f$f") or die; print $h "content $d $f\n" x ($f % 7 + 1); close $h } } symlink("d1/f1", "link"); link("d1/f2", "hard")'
find . -type f | wc -l
tar cf ../t.tar . && stat -c %s ../t.tar | awk '{ print ($1 > 10000000) }'
mkdir ../u && tar xf ../t.tar -C ../u
find ../u -type f | wc -l
diff -r . ../u && echo identical
stat -c %h ../u/hard; readlink ../u/link
tar czf ../t.tgz d1 d2 && tar tzf ../t.tgz | wc -l
find ../u -name 'f1*' | sort | md5sum
cat ../u/d*/f* | md5sum
rm -rf ../u && ls -d ../u 2> /dev/null || echo removed
du -s --apparent-size . | awk '{ print ($1 > 1000) }'
