# The commands of this project; every one works from a clean clone with a Swift 6.3 toolchain.
#
#   make run      install what is missing, build, serve the demo on :8080
#   make test     install what the tests need, build, run all of them
#   make bench    weir beside nginx and HAProxy on the same load (QUICK=1: one scenario, 20 s)
#   make scenarios  what clients see when backends fail (ONLY=kill,hole; WRITE=1: into the docs)
#   make soak     the slow variants: 10 GiB bodies, a minute of purges
#   make simulate  the workers under a clock and faults of a seed's (SEEDS=10000, TRACE=SEED)
#   make planted  plants faults in a copy of the sources: the simulation must find each
#   make rules    switches off in a copy each rule of HTTP/2 and of caching: its tests must fail
#   make tsan     the integration tests against a build with the thread sanitizer
#   make asan     the same with the address and leak sanitizer
#   make lint     formatting
#   make install  binary, units, example configuration, manual and system user (DESTDIR=, PREFIX=)
#   make deb      the same as a package of Debian, into .build/package
#   make deb-check  that package in a fresh Debian under a real systemd (root, debootstrap, minutes)
#   make tarball  the same as an archive

SHELL := /bin/bash
SWIFT ?= swift
PREFIX ?= /usr
DESTDIR ?=
PORT ?= 8080
CC ?= cc
BENCH_BUILD := .build/bench
VERSION := $(shell sed -n 's/.*text = "\(.*\)"/\1/p' Sources/Daemon/Version.swift)
MACHINE := $(shell uname -m)
PACKAGE := $(CURDIR)/.build/package/weir-$(VERSION)
STAGE := $(CURDIR)/.build/package/stage
UNITS := $(PREFIX)/lib/systemd/system

# What an unpacked toolchain itself needs of Debian, what the build links against, and what only the
# tests and the benchmarks start.
SWIFT_PACKAGES := git ca-certificates g++ libc6-dev libcurl4 libxml2 libsqlite3-0 libncurses6
BUILD_PACKAGES := $(SWIFT_PACKAGES) pkg-config libssl-dev libnghttp2-dev libpcre2-dev libxxhash-dev \
  libc-ares-dev
TEST_PACKAGES := curl openssl strace valgrind libc6-dbg binutils procps nghttp2-client \
  python3 python3-grpcio python3-httpx python3-h2
DEB_PACKAGES := dpkg-dev debhelper lintian
BENCH_PACKAGES := gcc libc6-dev python3 util-linux nginx-light haproxy varnish varnish-modules \
  nghttp2-proxy nghttp2-server h2o $(TEST_PACKAGES)

RELEASE := $(SWIFT) build -c release --static-swift-stdlib --product weir

.PHONY: help run build release debug test scenarios soak simulate planted rules tsan asan bench \
	bench-tools lint format install stage tarball deb deb-check clean \
	build-packages test-packages bench-packages deb-packages
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   //p' Makefile

# install-missing: $(1) packages. Nothing is downloaded when all of them are there; a provider
# of the same commands (nginx-light or nginx) counts as there.
define install-missing
	@missing=(); for package in $(1); do \
	  dpkg-query -W -f='$${Status}\n' "$$package" 2>/dev/null | grep -q '^install ok installed' \
	    || { [ "$$package" = nginx-light ] && command -v nginx >/dev/null; } \
	    || missing+=("$$package"); \
	done; \
	if [ $${#missing[@]} -gt 0 ]; then \
	  if [ "$$(id -u)" -ne 0 ]; then \
	    echo "error: missing Debian packages: $${missing[*]}" >&2; \
	    echo "error: install them as root: apt-get install -y $${missing[*]}" >&2; exit 1; \
	  fi; \
	  echo "installing $${missing[*]}"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends "$${missing[@]}" \
	    >/dev/null; \
	fi
endef

build-packages:
	$(call install-missing,$(BUILD_PACKAGES))

test-packages:
	$(call install-missing,$(BUILD_PACKAGES) $(TEST_PACKAGES))

bench-packages:
	$(call install-missing,$(BUILD_PACKAGES) $(BENCH_PACKAGES))

deb-packages:
	$(call install-missing,$(DEB_PACKAGES))

build release: build-packages
	$(RELEASE)

debug: build-packages
	$(SWIFT) build

run: release
	exec $$($(RELEASE) --show-bin-path)/weir demo --port $(PORT)

# The budget tests count what the release binary does, one after the other; all others run the
# debug one, whose assertions are on. Tests that end a process run by themselves: the testing
# library waits for any child there is, and would have to step over those of the other tests. Each
# run has a bound, so that one that hangs says where; one that crashes says in which line of which
# test. (A test turns that off for the processes it starts: under sanitizers the backtracer hangs.)
BACKTRACE := enable=yes,color=no,interactive=no,threads=crashed,images=none,registers=none
TEST := SWIFT_BACKTRACE=$(BACKTRACE),limit=32,timeout=60s Tests/bounded.sh
RUN_TESTS := $(SWIFT) test --disable-xctest --skip-build

test: test-packages
	$(RELEASE)
	$(SWIFT) build --build-tests
	SWIFT_BACKTRACE=enable=no Tests/bounded.sh 120 $(RUN_TESTS) --filter 'ends the process'
	$(TEST) 900 $(RUN_TESTS) --skip BudgetTests --skip 'ends the process'
	WEIR_RELEASE_BINARY=$$($(RELEASE) --show-bin-path)/weir \
	  $(TEST) 900 $(RUN_TESTS) --no-parallel --filter BudgetTests

soak: test-packages
	$(RELEASE)
	$(SWIFT) build --build-tests
	WEIR_SOAK=1 WEIR_BINARY=$$($(RELEASE) --show-bin-path)/weir \
	  $(SWIFT) test --disable-xctest --skip-build --no-parallel \
	  --filter 'BudgetTests.BigBodyTests|The race with purges'

# SEEDS=100000 FIRST=1: that many seeds; TRACE=17: what happens in one.
SIMULATE := $(SWIFT) build -c release --product test-simulate
simulate: build-packages
	$(SIMULATE)
	$$($(SIMULATE) --show-bin-path)/test-simulate \
	  $(if $(TRACE),trace $(TRACE),$(or $(FIRST),1) $(or $(SEEDS),10000))

# Faults in a copy of the sources, each of which the simulation must find.
planted: build-packages
	python3 Tests/Planted/faults.py $(SEEDS)

# ONLY=9.1: the rules whose names have that in them.
rules: test-packages
	python3 Tests/Planted/rules.py $(ONLY)

# A report makes the daemon's exit code 66, and so fails the test that brought it about.
tsan: test-packages
	$(SWIFT) build --scratch-path .build/tsan --sanitize thread -Xswiftc -DWEIR_THREAD_SANITIZER \
	  --product weir
	$(SWIFT) build --build-tests
	TSAN_OPTIONS="exitcode=66 history_size=4" WEIR_BINARY=$(CURDIR)/.build/tsan/debug/weir \
	  $(SWIFT) test --disable-xctest --skip-build --filter IntegrationTests \
	  --skip 'a tiny object costs'

# What bounds the daemon's memory is left out: the sanitizer keeps freed memory for a while. So is
# the test of the hosts file: c-ares 1.18 loses ten octets where it makes up ::1 for localhost.
asan: test-packages
	$(SWIFT) build --scratch-path .build/asan --sanitize address --product weir
	$(SWIFT) build --build-tests
	LSAN_OPTIONS="suppressions=$(CURDIR)/Tests/leak-suppressions.txt:print_suppressions=0" \
	ASAN_OPTIONS="exitcode=66 detect_leaks=1" WEIR_BINARY=$(CURDIR)/.build/asan/debug/weir \
	  $(SWIFT) test --disable-xctest --skip-build --filter IntegrationTests \
	  --skip 'a storm of reloads loses no request|stops its backend|cost no memory|leave nothing behind' \
	  --skip 'a tiny object costs|filled to twice its size|fails nothing, and keeps no memory' \
	  --skip 'the hosts file needs no name server'

$(BENCH_BUILD)/%: Tests/Benchmarks/%.c Tests/Benchmarks/pattern.h
	@mkdir -p $(BENCH_BUILD)
	$(CC) -O2 -Wall -Wextra -Werror -std=gnu11 -o $@ $< $(LDLIBS)

$(BENCH_BUILD)/load: LDLIBS := -lssl -lcrypto -lm

bench-tools: $(BENCH_BUILD)/load $(BENCH_BUILD)/origin

# Options: QUICK=1, ROUNDS=5, SECONDS_EACH=5, ONLY=keep-alive,uploads, WRITE=1 (into the docs).
bench: bench-packages bench-tools
	$(RELEASE)
	WEIR_BINARY=$$($(RELEASE) --show-bin-path)/weir python3 Tests/Benchmarks/bench.py \
	  $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	  $(if $(SECONDS_EACH),--seconds $(SECONDS_EACH)) $(if $(ONLY),--only $(ONLY)) \
	  $(if $(WRITE),--write docs/PERFORMANCE.md)

# Needs python3; HAProxy, where it is installed, is shown beside the race for kept connections.
scenarios: test-packages
	$(RELEASE)
	WEIR_BINARY=$$($(RELEASE) --show-bin-path)/weir python3 Tests/Scenarios/scenarios.py \
	  $(if $(ONLY),--only $(ONLY)) $(if $(WRITE),--write docs/OPERATIONS.md)

lint:
	$(SWIFT) format lint --strict -r -p Package.swift Sources Tests

format:
	$(SWIFT) format -i -r -p Package.swift Sources Tests

# An existing configuration is never touched.
# Everything below DESTDIR, for packages; as root without it, into this machine.
install: release
	install -D -s -m 755 $$($(RELEASE) --show-bin-path)/weir $(DESTDIR)$(PREFIX)/bin/weir
	install -d $(DESTDIR)$(UNITS)
	for unit in weir.service weir.socket; do \
	  sed 's#/usr/bin/weir#$(PREFIX)/bin/weir#' systemd/$$unit > $(DESTDIR)$(UNITS)/$$unit; done
	install -D -m 644 systemd/weir.sysusers $(DESTDIR)/usr/lib/sysusers.d/weir.conf
	install -D -m 644 systemd/weir.logrotate $(DESTDIR)/etc/logrotate.d/weir
	[ -e $(DESTDIR)/etc/weir/proxy.conf ] \
	  || install -D -m 644 proxy.conf.example $(DESTDIR)/etc/weir/proxy.conf
	install -D -m 644 -t $(DESTDIR)/usr/share/doc/weir docs/OPERATIONS.md docs/configuration.md \
	  docs/CACHING.md docs/metrics.md proxy.conf.example
	install -D -m 644 docs/man/weir.8 $(DESTDIR)$(PREFIX)/share/man/man8/weir.8
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
	  $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions \
	  $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	weir=$$($(RELEASE) --show-bin-path)/weir; share=$(DESTDIR)$(PREFIX)/share; \
	  $$weir --generate-completion-script bash | sed '1{/^#!/d}' > $$share/bash-completion/completions/weir; \
	  $$weir --generate-completion-script zsh > $$share/zsh/vendor-completions/_weir; \
	  $$weir --generate-completion-script fish > $$share/fish/vendor_completions.d/weir.fish
	if [ -z "$(DESTDIR)" ] && command -v systemd-sysusers >/dev/null; then systemd-sysusers; fi
	if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi

# Both packages hold what `install` lays out; they and their sizes are printed.
stage: release
	rm -rf $(STAGE)
	$(MAKE) --no-print-directory install DESTDIR=$(STAGE) PREFIX=/usr

deb-check: deb
	$(call install-missing,debootstrap util-linux iproute2 procps)
	Tests/Packaging/check.sh $(dir $(PACKAGE))weir_$(VERSION)-1_*.deb

tarball: stage
	tar -C $(STAGE) --owner=root --group=root -czf $(PACKAGE)-$(MACHINE).tar.gz .
	@ls -l $(PACKAGE)-$(MACHINE).tar.gz

# A package of Debian, checked by lintian: any complaint is an error.
deb: stage deb-packages
	rm -rf $(PACKAGE) && mkdir -p $(PACKAGE)
	cp -r systemd/debian $(PACKAGE)/debian && mv $(STAGE) $(PACKAGE)/stage
	sed -i "s/@VERSION@/$(VERSION)/; s/@DATE@/$$(date -R -d @$$(git log -1 --format=%ct))/" \
	  $(PACKAGE)/debian/changelog
	cd $(PACKAGE) && dpkg-buildpackage --build=binary --unsigned-changes --no-check-builddeps
	lintian --fail-on error,warning --allow-root $(dir $(PACKAGE))weir_$(VERSION)-1_*.deb
	@ls -l $(dir $(PACKAGE))weir_$(VERSION)-1_*.deb

clean:
	rm -rf .build
