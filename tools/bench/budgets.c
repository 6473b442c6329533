/* SPDX-License-Identifier: MIT */
/* What we promise of our figures, and whether it is kept here. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/bench/tables.h"

const struct plx_bench_budget plx_bench_budgets[] = {
    {"ring", "rtt_8B", "pollux/cells", "raw", 1.20},
    {"ring", "rtt_8B", "pollux/cells", "ck", 1.00},
    {"ring", "rtt_8B", "pollux/cells", "rte_ring", 1.00},
    {"ring", "items_8B_1024", "pollux/packed", "ck", 1.00},
    {"ring", "items_8B_1024", "pollux/packed", "boost", 1.00},
    {"ring", "items_8B_1024", "pollux/packed", "rwqueue", 1.00},
    {"ring", "items_8B_1024", "pollux/packed", "wfcqueue", 1.00},
    {"ring", "items_8B_1024", "pollux/packed", "rte_ring", 1.00},
    /* One and a half times as many. */
    {"ring", "items_8B_1024_b32", "pollux/packed", "ck", 1 / 1.5},
    {"ring", "items_8B_1024_b32", "pollux/packed", "boost", 1 / 1.5},
    {"ring", "items_8B_1024_b32", "pollux/packed", "rwqueue", 1 / 1.5},
    {"ring", "items_8B_1024_b32", "pollux/packed", "wfcqueue", 1 / 1.5},
    {"ring", "items_8B_1024_b32", "pollux/packed", "rte_ring", 1 / 1.5},
    {"ring", "items_48B_1024", "pollux/cells", "ck", 1.00},
    {"ring", "items_48B_1024", "pollux/cells", "boost", 1.00},
    {"ring", "items_48B_1024", "pollux/cells", "rwqueue", 1.00},
    {"ring", "items_48B_1024", "pollux/cells", "wfcqueue", 1.00},
    {"ring", "items_48B_1024", "pollux/cells", "rte_ring", 1.00},
    {"mesh", "rtt_call_8B", "pollux", "pollux/cells", 2.00},
    {"mesh", "idle_turn_4", "pollux", NULL, 60},
    {"uring", "publish_1", "pollux", "liburing", 1.10},
    {"uring", "publish_32", "pollux", NULL, 40},
    {"uring", "idle_turn", "pollux", NULL, 60},
    {"uring", "idle_turn_sqpoll", "pollux", NULL, 60},
    {"uring", "poll_128", "pollux", NULL, 2000},
    {"uring", "cancel", "pollux", NULL, 60},
    {"uring", "nop_defer", "pollux", "liburing", 1.10},
    {"uring", "nop_sqpoll", "pollux", "liburing", 1.10},
    {"uring", "histogram_record", "pollux", NULL, 10},
    {"tcp", "rtt_64B", "pollux", "raw", 1.05},
    {"tcp", "rtt_64B", "pollux", "epoll", 0.92},
    {"tcp", "rate_1", "pollux", "epoll", 1.00},
    {"tcp", "rate_1", "pollux", "libuv", 1.00},
    {"tcp", "rate_50", "pollux", "epoll", 1.00},
    {"tcp", "rate_50", "pollux", "libuv", 1.00},
    {"tcp", "rate_300", "pollux", "epoll", 1.00},
    {"tcp", "rate_300", "pollux", "libuv", 1.00},
    /* Half of the best of the three is half of each. */
    {"pool", "one_4K", "pollux", NULL, 10},
    {"pool", "one_4K", "pollux", "malloc", 0.50},
    {"pool", "one_4K", "pollux", "mimalloc", 0.50},
    {"pool", "one_4K", "pollux", "jemalloc", 0.50},
    {"pool", "one_64K", "pollux", NULL, 10},
    {"pool", "one_64K", "pollux", "malloc", 0.50},
    {"pool", "one_64K", "pollux", "mimalloc", 0.50},
    {"pool", "one_64K", "pollux", "jemalloc", 0.50},
    {"pool", "held64_4K", "pollux", NULL, 10},
    {"pool", "held64_4K", "pollux", "malloc", 0.50},
    {"pool", "held64_4K", "pollux", "mimalloc", 0.50},
    {"pool", "held64_4K", "pollux", "jemalloc", 0.50},
    {"pool", "held64_64K", "pollux", NULL, 10},
    {"pool", "held64_64K", "pollux", "malloc", 0.50},
    {"pool", "held64_64K", "pollux", "mimalloc", 0.50},
    {"pool", "held64_64K", "pollux", "jemalloc", 0.50},
    {"task", "switch", "pollux", "fcontext", 1.50},
    {"task", "spawn_exit", "pollux", NULL, 60},
    {"timer", "arm_disarm_0", "pollux", NULL, 20},
    {"timer", "arm_disarm_1K", "pollux", NULL, 20},
    {"timer", "arm_disarm_1M", "pollux", NULL, 20},
    {"file", "randread_4K_64", "pollux", "fio", 1.00},
    {"file", "randread_4K_64_cpu", "pollux", "fio", 0.90},
    {"file", "copy_256M", "pollux", "cp", 0.80},
    {"file", "copy_256M", "pollux", "dd", 0.90},
    {"file", "copy_1G", "pollux", "cp", 0.80},
    {"file", "copy_1G", "pollux", "dd", 0.90},
};

const uint32_t plx_bench_budget_count = sizeof(plx_bench_budgets) / sizeof(plx_bench_budgets[0]);

const struct plx_bench_budget *plx_bench_find_budget(const struct plx_bench_row *subject,
                                                     const struct plx_bench_row *peer)
{
    for (uint32_t i = 0; i < plx_bench_budget_count; i++) {
        const struct plx_bench_budget *budget = &plx_bench_budgets[i];
        if (strcmp(budget->bench, subject->bench) != 0 ||
            strcmp(budget->case_name, subject->case_name) != 0 ||
            strcmp(budget->subject, subject->subject) != 0)
            continue;
        if (peer == NULL ? budget->peer == NULL
                         : budget->peer != NULL && strcmp(budget->peer, peer->subject) == 0)
            return budget;
    }
    return NULL;
}

static const struct plx_bench_row *
find_row(const struct plx_bench *bench, const struct plx_bench_budget *budget, const char *subject)
{
    for (uint32_t i = 0; i < bench->row_count; i++) {
        const struct plx_bench_row *row = &bench->rows[i];
        if (strcmp(row->bench, budget->bench) == 0 &&
            strcmp(row->case_name, budget->case_name) == 0 && strcmp(row->subject, subject) == 0)
            return row;
    }
    return NULL;
}

/* Sets what a budget is of: a figure, or the ratio of rounds. Not NULL: why there is none. */
static const char *measure(const struct plx_bench_row *row, const struct plx_bench_row *peer,
                           double *figure)
{
    struct plx_bench_ratio ratio = {.mid = row->p50};
    if (!row->has)
        return row->why;
    if (peer != NULL && !peer->has)
        return peer->why;
    if (peer != NULL && !plx_bench_row_ratio(row, peer, &ratio))
        return "there is no round in which both ran";
    *figure = ratio.mid;
    return NULL;
}

/* Whether what was measured for it is of a row that says so of itself. */
static bool is_doubtful(const struct plx_bench_row *row, const struct plx_bench_row *peer)
{
    return plx_bench_marks(row)[0] != '\0' || (peer != NULL && plx_bench_marks(peer)[0] != '\0');
}

/* The last two columns: what was measured, and the verdict. */
static void judge(struct plx_cli_table *table, const struct plx_bench_budget *budget,
                  const struct plx_bench_row *row, const struct plx_bench_row *peer)
{
    double figure = NAN;
    const char *why = measure(row, peer, &figure);
    if (why != NULL) {
        plx_cli_table_add(table, "%s", "");
        plx_cli_table_add(table, "not measured: %s", why);
        return;
    }
    bool rate = row->unit != PLX_BENCH_NS;
    double beyond = rate ? budget->limit / figure - 1 : figure / budget->limit - 1;
    if (budget->peer != NULL)
        plx_cli_table_add(table, "%.3f (%.4g / %.4g %s)", figure, row->p50, peer->p50,
                          rate ? "per s" : "ns");
    else
        plx_cli_table_add(table, "%.1f ns", figure);
    const char *doubt = is_doubtful(row, peer) ? ", in doubt" : "";
    if (beyond <= 0)
        plx_cli_table_add(table, "met%s", doubt);
    else
        plx_cli_table_add(table, "missed by %.1f %%%s", 100 * beyond, doubt);
}

void plx_bench_print_verdict(const struct plx_bench *bench)
{
    struct plx_cli_table table;
    uint32_t lines = 0;
    plx_cli_table_init(&table, "lllll", bench->tables);
    static const char *const headings[] = {"case", "p50 of", "budget", "measured", "verdict"};
    for (size_t i = 0; i < sizeof(headings) / sizeof(headings[0]); i++)
        plx_cli_table_add(&table, "%s", headings[i]);
    for (uint32_t i = 0; i < plx_bench_budget_count; i++) {
        const struct plx_bench_budget *budget = &plx_bench_budgets[i];
        const struct plx_bench_row *row = find_row(bench, budget, budget->subject);
        const struct plx_bench_row *peer =
            budget->peer != NULL ? find_row(bench, budget, budget->peer) : NULL;
        if (row == NULL || (budget->peer != NULL && peer == NULL))
            continue;
        const char *sign = row->unit != PLX_BENCH_NS ? ">=" : "<=";
        plx_cli_table_add(&table, "%s %s", budget->bench, budget->case_name);
        plx_cli_table_add(&table, "%s%s%s", budget->subject, peer != NULL ? " / " : "",
                          peer != NULL ? budget->peer : "");
        plx_cli_table_add(&table, peer != NULL ? "%s %.2f" : "%s %.0f ns", sign, budget->limit);
        judge(&table, budget, row, peer);
        lines++;
    }
    if (lines != 0) {
        plx_cli_print(bench->tables, PLX_CLI_BOLD, "budgets");
        fputc('\n', bench->tables);
        if (plx_cli_table_print(&table, bench->tables, 2) < 0)
            plx_cli_error("pollux bench", "out of memory");
        fputc('\n', bench->tables);
    }
    plx_cli_table_fini(&table);
}

json_t *plx_bench_budgets_json(const struct plx_bench *bench)
{
    json_t *verdicts = json_array();
    for (uint32_t i = 0; i < plx_bench_budget_count; i++) {
        const struct plx_bench_budget *budget = &plx_bench_budgets[i];
        const struct plx_bench_row *row = find_row(bench, budget, budget->subject);
        const struct plx_bench_row *peer =
            budget->peer != NULL ? find_row(bench, budget, budget->peer) : NULL;
        if (row == NULL || (budget->peer != NULL && peer == NULL))
            continue;
        json_t *verdict =
            json_pack("{s:s,s:s,s:s,s:s?,s:f,s:s}", "bench", budget->bench, "case",
                      budget->case_name, "subject", budget->subject, "peer", budget->peer, "limit",
                      budget->limit, "at", row->unit != PLX_BENCH_NS ? "least" : "most");
        double figure = NAN;
        const char *why = measure(row, peer, &figure);
        bool has = why == NULL;
        bool met = row->unit != PLX_BENCH_NS ? figure >= budget->limit : figure <= budget->limit;
        json_object_set_new(verdict, "figure", has ? json_real(figure) : json_null());
        json_object_set_new(verdict, "met", has ? json_boolean(met) : json_null());
        json_object_set_new(verdict, "doubtful", json_boolean(has && is_doubtful(row, peer)));
        json_object_set_new(verdict, "reason", has ? json_null() : json_string(why));
        json_array_append_new(verdicts, verdict);
    }
    return verdicts;
}
