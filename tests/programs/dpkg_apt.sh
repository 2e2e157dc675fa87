#!/bin/bash
# limit: 120
# dpkg -i of a package made here; apt-get install of one and its dependency from a local directory.
export DEBIAN_FRONTEND=noninteractive
mkdir -p /work/repo && cd /work
make_deb() { # name version depends
    mkdir -p p/DEBIAN p/usr/share/$1 p/usr/bin
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: test\n%s' $1 $2 "${3:+Depends: $3
}" > p/DEBIAN/control
    printf '#!/bin/sh\necho "configured %s $1"\n' $1 > p/DEBIAN/postinst; chmod 755 p/DEBIAN/postinst
    printf '#!/bin/sh\necho %s %s\n' $1 $2 > p/usr/bin/$1; chmod 755 p/usr/bin/$1; echo data > p/usr/share/$1/data
    dpkg-deb --root-owner-group -b p repo/$1.deb > /dev/null; rm -rf p
}
make_deb one-pkg 1.0; make_deb lib-pkg 2.0; make_deb two-pkg 1.5 lib-pkg
dpkg -i repo/one-pkg.deb 2>&1 | grep -vE 'Reading|Selecting'; one-pkg; dpkg -s one-pkg | grep Status; dpkg -L one-pkg | sort | tail -2
make_deb one-pkg 1.1; dpkg -i repo/one-pkg.deb 2>&1 | grep -oE 'Unpacking .*|configured.*'; one-pkg
dpkg -i repo/two-pkg.deb 2>&1 | grep -c 'depends on lib-pkg'; dpkg --purge two-pkg > /dev/null 2>&1
cd repo && for d in *.deb; do dpkg-deb -f $d; echo "Filename: ./$d"; echo "Size: $(stat -c %s $d)"; echo "SHA256: $(sha256sum $d | cut -d' ' -f1)"; echo; done > Packages && cd ..
mkdir -p lists/partial && echo 'deb [trusted=yes] file:/work/repo ./' > s.list
o="-o Dir::Etc::SourceList=/work/s.list -o Dir::Etc::SourceParts=- -o Dir::State::Lists=/work/lists -o APT::Sandbox::User=root"
apt-get $o update > log 2>&1; echo "update $?"
apt-get $o install -y --no-install-recommends two-pkg > log 2>&1; echo "install $?"; grep -E '^configured|newly installed' log; two-pkg; lib-pkg
apt-cache $o policy two-pkg | grep Installed; apt-get $o remove -y two-pkg > log 2>&1; echo "remove $?"; command -v two-pkg || echo gone
apt-get $o install -y none-such > log 2>&1; echo "missing $?"; dpkg --audit; echo "audit $?"
