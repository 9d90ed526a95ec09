# SPDX-License-Identifier: Apache-2.0
#
#   make                 build build/stranded
#   make deps            install what is missing to build, test and demo (apt)
#   make demo            install, build, strand real connections and show them
#   make scenarios       build the programs that scenarios strand
#   make scenarios-run   play all scenarios; ARGS='--family 4'
#   make test            install, build, run all tests
#   make unit            unit tests only (no network)
#   make integration     integration tests only; PYTEST_ARGS='-k name'
#   make test-matrix     every Go version
#   make bench           measure, beside the alternatives
#   make lint            format, include direction, sizes, cppcheck, man pages
#   make format          let clang-format rewrite the C sources
#   make fuzz            build the fuzz targets
#   make fuzz-run        run each for FUZZ_SECONDS=60
#   make install         below PREFIX=/usr/local, staged below DESTDIR=
#   make uninstall       remove what install put there
#   make clean           remove the build folders
#   make help            this list
#
#   make DEV=1           warnings are errors, extra warnings
#   make SAN=address,undefined test
#   make V=1             show commands

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
MANDIR     ?= $(PREFIX)/share/man
DATADIR    ?= $(PREFIX)/share/stranded
LIBDIR     ?= $(PREFIX)/lib
LIBEXECDIR ?= $(PREFIX)/libexec/stranded
DESTDIR    ?=
PKG_CONFIG ?= pkg-config
PYTHON     ?= /usr/bin/python3
FUZZ_CC    ?= clang
FUZZ_SECONDS ?= 60
GO         ?= go
STRIP      ?= strip
BUILD      ?= build$(if $(SAN),-san)
VERSION    ?= $(shell git describe --always --dirty 2>/dev/null || echo unknown)

PKGS       := libnl-3.0 libnl-route-3.0 libnl-nf-3.0 jansson inih libunwind-generic libdw libelf
TEST_PKGS  := cmocka

# Asked for once, and only when something is compiled: there may be no
# pkg-config yet when this file is read.
pkg_cflags = $(eval pkg_cflags := $$(shell $(PKG_CONFIG) --cflags $(PKGS)))$(pkg_cflags)
pkg_libs   = $(eval pkg_libs := $$(shell $(PKG_CONFIG) --libs $(PKGS)) -liberty)$(pkg_libs)
test_libs  = $(eval test_libs := $$(shell $(PKG_CONFIG) --libs $(TEST_PKGS)))$(test_libs)

CFLAGS     ?= -O2 -g
ALL_CPPFLAGS = -D_GNU_SOURCE -iquote . $(pkg_cflags) $(CPPFLAGS)
ALL_CFLAGS := -std=gnu11 -pthread -Wall -Wextra -Wstrict-prototypes \
	-Wmissing-prototypes -Wwrite-strings -Wpointer-arith -Wvla \
	-Wformat=2 -fno-common -fstack-protector-strong $(CFLAGS)
ALL_LDFLAGS := -pthread -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)
LINK = $(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@

# Without a sanitizer, which insists on being the first library: for programs
# that get another one preloaded.
PLAIN_FLAGS := -D_GNU_SOURCE -iquote . -pthread -Wall -Wextra -fstack-protector-strong $(CFLAGS)

ifeq ($(DEV),1)
ALL_CFLAGS += -Werror -Wshadow -Wswitch-enum -Wundef
endif
ifneq ($(SAN),)
ALL_CFLAGS  += -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g
ALL_LDFLAGS += -fsanitize=$(SAN)
endif

ifeq ($(V),1)
Q =
say =
else
Q = @
say = @printf '  %-7s %s\n' '$(1)' '$(patsubst $(BUILD)/%,%,$@)'
MAKEFLAGS += --no-print-directory
endif

LIB_SRC  := $(sort $(filter-out detector/main.c,$(wildcard base/*.c \
	runtime-hooks/*.c runtime-hooks/*/*.c netwatch/*.c scenarios/lab/*.c \
	scenarios/run/*.c detector/*.c detector/gate/*.c)))
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o)
LIB      := $(BUILD)/libstranded-core.a
MAIN_OBJ := $(BUILD)/detector/main.o
BIN      := $(BUILD)/stranded
MAN      := $(wildcard detector/*.1 detector/man/*.1)
TESTS    := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
BENCHES  := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/*.c))
# What scenarios strand, and strand it on; all but the Go victim need no more
# than the build itself.
SCENARIOS := $(wildcard scenarios/*/scenario.ini scenarios/*/README.md)
PROGRAMS := $(patsubst scenarios/programs/%.c,$(BUILD)/scenarios/%,$(wildcard scenarios/programs/*.c)) \
	$(patsubst scenarios/programs/%.sh,$(BUILD)/scenarios/%,$(wildcard scenarios/programs/*.sh))
VICTIM   := $(BUILD)/scenarios/victim
# What runs inside of other programs; without a sanitizer, which they would have
# to have, too. In the .a is what they call themselves, and no more.
HOOK_DIR := runtime-hooks/coroutine/hook
HOOK_SO  := $(BUILD)/libstranded-hook.so
HOOK_A   := $(BUILD)/libstranded-hook.a
HOOK_H   := runtime-hooks/coroutine/include/stranded/hook.h
HOOK_OBJ := $(patsubst $(HOOK_DIR)/%.c,$(BUILD)/hook/%.o,$(sort $(wildcard $(HOOK_DIR)/*.c)))
# Victims with C coroutines, threads and event loops.
TWIN_DIR := scenarios/programs/twins
TWINS    := $(addprefix $(BUILD)/scenarios/twin-,ucontext pcl pth state-threads \
	state-threads-stripped boost-fiber header threads poll-loop epoll-loop python java) $(BUILD)/scenarios/Twin.class
FUZZERS  := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

# without a main there is the library alone
all: $(if $(wildcard detector/main.c),$(BIN),$(LIB)) $(PROGRAMS) $(HOOK_SO) $(HOOK_A)

$(LIB): $(LIB_OBJ)
	$(call say,AR)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BIN): $(MAIN_OBJ) $(LIB)
	$(call say,LD)
	$(Q)$(LINK) $^ $(pkg_libs)

$(BUILD)/%.o: %.c $(BUILD)/.flags
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(OWN_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/hook/%.o $(BUILD)/hook/%-static.o: private HOOK_FLAGS = -std=gnu11 $(PLAIN_FLAGS) \
	-Wmissing-prototypes -fPIC -fvisibility=hidden -ftls-model=initial-exec
$(BUILD)/hook/%.o: $(HOOK_DIR)/%.c $(BUILD)/.flags
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(HOOK_FLAGS) -DHOOK_SHARED -MMD -MP -c -o $@ $<
$(BUILD)/hook/%-static.o: $(HOOK_DIR)/%.c $(BUILD)/.flags
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(HOOK_FLAGS) -MMD -MP -c -o $@ $<

# never unloaded: its stubs stand in others' tables
$(HOOK_SO): $(HOOK_OBJ)
	$(call say,LD)
	$(Q)$(CC) -shared -pthread -Wl,-z,relro,-z,now,-z,nodelete,-z,defs -Wl,--as-needed $(LDFLAGS) -o $@ $^

$(HOOK_A): $(BUILD)/hook/table-static.o
	$(call say,AR)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/scenarios/%: $(BUILD)/scenarios/programs/%.o
	$(call say,LD)
	$(Q)$(LINK) $^

$(BUILD)/scenarios/%: scenarios/programs/%.sh
	$(Q)install -D -m 0755 $< $@

$(VICTIM): FORCE
	$(call say,GO)
	$(Q)mkdir -p $(@D)
	$(Q)cd scenarios/programs/victim && HOME="$${HOME:-/root}" GO111MODULE=on \
	  GOFLAGS=-mod=mod GOWORK=off GOTOOLCHAIN=local \
	  $(GO) build $$($(GO) help buildflags 2>&1 | grep -q buildvcs && echo -buildvcs=false) -o '$(abspath $@)' .

# A twin whose package is not here is left out, by name: only its scenarios
# cannot run then.
$(BUILD)/scenarios/twin-pcl: private PACKAGE = libpcl1-dev pcl.h -lpcl
$(BUILD)/scenarios/twin-pth: private PACKAGE = libpth-dev pth.h -lpth
$(BUILD)/scenarios/twin-state-threads: private PACKAGE = libst-dev st.h -l:libst.a -Wl,-z,noexecstack
$(BUILD)/scenarios/twin-boost-fiber: private PACKAGE = libboost-fiber-dev \
	boost/fiber/all.hpp -lboost_fiber -lboost_context
$(BUILD)/scenarios/twin-header: $(TWIN_DIR)/tinyco.h $(HOOK_H) $(HOOK_A)
$(BUILD)/scenarios/twin-header: private TWIN_FLAGS = -I$(HOOK_H:/stranded/hook.h=)
# $(call twin,COMPILER)
twin = $(Q)rm -f $@; $(TWIN_DIR)/have-header.sh '$(firstword $1)' $(PACKAGE) || exit 0; \
	$1 $(PLAIN_FLAGS) $(TWIN_FLAGS) $(LDFLAGS) -o $@ $(filter %.c %.cc %.o %.a,$^) $(wordlist 3,9,$(PACKAGE))

$(BUILD)/scenarios/twin.o: $(TWIN_DIR)/twin.c $(TWIN_DIR)/twin.h $(BUILD)/.flags
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(PLAIN_FLAGS) -c -o $@ $<

$(BUILD)/scenarios/twin-%: $(TWIN_DIR)/%.c $(BUILD)/scenarios/twin.o
	$(call say,TWIN)
	$(call twin,$(CC) -std=gnu11)

$(BUILD)/scenarios/twin-%: $(TWIN_DIR)/%.cc $(BUILD)/scenarios/twin.o
	$(call say,TWIN)
	$(call twin,$(CXX))

$(BUILD)/scenarios/twin-state-threads-stripped: $(BUILD)/scenarios/twin-state-threads
	$(call say,STRIP)
	$(Q)rm -f $@; [ ! -f $< ] || $(STRIP) -s -o $@ $<

$(BUILD)/scenarios/twin-python: $(TWIN_DIR)/python.py
	$(Q)install -D -m 0755 $< $@

# a class beside the script, which is there when the class is
$(BUILD)/scenarios/Twin.class: $(TWIN_DIR)/Twin.java
	$(call say,TWIN)
	$(Q)mkdir -p $(@D); command -v javac >/dev/null || { \
	  echo '  not built: needs javac, default-jdk-headless'; exit 0; }; \
	  javac -d $(@D) $<
$(BUILD)/scenarios/twin-java: $(TWIN_DIR)/java.sh $(BUILD)/scenarios/Twin.class
	$(Q)rm -f $@; [ ! -f $(@D)/Twin.class ] || install -D -m 0755 $< $@

scenarios: $(PROGRAMS) $(VICTIM) $(TWINS)

scenarios-run: all scenarios
	$(Q)'$(abspath $(BIN))' scenario run --all $(ARGS)

$(BUILD)/tests/test_coroutine: | $(HOOK_A) $(HOOK_SO)
$(BUILD)/tests/%: $(BUILD)/tests/unit/%.o $(LIB)
	$(call say,LDTEST)
	$(Q)mkdir -p $(@D)
	$(Q)$(LINK) $^ $(pkg_libs) $(test_libs)

$(BUILD)/bench/coroutines: $(HOOK_A)
$(BUILD)/bench/%: $(BUILD)/tests/bench/%.o $(LIB)
	$(call say,LDBENCH)
	$(Q)mkdir -p $(@D)
	$(Q)$(LINK) $^ $(pkg_libs)

$(BUILD)/fuzz/%: $(BUILD)/tests/fuzz/%.o $(LIB)
	$(call say,LDFUZZ)
	$(Q)mkdir -p $(@D)
	$(Q)$(LINK) -fsanitize=fuzzer $^ $(pkg_libs)

# Rewritten when its text changes, so that no objects of other flags are mixed
# in; the version is kept apart, so that a commit does not rebuild the world.
stamp = mkdir -p $(@D); printf '%s\n' '$(1)' | cmp -s - $@ || printf '%s\n' '$(1)' >$@
$(BUILD)/.flags: need-packages
	@$(call stamp,$(subst ','\'',$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS)))
$(BUILD)/.version: FORCE
	@$(call stamp,$(VERSION))
$(BUILD)/.place: FORCE
	@$(call stamp,$(DATADIR) $(LIBDIR) $(LIBEXECDIR))
$(BUILD)/scenarios/run/place.o: $(BUILD)/.place
$(BUILD)/scenarios/run/place.o: private OWN_CPPFLAGS = \
	-DSTRANDED_DATADIR='"$(DATADIR)"' -DSTRANDED_LIBEXECDIR='"$(LIBEXECDIR)"'
$(BUILD)/detector/cmd_run.o: $(BUILD)/.place
$(BUILD)/detector/cmd_run.o: private OWN_CPPFLAGS = -DSTRANDED_LIBDIR='"$(LIBDIR)"'
$(BUILD)/detector/version.o: private OWN_CPPFLAGS = -DSTRANDED_VERSION='"$(VERSION)"'
$(BUILD)/detector/version.o: $(BUILD)/.version
$(BUILD)/detector/rules_builtin.o: $(wildcard detector/*.rules)

need-packages:
	@command -v $(firstword $(CC)) >/dev/null && $(PKG_CONFIG) --exists $(PKGS) || { \
	  echo 'stranded: missing to build:' $$(.ci/deps --missing build || echo '$(CC), pkg-config or one of $(PKGS)'); \
	  echo 'run "make deps" as root, or: apt-get install' $$(.ci/deps --list build); exit 2; } >&2

deps:
	$(Q).ci/deps build demo test

test: deps
	$(Q)$(MAKE) all
	$(Q)$(MAKE) unit
	$(Q)$(MAKE) integration

unit: $(TESTS)
	$(Q)tests/unit/run.sh $(TESTS)

integration: all scenarios
	$(Q)[ ! -d tests/integration ] || STRANDED='$(abspath $(BIN))' \
	  $(PYTHON) -m pytest -p no:cacheprovider -ra tests/integration $(PYTEST_ARGS)

demo:
	$(Q).ci/deps build demo
	$(Q)$(MAKE) all
	$(Q)scenarios/demo/run.sh '$(abspath $(BIN))'

bench test-matrix: deps
	$(Q)$(MAKE) all $(if $(filter bench,$@),$(BENCHES))
	$(Q)STRANDED='$(abspath $(BIN))' $(PYTHON) tests/$(@:test-%=%)/run.py $(ARGS)

lint:
	$(Q).ci/deps build lint
	$(Q).ci/lint

format:
	$(Q).ci/lint --format

fuzz:
	$(Q).ci/deps build fuzz
	$(Q)$(MAKE) fuzzers BUILD=build-fuzz CC=$(FUZZ_CC) SAN=fuzzer-no-link,address,undefined

fuzzers: $(FUZZERS)

fuzz-run: fuzz
	$(Q)FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run.sh $(FUZZERS:$(BUILD)/%=build-fuzz/%)

install: all
	install -D -m 0755 $(BIN) '$(DESTDIR)$(BINDIR)/stranded'
	install -D -m 0755 $(HOOK_SO) '$(DESTDIR)$(LIBDIR)/$(notdir $(HOOK_SO))'
	install -m 0644 $(HOOK_A) '$(DESTDIR)$(LIBDIR)'
	install -D -m 0644 $(HOOK_H) '$(DESTDIR)$(PREFIX)/include/stranded/hook.h'
	install -d '$(DESTDIR)$(LIBEXECDIR)'
	install -m 0755 $(PROGRAMS) $(wildcard $(VICTIM) $(TWINS)) '$(DESTDIR)$(LIBEXECDIR)'
	for f in $(SCENARIOS:scenarios/%=%); do \
	  install -D -m 0644 "scenarios/$$f" '$(DESTDIR)$(DATADIR)/scenarios'/"$$f" || exit 1; done
	$(if $(MAN),install -d '$(DESTDIR)$(MANDIR)/man1' && install -m 0644 $(MAN) '$(DESTDIR)$(MANDIR)/man1')

uninstall:
	rm -rf '$(DESTDIR)$(DATADIR)/scenarios'
	rm -f $(patsubst %,'$(DESTDIR)$(LIBEXECDIR)/%',$(notdir $(PROGRAMS) $(VICTIM) $(TWINS)))
	rm -f $(patsubst %,'$(DESTDIR)$(LIBDIR)/%',$(notdir $(HOOK_SO) $(HOOK_A)))
	rm -f '$(DESTDIR)$(PREFIX)/include/stranded/hook.h'
	rm -f '$(DESTDIR)$(BINDIR)/stranded' $(patsubst %,'$(DESTDIR)$(MANDIR)/man1/%',$(notdir $(MAN)))

clean:
	$(Q)rm -rf build build-*

help:
	@sed -n 's/^#   //p' Makefile

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all scenarios scenarios-run deps need-packages test unit integration demo bench test-matrix \
	lint format fuzz fuzzers fuzz-run install uninstall clean help FORCE

-include $(LIB_OBJ:.o=.d) $(HOOK_OBJ:.o=.d) $(MAIN_OBJ:.o=.d) $(TESTS:$(BUILD)/tests/%=$(BUILD)/tests/unit/%.d) \
	$(FUZZERS:$(BUILD)/fuzz/%=$(BUILD)/tests/fuzz/%.d) \
	$(BENCHES:$(BUILD)/bench/%=$(BUILD)/tests/bench/%.d) \
	$(wildcard $(BUILD)/scenarios/programs/*.d)
