/* SPDX-License-Identifier: MIT */
/*
 * A table of page calls for tests: each call goes to Linux unless `faulty` says otherwise, so that
 * a test makes the machine that it needs. Also counts what is mapped, to see that nothing leaks.
 */
#ifndef POLLUX_TEST_FAULTY_PAGES_H
#define POLLUX_TEST_FAULTY_PAGES_H

#include "alloc/pages_internal.h"

/* For the codes below: do nothing and succeed. */
#define FAULTY_PRETEND 1

struct faulty_pages {
    /* 0: ask Linux. Negative: return this. FAULTY_PRETEND: succeed without asking. */
    int map_hugetlb; /* FAULTY_PRETEND: base pages stand in for hugetlb pages */
    int map_small;
    int open;
    int bind;
    int dontfork;
    int hugepage;
    int populate;
    bool populate_once; /* after that, Linux is asked */
    int lock;
    int nodes_of;
    /* nodes_of: the answer for each page, instead of Linux's, when `answer_nodes`. */
    bool answer_nodes;
    int node_answer;
    /* nodes_of: this many further pages answer with node_answer + 1. */
    int off_pages;
    /* When set: what thp_bytes and memlock_limit return. */
    bool answer_thp, answer_limit;
    int64_t thp_answer, limit_answer;
    /* Contents of files; NULL: Linux's; "" : the file is missing. */
    const char *has_memory, *meminfo, *thp_enabled, *hugetlb_free;

    /* Counted by the table. */
    int mapped; /* mappings not yet unmapped */
    int binds, nohugepages, unlocks;
    bool lock_on_fault;
    char last_path[128]; /* of the free hugepages or the meminfo that was read */
};

extern struct faulty_pages faulty;
extern const struct plx__pages_calls faulty_pages_calls;

/* Everything goes to Linux again, and the counts begin anew. */
void faulty_pages_reset(void);

#endif
