# SPDX-License-Identifier: Apache-2.0
#
#   make                 build build/stranded
#   make test            install what is missing, build, run all tests
#   make unit            unit tests only (no privileges, no network)
#   make SAN=address,undefined test
#   make DEV=1           warnings are errors, extra warnings
#   make V=1             show commands
#   make help            this list

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
MANDIR     ?= $(PREFIX)/share/man
DESTDIR    ?=
PKG_CONFIG ?= pkg-config
BUILD      ?= build$(if $(SAN),-san)

PKGS       := libnl-3.0 libnl-route-3.0 libnl-nf-3.0 jansson
TEST_PKGS  := cmocka

VERSION    := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

CFLAGS     ?= -O2 -g
ALL_CPPFLAGS := -D_GNU_SOURCE -iquote . $(CPPFLAGS)
ALL_CFLAGS := -std=gnu11 -pthread -Wall -Wextra -Wstrict-prototypes \
	-Wmissing-prototypes -Wwrite-strings -Wpointer-arith -Wvla \
	-Wformat=2 -fno-common -fstack-protector-strong $(CFLAGS)
ALL_LDFLAGS := -pthread -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)

ifeq ($(DEV),1)
ALL_CFLAGS += -Werror -Wshadow -Wswitch-enum -Wundef
endif
ifneq ($(SAN),)
ALL_CFLAGS  += -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g
ALL_LDFLAGS += -fsanitize=$(SAN)
endif

ifneq ($(filter-out clean help,$(or $(MAKECMDGOALS),all)),)
ALL_CPPFLAGS += $(shell $(PKG_CONFIG) --cflags $(PKGS))
LDLIBS       += $(shell $(PKG_CONFIG) --libs $(PKGS)) -linih
endif

ifeq ($(V),1)
Q =
say =
else
Q = @
say = @printf '  %-7s %s\n' '$(1)' '$(patsubst $(BUILD)/%,%,$@)'
endif

LIB_SRC  := $(sort $(filter-out detector/main.c,$(wildcard base/*.c \
	runtime-hooks/*.c runtime-hooks/*/*.c netwatch/*.c detector/*.c)))
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o)
LIB      := $(BUILD)/libstranded-core.a
MAIN_OBJ := $(BUILD)/detector/main.o
BIN      := $(BUILD)/stranded
TESTS    := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))

# without a main there is the library alone
all: $(if $(wildcard detector/main.c),$(BIN),$(LIB))

$(LIB): $(LIB_OBJ)
	$(call say,AR)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BIN): $(MAIN_OBJ) $(LIB)
	$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/%.o: %.c Makefile
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/%: $(BUILD)/tests/unit/%.o $(LIB)
	$(call say,LDTEST)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS) $$($(PKG_CONFIG) --libs $(TEST_PKGS))

unit: $(TESTS)
	$(Q)rc=0; for t in $(TESTS); do \
	  if CMOCKA_MESSAGE_OUTPUT=$(or $(CMOCKA_MESSAGE_OUTPUT),TAP) $$t >$$t.log 2>&1; \
	  then printf '  PASS    %s\n' $${t##*/}; \
	  else printf '  FAIL    %s\n' $${t##*/}; sed 's/^/    /' $$t.log; rc=1; fi; \
	done; exit $$rc

clean:
	$(Q)rm -rf build build-*

help:
	@sed -n 's/^#   //p' Makefile

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all unit clean help

-include $(LIB_OBJ:.o=.d) $(MAIN_OBJ:.o=.d) $(TESTS:$(BUILD)/tests/%=$(BUILD)/tests/unit/%.d)
