/* SPDX-License-Identifier: MIT */
/*
 * The settings: one table, from which come the struct that the library reads, the parser, the
 * printers, and the advice on mistyped names.
 *
 * Words. A *key* is a setting's name in lower case (`arena_size`); its *variable* is the
 * environment's name for it (`POLLUX_ARENA_SIZE`). A *source* is who gave the value: the table
 * (default), the application, or the environment, each stronger than the one before. A value is
 * replaced only by a source at least as strong, so the order of the calls does not matter.
 *
 * Threads: set-up only. Any thread may call anything here; one settings object belongs to one
 * thread at a time. Nothing here allocates memory.
 */
#ifndef POLLUX_SETTINGS_H
#define POLLUX_SETTINGS_H

#include "alloc/base.h"
#include "alloc/want.h"
#include "runtime/settings/cpu_set.h"

PLX_EXTERN_C_BEGIN

/* A duration without end, `inf`. In nanoseconds, as every duration. */
#define PLX_INFINITE UINT64_MAX
/* Bytes that hold any value as text, its terminator included. */
#define PLX_SETTING_TEXT_BYTES PLX_CPU_SET_TEXT_BYTES
/* Unknown variables that one plx_settings_load_env names; the rest are counted in a last line. */
#define PLX_SETTINGS_WARNINGS_MAX 16

/* --- the values of the settings that are one of a few words, in the order of the words ------ */

enum plx_backend_choice { PLX_BACKEND_AUTO, PLX_BACKEND_URING, PLX_BACKEND_EPOLL };

enum plx_sqpoll_choice { PLX_SQPOLL_AUTO, PLX_SQPOLL_ON, PLX_SQPOLL_OFF };

/* What a reactor does in a turn without work. */
enum plx_idle {
    PLX_IDLE_AUTO,
    PLX_IDLE_SPIN,
    PLX_IDLE_YIELD,
    PLX_IDLE_ADAPTIVE,
    PLX_IDLE_BLOCK
};

enum plx_log_level { PLX_LOG_OFF, PLX_LOG_ERROR, PLX_LOG_WARN, PLX_LOG_INFO, PLX_LOG_DEBUG };

/* --- the table ------------------------------------------------------------------------------ */

/*
 * One row a setting:
 *   X(ID, key, TYPE, C type of the field, unit, default, range, scope, stability, doc)
 * Default and range are texts in the setting's own notation, read by the one parser. TYPE is one of
 *   BOOL      yes|no, true|false, on|off, 1|0
 *   WANT      no|try|require
 *   ENUM      the words of the range, whose positions are the values of the C enum
 *   SIZE      bytes: digits, then optionally K, M, G, T (powers of 1024) and B or iB
 *   DURATION  ns: digits and one of ns, us, ms, s; or inf; only 0 may stand without a unit
 *   COUNT     digits
 *   POW2      digits, a power of two
 *   LIST      numbers and ranges, see cpu_set.h; empty means that nothing is restricted
 * Letters may be of either case everywhere. Scope says what one value governs: the runtime as a
 * whole, or each reactor by itself.
 */
#define PLX_SETTINGS_TABLE(X)                                                                      \
    X(CPUS, cpus, LIST, struct plx_cpu_set, "CPUs", "", "", "runtime", "stable",                   \
      "CPUs that Pollux may use, by the system's numbers; empty means all that the process may "   \
      "run on")                                                                                    \
    X(NODES, nodes, LIST, struct plx_cpu_set, "nodes", "", "", "runtime", "stable",                \
      "NUMA nodes that Pollux may use; empty means all")                                           \
    X(REACTORS, reactors, COUNT, uint32_t, "reactors", "0", "0 to 256", "runtime", "stable",       \
      "how many reactors to run; 0 means as many as the plan finds cores for")                     \
    X(SMT, smt, BOOL, bool, "", "no", "", "runtime", "stable",                                     \
      "whether SMT siblings of a reactor's core may carry reactors too")                           \
    X(PIN, pin, WANT, enum plx_want, "", "require", "", "runtime", "stable",                       \
      "whether threads are pinned to their cores")                                                 \
    X(BACKEND, backend, ENUM, enum plx_backend_choice, "", "auto", "auto|uring|epoll", "runtime",  \
      "stable", "who does the I/O; auto means io_uring, and epoll where io_uring is refused")      \
    X(SQPOLL, sqpoll, ENUM, enum plx_sqpoll_choice, "", "auto", "auto|on|off", "runtime",          \
      "stable",                                                                                    \
      "whether cores are kept for kernel threads that submit the I/O; auto means on nodes with "   \
      "four usable cores or more")                                                                 \
    X(SQPOLL_CPUS, sqpoll_cpus, LIST, struct plx_cpu_set, "CPUs", "", "", "runtime", "stable",     \
      "CPUs for the SQPOLL threads; empty means as the plan finds")                                \
    X(SQPOLL_SHARE, sqpoll_share, COUNT, uint32_t, "reactors", "4", "1 to 16", "runtime",          \
      "stable", "how many reactors of a node share one SQPOLL thread at most")                     \
    X(SQPOLL_IDLE, sqpoll_idle, DURATION, uint64_t, "ns", "inf", "1ms to inf", "runtime",          \
      "stable", "how long an SQPOLL thread spins without work before it sleeps")                   \
    X(RING_ENTRIES, ring_entries, POW2, uint32_t, "entries", "1024", "16 to 32768", "reactor",     \
      "stable", "submission entries of a reactor's ring")                                          \
    X(FILE_WORKERS, file_workers, COUNT, uint32_t, "threads", "2", "1 to 64", "reactor",           \
      "stable", "threads that do a reactor's file operations on the epoll backend; io_uring "      \
      "needs none")                                                                                \
    X(HUGEPAGES_1G, hugepages_1g, WANT, enum plx_want, "", "no", "", "reactor", "stable",          \
      "whether an arena is made of reserved 1 GiB pages")                                          \
    X(HUGEPAGES_2M, hugepages_2m, WANT, enum plx_want, "", "try", "", "reactor", "stable",         \
      "whether an arena is made of reserved 2 MiB pages")                                          \
    X(THP, thp, WANT, enum plx_want, "", "try", "", "reactor", "stable",                           \
      "whether an arena is made of transparent huge pages")                                        \
    X(ARENA_SIZE, arena_size, SIZE, uint64_t, "bytes", "64M", "1M to 1T", "reactor", "stable",     \
      "memory of each reactor's arena")                                                            \
    X(PREFAULT, prefault, BOOL, bool, "", "yes", "", "reactor", "stable",                          \
      "whether an arena's pages are made present at set-up")                                       \
    X(MLOCK, mlock, WANT, enum plx_want, "", "try", "", "reactor", "stable",                       \
      "whether an arena is locked in memory")                                                      \
    X(MESH_SLOTS, mesh_slots, POW2, uint32_t, "slots", "256", "8 to 65536", "runtime", "stable",   \
      "messages of 64 bytes that the ring between each ordered pair of reactors holds")            \
    X(PORTS, ports, COUNT, uint32_t, "ports", "16", "0 to 256", "runtime", "stable",               \
      "ports, for threads that are no reactors, that may exist at a time")                         \
    X(HOT_MAX, hot_max, COUNT, uint32_t, "sockets", "4", "0 to 64", "reactor", "stable",           \
      "sockets that a reactor reads in every turn at most; each costs one system call a turn")     \
    X(IDLE, idle, ENUM, enum plx_idle, "", "auto", "auto|spin|yield|adaptive|block", "reactor",    \
      "stable",                                                                                    \
      "what a reactor does in a turn without work; adaptive spins and then sleeps, block sleeps "  \
      "at once; auto means spin, and adaptive where it has no CPU to itself")                      \
    X(SPIN_TIME, spin_time, DURATION, uint64_t, "ns", "50us", "0 to inf", "reactor", "stable",     \
      "how long a reactor that is adaptive spins without work before it sleeps")                   \
    X(STALL_THRESHOLD, stall_threshold, DURATION, uint64_t, "ns", "500us", "1us to inf",           \
      "reactor", "stable", "a turn longer than this is counted as a stall")                        \
    X(STALL_REPORT, stall_report, DURATION, uint64_t, "ns", "50ms", "1ms to inf", "runtime",       \
      "stable",                                                                                    \
      "a reactor that has been in one turn for so long is told to the log with a backtrace, and "  \
      "again at twice that, four times that and so on; inf for never")                             \
    X(TASK_STACK, task_stack, SIZE, uint64_t, "bytes", "64K", "16K to 64M", "reactor", "stable",   \
      "stack of each task; its memory is taken as deep as it is used")                             \
    X(TASKS_MAX, tasks_max, COUNT, uint32_t, "tasks", "1024", "1 to 16384", "reactor", "stable",   \
      "tasks of a reactor at most, those included that ended and were not joined")                 \
    X(LOG, log, ENUM, enum plx_log_level, "", "warn", "off|error|warn|info|debug", "runtime",      \
      "stable", "the least severe message that the log callback is given")                         \
    X(STRICT, strict, BOOL, bool, "", "no", "", "runtime", "stable",                               \
      "whether an unknown POLLUX_ variable is an error rather than a warning")

/* --- types ---------------------------------------------------------------------------------- */

/* Names a row of the table: PLX_SETTING_CPUS … */
enum plx_setting_id {
#define PLX__SETTING_ID(ID, ...) PLX_SETTING_##ID,
    PLX_SETTINGS_TABLE(PLX__SETTING_ID)
#undef PLX__SETTING_ID
        PLX_SETTING_COUNT
};

/* Who gave a value: from weak to strong. */
enum plx_setting_source { PLX_SOURCE_DEFAULT, PLX_SOURCE_APPLICATION, PLX_SOURCE_ENVIRONMENT };

enum plx_setting_type {
    PLX_TYPE_BOOL,
    PLX_TYPE_WANT,
    PLX_TYPE_ENUM,
    PLX_TYPE_SIZE,
    PLX_TYPE_DURATION,
    PLX_TYPE_COUNT,
    PLX_TYPE_POW2,
    PLX_TYPE_LIST
};

/*
 * The values: a field for each row, named by its key; sizes in bytes, durations in ns. Read the
 * fields, set them by plx_settings_set: only that checks, and remembers the source.
 */
struct plx_settings {
#define PLX__SETTING_FIELD(ID, key, TYPE, field_type, ...) field_type key;
    PLX_SETTINGS_TABLE(PLX__SETTING_FIELD)
#undef PLX__SETTING_FIELD
    uint8_t source[PLX_SETTING_COUNT]; /* enum plx_setting_source, by enum plx_setting_id */
};

/* A row of the table, for printers. All texts are static and none is NULL. */
struct plx_setting {
    const char *key;      /* arena_size */
    const char *variable; /* POLLUX_ARENA_SIZE */
    enum plx_setting_type type;
    const char *type_name;    /* bool, want, enum, size, duration, count, pow2, list */
    const char *unit;         /* of the field: bytes, ns, reactors …; empty where there is none */
    const char *default_text; /* 64M; empty for a list that restricts nothing */
    const char *range;        /* 1M to 1T, or auto|uring|epoll; empty where the type says it all */
    const char *expected;     /* a size from 1M to 1T */
    const char *scope;        /* runtime, reactor */
    const char *stability;    /* stable, experimental */
    const char *doc;          /* what it is for: one clause, no full stop */
};

/* --- lifecycle ------------------------------------------------------------------------------ */

/* Gives every setting its default. Needs no counterpart: the object owns nothing. */
PLX_API PLX_COLD void plx_settings_init(struct plx_settings *settings);

/*
 * Sets one value on behalf of the application. `name` is a key or a variable, in either case;
 * `text` is in the setting's notation; both are read before the return and not kept. A value that
 * the environment gave stays, though `text` is checked all the same.
 * Errors: -ENOENT, no such setting, and the diag proposes the nearest; -EINVAL, a bad value, and
 * the diag names setting, value and what was expected. On an error nothing is changed.
 */
PLX_API PLX_COLD int plx_settings_set(struct plx_settings *settings, const char *name,
                                      const char *text, struct plx_diag *diag) PLX_MUST_CHECK;

/*
 * Takes every POLLUX_ variable of `environment`, an array of NAME=value that ends with NULL; NULL
 * stands for the process's own, which no other thread may change meanwhile. Of a name that occurs
 * twice the first counts, and names are case-sensitive, as with getenv(3). A program that runs with
 * raised privileges reads the same variables: none of them names a file.
 *
 * An unknown POLLUX_ variable is reported to `warn` (NULL allowed) in one line with the nearest
 * name, at most PLX_SETTINGS_WARNINGS_MAX of them; where `strict` is set, in this environment or
 * before by the application, the first is an error instead. What begins with POLLUX_TEST_ belongs
 * to test programs and is passed over.
 *
 * Errors: -EINVAL, a bad value; -ENOENT, an unknown variable under strict. The diag names the
 * variable, its value and what was expected. On an error all settings are unchanged.
 */
PLX_API PLX_COLD int plx_settings_load_env(struct plx_settings *settings, char *const *environment,
                                           struct plx_diag *diag, plx_text_fn warn,
                                           void *ctx) PLX_MUST_CHECK;

/* --- inspection ----------------------------------------------------------------------------- */

/*
 * Writes a value as text that reads back to the same value; PLX_SETTING_TEXT_BYTES always suffice.
 * Returns the length without the terminator. Errors: -ENOSPC, the buffer is too small (it then
 * holds the empty text, if it holds anything); -EINVAL, a field holds what no text stands for.
 */
PLX_API PLX_COLD int plx_settings_format(const struct plx_settings *settings,
                                         enum plx_setting_id id, char *text, size_t bytes);

/* `auto`, `spin`, `yield`, `adaptive` or `block`; "?" for anything else. Static. */
PLX_API PLX_COLD const char *plx_idle_name(enum plx_idle idle);

/* The row of a setting. Static; never NULL. `id` must be below PLX_SETTING_COUNT. */
PLX_API PLX_COLD const struct plx_setting *plx_setting_describe(enum plx_setting_id id);

/*
 * The id of a key or variable, in either case. Errors: -ENOENT, there is none.
 */
PLX_API PLX_COLD int plx_setting_find(const char *name);

/* `default`, `application` or `environment`. Static. */
PLX_API PLX_COLD const char *plx_setting_source_name(enum plx_setting_source source);

/*
 * The effective settings as an aligned table: a line of headings, then one line a setting with
 * variable, value, source, and what may be set.
 */
PLX_API PLX_COLD void plx_settings_explain(const struct plx_settings *settings, plx_text_fn sink,
                                           void *ctx);

/*
 * The same as lines of JSON: one object whose members are the keys, each an object with value,
 * default, source, type, unit, range, scope, stability and doc; all are texts, values in the
 * settings' notation.
 */
PLX_API PLX_COLD void plx_settings_explain_json(const struct plx_settings *settings,
                                                plx_text_fn sink, void *ctx);

PLX_EXTERN_C_END

#endif
