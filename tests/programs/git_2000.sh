#!/bin/bash
# limit: 120
# git over 2,000 files: init, add, commit, branch, merge, gc, clone, fsck.
set -e
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
cd /work && git init -q -b main repo && cd repo
for d in $(seq 1 20); do mkdir d$d; for f in $(seq 1 100); do echo "file $d $f" > d$d/f$f; done; done
git add . && git commit -q -m one
git rev-parse HEAD
git ls-files | wc -l
git checkout -q -b side
for f in $(seq 1 50); do echo changed >> d1/f$f; done
git commit -q -am two
git checkout -q main && git mv d2 moved && git rm -q -r d3 && git commit -q -m three
git merge -q -m merge side
git rev-parse HEAD
git log --oneline | wc -l
git status --porcelain | wc -l
git diff --stat HEAD~1 | tail -1
git gc -q && git count-objects -v | grep -E '^(count|packs|in-pack)'
git fsck --full 2>&1 | tail -2
cd .. && git clone -q repo copy && cd copy && git ls-files | wc -l && git rev-parse HEAD
git stash list | wc -l; echo x > d1/f1; git stash -q; git status --porcelain | wc -l; git stash pop -q; git diff --name-only
diff -r --exclude=.git ../repo . | head -3
git archive HEAD | tar t | wc -l
