# runsc-rs: the commands of a day. `make build` leaves bin/runsc-rs; `make test` needs root (it makes containers).

target  := $(or $(CARGO_TARGET_DIR),target)/x86_64-unknown-linux-gnu
cache   := $(or $(RUNSC_RS_CACHE),/var/cache/runsc-rs)
export RUNSC_RS_CACHE := $(cache)

prefix  := $(or $(PREFIX),/usr/local)

.PHONY: install uninstall build fast run setup rootfs test units guest check shape bench clean

shim := containerd-shim-runsc-rs-v1

## build: the release binaries, static and stripped: bin/runsc-rs, and containerd's shim beside it
build:
	cargo build --release -p runsc-rs -p $(shim)
	@mkdir -p bin && for b in runsc-rs $(shim); do cp -f $(target)/release/$$b bin/.$$b.new && mv -f bin/.$$b.new bin/$$b; done
	@ls -l bin/runsc-rs bin/$(shim)

## fast: the same programs with debug assertions and a quick build, in bin/fast: what the tests run
fast:
	cargo build --profile fast -p runsc-rs -p $(shim)
	@mkdir -p bin/fast && for b in runsc-rs $(shim); do cp -f $(target)/fast/$$b bin/fast/.$$b.new && mv -f bin/fast/.$$b.new bin/fast/$$b; done

## install: the release binaries to $(prefix)/bin, and as a runtime into the configurations of Docker and containerd (root)
install: build
	install -D -m 0755 bin/runsc-rs $(DESTDIR)$(prefix)/bin/runsc-rs
	install -D -m 0755 bin/$(shim) $(DESTDIR)$(prefix)/bin/$(shim)
	$(if $(DESTDIR),,$(prefix)/bin/runsc-rs install)

## uninstall: takes both back
uninstall:
	-$(if $(DESTDIR),,$(prefix)/bin/runsc-rs uninstall)
	rm -f $(DESTDIR)$(prefix)/bin/runsc-rs $(DESTDIR)$(prefix)/bin/$(shim)

## run: build, then run a real container on this machine's own root (read-only, under an overlay in memory)
run: build
	scripts/run.sh bin/runsc-rs

## setup: apt-get what the tests need (idempotent; root; Debian 12)
setup:
	scripts/setup.sh

## rootfs: the Debian root filesystem of the tests, made once with debootstrap and kept in $(cache)
rootfs: setup
	scripts/rootfs.sh

## test: everything, unit tests and real sandboxes, on the platforms of RUNSC_RS_PLATFORMS (default: systrap,ptrace). Time limits are stretched, for the machine may be busy
test: rootfs fast units
	RUNSC_RS=$(CURDIR)/bin/fast/runsc-rs RUNSC_RS_TIME_SCALE=$(or $(RUNSC_RS_TIME_SCALE),3) cargo test -p tests --no-fail-fast

## units: the crates' own tests. What compares fs with the host runs in a process of its own: the umask is the process's, and the gofers of other tests clear it
units:
	cargo test --workspace --exclude tests --exclude fs
	RUST_TEST_THREADS=1 cargo test -p fs -- --skip vfs::tests::host
	cargo test -p fs --lib vfs::tests::host

## guest: only the guest programs, e.g. make guest ARGS=futex
guest: fast
	RUNSC_RS=$(CURDIR)/bin/fast/runsc-rs cargo test -p tests --test guest -- $(ARGS)

## check: formatting, lints, and the shape of the code
check: shape
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

## shape: share of unsafe crates, dependency arrows, forbidden locks, file sizes
shape:
	scripts/shape.sh

## bench: rows of DESIGN's tables, side by side: native, runc, runsc where present, ours; markdown on stdout
bench: build
	bench/run.sh

clean:
	cargo clean
	rm -rf bin
