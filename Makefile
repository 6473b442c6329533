# SPDX-License-Identifier: MIT
# One makefile for everything; all output goes under $(B).
#
#   make                the library (static and shared) and the pollux command
#   make check          build and run every test; prints how many passed, failed, were skipped
#   make bench          pollux bench --quick
#   make tidy           sizes, layering, forbidden calls
#   make asan ubsan tsan   the tests under a sanitizer, each in a build folder of its own
#   make install        DESTDIR and PREFIX respected
#
# Yours to set: CC, CFLAGS, LDFLAGS, PREFIX, DESTDIR, V=1 (show commands), WERROR=1, SANITIZE=address,undefined|thread

B       ?= build
PREFIX  ?= /usr/local
CFLAGS  ?= -O2 -g
VERSION := 0.1.0
SOMAJOR := 0

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' $(1) $(2))

PACKAGES := liburing hwloc numa
PKG_CFLAGS := $(shell pkg-config --cflags $(PACKAGES))
PKG_LIBS   := $(shell pkg-config --libs $(PACKAGES))

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
ifdef WERROR
WARN += -Werror
endif
ifdef SANITIZE
SANFLAGS := -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -DPLX_DEBUG
endif
ifdef DEBUG
SANFLAGS += -DPLX_DEBUG
endif

ALL_CFLAGS  = -std=gnu17 -D_GNU_SOURCE -I. $(WARN) -fvisibility=hidden -pthread $(PKG_CFLAGS) $(SANFLAGS) $(CFLAGS)
ALL_LDFLAGS = -pthread $(SANFLAGS) $(LDFLAGS)

LIB_SRC  := $(sort $(wildcard alloc/*.c runtime/*.c runtime/*/*.c net/*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/obj/%.o)
TOOL_SRC := $(sort $(wildcard tools/*.c tools/bench/*.c))
TOOL_OBJ := $(TOOL_SRC:%.c=$(B)/obj/%.o)
# test/**/test_*.c and stress_*.c are programs; what else lies in test/ is linked into each of them.
TEST_MAIN := $(sort $(shell find test -name 'test_*.c' -o -name 'stress_*.c'))
TEST_HELP := $(sort $(filter-out $(TEST_MAIN),$(shell find test -name '*.c')))
TEST_OBJ  := $(TEST_HELP:%.c=$(B)/obj/%.o)
TEST_BIN  := $(TEST_MAIN:%.c=$(B)/%)

.PHONY: all check bench tidy asan ubsan tsan install clean tests FORCE
.SECONDARY:
all: $(B)/libpollux.a $(if $(TOOL_SRC),$(B)/pollux)

# A change of compiler or flags rebuilds everything.
$(B)/flags: FORCE
	@mkdir -p $(B)
	@echo '$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS)' | cmp -s - $@ || echo '$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS)' > $@

$(B)/obj/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -fPIC -MMD -MP -c $< -o $@

$(B)/libpollux.a: $(LIB_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(B)/pollux: $(TOOL_OBJ) $(B)/libpollux.a
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(PKG_LIBS) -ljansson -lm -o $@

$(B)/test/%: $(B)/obj/test/%.o $(TEST_OBJ) $(B)/libpollux.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(PKG_LIBS) -lcmocka -lm -o $@

tests: $(TEST_BIN)

clean:
	rm -rf $(B)

-include $(LIB_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(TEST_OBJ:.o=.d) $(TEST_MAIN:%.c=$(B)/obj/%.d)
