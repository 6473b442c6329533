# SPDX-License-Identifier: MIT
# One makefile for everything; all output goes under $(B).
#
#   make                     the library (static and shared), its headers, the pollux command
#   make check               build and run every test; how many passed, failed, were skipped
#   make bench               pollux bench --quick
#   make tidy                sizes, layering, forbidden calls
#   make asan ubsan tsan     the tests under a sanitizer, each in a build folder of its own
#   make cross               the context switch for aarch64, built by CROSS_CC, run by CROSS_RUN
#   make fuzz                the fuzzers, each for FUZZ_SECONDS, with clang and its libFuzzer
#   make example             compile and run the example of README.md
#   make install             PREFIX, LIBDIR and DESTDIR respected
#   make compile_commands.json   for editors
#
# Yours to set: CC, CXX, CFLAGS, LDFLAGS, PREFIX, DESTDIR, B=folder, V=1 (show commands), WERROR=1,
# DEBUG=1, SANITIZE=address,undefined|thread, ONLY=pattern (which tests), TEST_TIMEOUT=seconds,
# FUZZ_SECONDS=seconds, BENCH='names'

B        ?= build
PREFIX   ?= /usr/local
BINDIR   ?= $(PREFIX)/bin
LIBDIR   ?= $(PREFIX)/lib
INCDIR   ?= $(PREFIX)/include
MANDIR   ?= $(PREFIX)/share/man
DATADIR  ?= $(PREFIX)/share/pollux
CFLAGS   ?= -O2 -g
BENCH    ?= all
version_part = $(shell awk '$$2 == "PLX_VERSION_$(1)" { print $$3 }' alloc/base.h)
SOMAJOR  := $(call version_part,MAJOR)
VERSION  := $(SOMAJOR).$(call version_part,MINOR).$(call version_part,PATCH)

# Beside the stress_* programs, what `make tsan` runs: tests in which several threads share memory.
TSAN_TESTS := test_call test_cells test_epoll_files test_far test_mesh test_op_model test_op_stop \
              test_port test_reactor_pool test_remote test_runtime test_runtime_stop test_sleep \
              test_task test_workers

Q := $(if $(V),,@)
comma := ,
say = $(if $(V),,@printf '  %-7s %s\n' $(1) $(2))
quote = '$(subst ','\'',$(1))'

# --- what is compiled, and how --------------------------------------------------------------------

PACKAGES := liburing hwloc numa
ifneq ($(filter-out clean tidy,$(or $(MAKECMDGOALS),all)),)
missing := $(shell pkg-config --print-errors --exists 'liburing >= 2.3' hwloc numa 2>&1 || echo .)
ifneq ($(missing),)
$(error packages are missing ($(missing)): scripts/deps --install)
endif
endif
PKG_CFLAGS := $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null)

# Peers that the benchmark measures beside us when they are installed: -DPLX_BENCH_<NAME>. Those in
# C++ are compiled with CXX, clang's own beside clang.
PEERS       := libuv ck liburcu
HAVE_PEERS  := $(foreach p,$(PEERS),$(shell pkg-config --exists $(p) && echo $(p)))
peer_define  = -DPLX_BENCH_$(shell echo $(1) | tr a-z- A-Z_)
PEER_CFLAGS := $(foreach p,$(HAVE_PEERS),$(call peer_define,$(p)) $(shell pkg-config --cflags $(p)))
PEER_LIBS   := $(foreach p,$(HAVE_PEERS),$(shell pkg-config --libs $(p)))
# Boost has no .pc; of Boost.Context two functions of C are linked.
BOOST_CONTEXT := $(filter /%,$(shell $(CC) -print-file-name=libboost_context.a))
ifneq ($(BOOST_CONTEXT),)
PEER_CFLAGS += $(call peer_define,boost_context)
PEER_LIBS   += $(BOOST_CONTEXT)
endif
# Of DPDK one library and its headers: neither all that libdpdk.pc requires, nor its flags for
# everything.
RTE_LIBDIR  := $(shell pkg-config --variable=libdir libdpdk-libs 2>/dev/null)
ifneq ($(RTE_LIBDIR),)
RTE_CFLAGS  := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags-only-I libdpdk-libs)) \
               -include rte_config.h
PEER_CFLAGS += -DPLX_BENCH_RTE_RING
PEER_LIBS   += -L$(RTE_LIBDIR) -lrte_ring -lrte_eal
endif
PEER_CXX    := $(if $(findstring clang,$(CC)),$(subst clang,clang++,$(CC)),$(CXX))
HAVE_CXX    := $(shell command -v $(PEER_CXX) 2>/dev/null)
have_header  = $(and $(HAVE_CXX),$(wildcard $(addsuffix /$(1),/usr/include /usr/local/include)))
CXX_PEERS   := $(if $(call have_header,boost/lockfree/spsc_queue.hpp),boost) \
               $(if $(call have_header,readerwriterqueue/readerwriterqueue.h),rwqueue)
PEER_CFLAGS += $(foreach p,$(CXX_PEERS),$(call peer_define,$(p)))
PEER_LIBS   += $(if $(strip $(CXX_PEERS)),-lstdc++)

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
ifdef WERROR
WARN += -Werror
SHARED_LDFLAGS := -Wl,-z,defs
endif
ifdef SANITIZE
SANFLAGS := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer -DPLX_DEBUG
endif
ifdef DEBUG
SANFLAGS += -DPLX_DEBUG
endif

# Position-independent for the shared library; calls among ourselves are inlined all the same.
ALL_CFLAGS  = -std=gnu17 -D_GNU_SOURCE -I. $(WARN) -fvisibility=hidden -fPIC \
              -fno-semantic-interposition -pthread $(PKG_CFLAGS) $(SANFLAGS) $(CFLAGS)
# What asks for the sanitizers' own C++ library, which a program linked as C has not.
ifneq ($(findstring undefined,$(SANITIZE)),)
CXX_NO_SAN := -fno-sanitize=vptr$(if $(findstring clang,$(PEER_CXX)),$(comma)function)
endif
CXX_CFLAGS  = -std=gnu++17 -D_GNU_SOURCE -I. $(filter-out %-prototypes -Wshadow,$(WARN)) \
              -fvisibility=hidden -fPIC -pthread $(SANFLAGS) $(CXX_NO_SAN) $(CFLAGS)
ALL_LDFLAGS = -pthread -Wl,--as-needed $(SANFLAGS) $(LDFLAGS)

LIB_SRC  := $(sort $(wildcard alloc/*.c runtime/*.c runtime/*/*.c net/*.c))
# Each is empty but for its own processor.
LIB_ASM  := $(sort $(wildcard runtime/*/*.S))
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/obj/%.o) $(LIB_ASM:%.S=$(B)/obj/%.o)
# tools/examples/*.c are programs by themselves, of users: with the headers as they are installed.
EXAMPLES := $(patsubst tools/examples/%.c,$(B)/examples/%,$(sort $(wildcard tools/examples/*.c)))
TOOL_SRC := $(sort $(wildcard tools/*.c tools/bench/*.c))
TOOL_OBJ := $(TOOL_SRC:%.c=$(B)/obj/%.o) $(CXX_PEERS:%=$(B)/obj/tools/bench/peer_%.o)
# test/**/test_*.c and stress_*.c are programs; what else lies in test/ is linked into each of them,
# but for the fuzzers, which are programs of libFuzzer's, and those for another processor.
TEST_MAIN := $(sort $(shell find test -name 'test_*.c' -o -name 'stress_*.c' 2>/dev/null))
TEST_HELP := $(sort $(filter-out $(TEST_MAIN) test/fuzz/% test/cross/%, \
               $(shell find test -name '*.c' 2>/dev/null)))
TEST_OBJ  := $(TEST_HELP:%.c=$(B)/obj/%.o)
TEST_BIN  := $(TEST_MAIN:%.c=$(B)/%)
FUZZ_SRC  := $(sort $(wildcard test/fuzz/fuzz_*.c))
FUZZ_BIN  := $(FUZZ_SRC:%.c=$(B)/%)
TSAN_BIN  := $(foreach b,$(TEST_BIN),$(if $(filter $(TSAN_TESTS) stress_%,$(notdir $(b))),$(b)))
# Public headers are all but the internal ones.
HEADERS  := $(filter-out %_internal.h, \
              $(sort $(wildcard alloc/*.h runtime/*.h runtime/*/*.h net/*.h)))
MAN      := $(sort $(wildcard man/*.[137]))

SHARED   := libpollux.so.$(VERSION)
STAGED   := $(HEADERS:%=$(B)/include/pollux/%) $(B)/include/pollux/pollux.h

.PHONY: all check bench tidy asan ubsan tsan tsan-run fuzz fuzz-run cross example install clean \
        tests FORCE
.SECONDARY:
.DELETE_ON_ERROR:
# A sanitizer's runtime belongs into the program, so a sanitized build has no shared library.
all: $(B)/libpollux.a $(STAGED) $(if $(SANITIZE),,$(B)/$(SHARED)) $(if $(TOOL_SRC),$(B)/pollux)

# A change of compiler or flags rebuilds everything.
FLAGS_TEXT = $(CC) $(ALL_CFLAGS) $(PEER_CFLAGS) $(RTE_CFLAGS) $(PEER_CXX) $(CXX_NO_SAN) \
             $(ALL_LDFLAGS)
$(B)/flags: FORCE
	@mkdir -p $(B)
	@printf '%s\n' $(call quote,$(FLAGS_TEXT)) | cmp -s - $@ || \
	    printf '%s\n' $(call quote,$(FLAGS_TEXT)) > $@

$(TOOL_OBJ): EXTRA_CFLAGS = $(PEER_CFLAGS)
$(B)/obj/tools/bench/peer_rte_ring.o: EXTRA_CFLAGS += $(RTE_CFLAGS)

$(B)/obj/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) $(EXTRA_CFLAGS) -MMD -MP -c $< -o $@

$(B)/obj/%.o: %.cc $(B)/flags
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(PEER_CXX) $(CXX_CFLAGS) $(EXTRA_CFLAGS) -MMD -MP -c $< -o $@

$(B)/obj/%.o: %.S $(B)/flags
	@mkdir -p $(@D)
	$(call say,AS,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# --- the library ----------------------------------------------------------------------------------

# The list's file changes when a source is added or removed, so that no stale object stays behind.
$(B)/sources: FORCE
	@mkdir -p $(B)
	@echo '$(LIB_SRC) $(LIB_ASM) $(HEADERS)' | cmp -s - $@ || \
	    echo '$(LIB_SRC) $(LIB_ASM) $(HEADERS)' > $@

$(B)/libpollux.a: $(LIB_OBJ) $(B)/sources
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $(LIB_OBJ)

$(B)/$(SHARED): $(LIB_OBJ) $(B)/sources scripts/pollux.map
	$(call say,LD,$@)
	$(Q)$(CC) -shared -Wl,-soname,libpollux.so.$(SOMAJOR) $(SHARED_LDFLAGS) \
	    -Wl,--version-script=scripts/pollux.map $(ALL_LDFLAGS) $(LIB_OBJ) $(PKG_LIBS) -o $@
	$(Q)ln -sf $(SHARED) $(B)/libpollux.so.$(SOMAJOR)
	$(Q)ln -sf $(SHARED) $(B)/libpollux.so

# Headers as they are installed. In the tree they name each other from its top ("alloc/base.h"),
# outside they do so below pollux/, so that a user's own alloc/ or net/ cannot be meant.
$(B)/include/pollux/%.h: %.h
	@mkdir -p $(@D)
	$(Q)sed -E 's,^(# *include )"((alloc|runtime|net)/[^"]+)",\1<pollux/\2>,' $< > $@

$(B)/include/pollux/pollux.h: $(B)/sources
	@mkdir -p $(@D)
	$(Q){ echo '/* SPDX-License-Identifier: MIT */'; \
	    echo '/* Everything that Pollux offers: each public header of the library. */'; \
	    echo '#ifndef POLLUX_POLLUX_H'; echo '#define POLLUX_POLLUX_H'; echo; \
	    for h in $(HEADERS); do echo "#include <pollux/$$h>"; done; echo; echo '#endif'; } > $@

# --- the command ----------------------------------------------------------------------------------

$(B)/pollux: $(TOOL_OBJ) $(B)/libpollux.a
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(PKG_LIBS) $(PEER_LIBS) -ljansson -lm -o $@

bench: $(B)/pollux
	$(B)/pollux bench $(BENCH) --quick

# --- tests ----------------------------------------------------------------------------------------

$(B)/test/%: $(B)/obj/test/%.o $(TEST_OBJ) $(B)/libpollux.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(PKG_LIBS) $(TEST_LIBS) -lcmocka -ljansson -lm -o $@

# What the commands share is no part of the library.
$(filter $(B)/test/tools/%,$(TEST_BIN)): $(B)/obj/tools/cli.o
$(B)/test/tools/test_bench_interval: $(B)/obj/tools/bench/interval.o
$(B)/test/tools/test_bench_heat: $(addprefix $(B)/obj/tools/bench/, \
                                   heat.o html_heat.o load.o matrix.o)
$(B)/test/tools/test_bench_html: $(addprefix $(B)/obj/tools/bench/, \
                                   heat.o html.o html_gnuplot.o html_head.o html_heat.o \
                                   html_plot.o html_rows.o html_style.o load.o matrix.o stop.o)
$(B)/test/tools/test_bench_paired: $(addprefix $(B)/obj/tools/bench/, \
                                     with.o with_run.o rows.o stop.o load.o interval.o hgrm.o)
$(B)/test/tools/test_bench_paired: TEST_LIBS = $(B)/libpollux.a
$(B)/test/tools/test_bench_select: $(B)/obj/tools/bench/select.o $(B)/obj/tools/bench/interrupts.o
# The whole benchmark, with some calls of its own.
$(B)/test/tools/test_bench_faults: $(filter-out $(B)/obj/tools/pollux.o,$(TOOL_OBJ))
$(B)/test/tools/test_bench_faults: TEST_LIBS = $(B)/libpollux.a $(PEER_LIBS)

# Rows and tables of what is made up, by all of the command but its main.
MADE_UP := $(addprefix $(B)/test/tools/, test_bench_report test_bench_figures)
$(MADE_UP): $(filter-out $(B)/obj/tools/pollux.o,$(TOOL_OBJ))
$(MADE_UP): private PKG_LIBS := $(B)/libpollux.a $(PKG_LIBS) $(PEER_LIBS)

tests: $(TEST_BIN) $(EXAMPLES)

$(B)/examples/%: tools/examples/%.c $(B)/libpollux.a $(STAGED) $(B)/flags
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -std=c11 -D_DEFAULT_SOURCE $(WARN) -I$(B)/include -pthread $(SANFLAGS) $(CFLAGS) \
	    $(ALL_LDFLAGS) $< $(B)/libpollux.a $(PKG_LIBS) -lm -o $@

# Some tests start the command, so it is built too.
TEST_TIMEOUT ?= 120
RUN_TESTS = POLLUX_TEST_BINARY=$(B)/pollux scripts/run-tests --timeout $(TEST_TIMEOUT) \
            $(if $(ONLY),--only $(call quote,$(ONLY)))
check: all tests
	@$(if $(TEST_BIN),,echo 'there is no test' >&2; exit 1;) $(RUN_TESTS) $(TEST_BIN)

asan:
	@$(MAKE) --no-print-directory B=$(B)/asan SANITIZE=address,undefined check

ubsan:
	@$(MAKE) --no-print-directory B=$(B)/ubsan SANITIZE=undefined check

tsan:
	@$(MAKE) --no-print-directory B=$(B)/tsan SANITIZE=thread tsan-run

tsan-run: $(TSAN_BIN)
	@for name in $(TSAN_TESTS); do case ' $(notdir $(TSAN_BIN)) ' in *" $$name "*) ;; \
	    *) echo "TSAN_TESTS names $$name, and there is no such test" >&2; exit 1;; esac; done
	@$(if $(TSAN_BIN),,echo 'no stress_* test, and TSAN_TESTS is empty' >&2; exit 1;) \
	    $(RUN_TESTS) --no-aslr $(TSAN_BIN)

# What is written for one processor, on the other one. No library of ours is needed.
CROSS_CC  ?= aarch64-linux-gnu-gcc
CROSS_RUN ?= qemu-aarch64
CROSS_SRC := test/cross/switch.c test/runtime/sched/switch_cases.c $(LIB_ASM)
cross: $(B)/cross/switch
	$(CROSS_RUN) $<

$(B)/cross/switch: $(CROSS_SRC) $(B)/flags
	@mkdir -p $(@D)
	$(call say,CROSS,$@)
	$(Q)$(CROSS_CC) -std=gnu17 -D_GNU_SOURCE -I. $(WARN) -O2 -g -static $(CROSS_SRC) -lm -o $@

# They begin without a corpus: every input is a sequence of operations, so there is none to learn.
# What made one fail is beside it: give it that file's name to see it again.
FUZZ_CC      ?= clang
FUZZ_SECONDS ?= 20
fuzz:
	@$(MAKE) --no-print-directory B=$(B)/fuzz CC=$(FUZZ_CC) \
	    SANITIZE=address,undefined,fuzzer-no-link fuzz-run

$(B)/test/fuzz/%: $(B)/obj/test/fuzz/%.o $(B)/obj/test/alloc/mem_fixture.o \
                  $(B)/obj/test/alloc/segbuf_model.o \
                  $(B)/obj/test/runtime/file/journal_model.o $(B)/libpollux.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -fsanitize=fuzzer $(ALL_LDFLAGS) $^ $(FUZZ_LIBS) $(PKG_LIBS) -o $@

$(B)/test/fuzz/fuzz_compare: $(B)/obj/tools/cli.o $(addprefix $(B)/obj/tools/bench/, \
                               compare.o compare_row.o interval.o load.o)
$(B)/test/fuzz/fuzz_compare: FUZZ_LIBS = $(B)/libpollux.a -ljansson -lm

fuzz-run: $(FUZZ_BIN)
	@for fuzzer in $(FUZZ_BIN); do \
	    $$fuzzer -max_total_time=$(FUZZ_SECONDS) -max_len=500 -len_control=0 -use_cmp=0 \
	        -timeout=10 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 \
	        -artifact_prefix=$$fuzzer- || exit; done

example: $(B)/libpollux.a $(STAGED)
	@CC='$(CC)' scripts/readme-example --build $(B) -- $(ALL_LDFLAGS) $(PKG_LIBS) -lm

tidy:
	@scripts/tidy

# --- installing -----------------------------------------------------------------------------------

below_prefix = $(patsubst $(PREFIX)/%,$${prefix}/%,$(1))
$(B)/pollux.pc: scripts/pollux.pc.in FORCE
	@mkdir -p $(B)
	@sed -e 's,@PREFIX@,$(PREFIX),' -e 's,@LIBDIR@,$(call below_prefix,$(LIBDIR)),' \
	    -e 's,@INCDIR@,$(call below_prefix,$(INCDIR)),' -e 's,@VERSION@,$(VERSION),' $< > $@

install: all $(B)/pollux.pc
	install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(INCDIR)/pollux'
	$(if $(TOOL_SRC),install -m 755 $(B)/pollux '$(DESTDIR)$(BINDIR)')
	install -m 644 $(B)/libpollux.a $(B)/$(SHARED) '$(DESTDIR)$(LIBDIR)'
	ln -sf $(SHARED) '$(DESTDIR)$(LIBDIR)/libpollux.so.$(SOMAJOR)'
	ln -sf $(SHARED) '$(DESTDIR)$(LIBDIR)/libpollux.so'
	install -m 644 $(B)/pollux.pc '$(DESTDIR)$(LIBDIR)/pkgconfig'
	@for h in $(HEADERS) pollux.h; do \
	    install -D -m 644 $(B)/include/pollux/$$h '$(DESTDIR)$(INCDIR)'/pollux/$$h || exit; done
	install -D -m 644 tools/bench/rows.schema.json '$(DESTDIR)$(DATADIR)/rows.schema.json'
	@for m in $(MAN); do \
	    install -D -m 644 $$m '$(DESTDIR)$(MANDIR)'/man$${m##*.}/$${m##*/} || exit; done

# --- the rest -------------------------------------------------------------------------------------

compile_commands.json: FORCE
	@for f in $(LIB_SRC) $(TOOL_SRC) $(TEST_HELP) $(TEST_MAIN) $(FUZZ_SRC); do \
	    printf '%s\t%s\n' "$$f" \
	        $(call quote,$(CC) $(ALL_CFLAGS) $(PEER_CFLAGS))" -c $$f"; done | \
	awk -F '\t' -v top='$(CURDIR)' 'BEGIN { print "[" } \
	    { gsub(/\\/, "\\\\"); gsub(/"/, "\\\""); \
	      printf "%s{\"directory\": \"%s\", \"file\": \"%s\",\n \"command\": \"%s\"}", \
	          (NR > 1 ? ",\n" : ""), top, $$1, $$2 } \
	    END { print "\n]" }' > $@

clean:
	rm -rf $(B)

-include $(LIB_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(TEST_OBJ:.o=.d) $(TEST_MAIN:%.c=$(B)/obj/%.d) \
         $(FUZZ_SRC:%.c=$(B)/obj/%.d)
