/* SPDX-License-Identifier: MIT */
/*
 * On a machine of several nodes: the rows of `pollux bench` are of the cores and nodes that the
 * kernel knows, one for each place there is. No figure is looked at: such a machine is emulated.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "test/guest/nodes.h"
#include "test/tools/run_pollux.h"

#define RESULTS "/tmp/pollux-bench-places.json"

static struct plx_machine *machine;
static struct plx_run run;

/* Whether a row is without figures since all of its slices were discarded. */
static bool has_discarded(const json_t *root)
{
    size_t index;
    json_t *note;
    json_array_foreach(json_object_get(root, "null_rows"), index, note)
    {
        if (strstr(json_string_value(json_object_get(note, "reason")), "were discarded") != NULL)
            return true;
    }
    return false;
}

/* Runs the command with its results in a file, and returns their rows; *root is to be given back.
 */
static json_t *measure(const char *arguments, json_t **root)
{
    char line[256];
    json_error_t error;
    snprintf(line, sizeof(line), "pollux bench %s --quick --rounds 1 --json %s", arguments,
             RESULTS);
    plx_run_line(&run, line);
    /* What a person would see there, for those who read the guest's words. */
    fputs(run.out, stdout);
    fflush(stdout);
    *root = json_load_file(RESULTS, 0, &error);
    unlink(RESULTS);
    assert_non_null(*root);
    /* Where the emulator's own pauses spoiled all that was measured in a place, that is told. */
    plx_run_expect(&run, has_discarded(*root), "measured on cpu", NULL);
    return json_object_get(*root, "results");
}

static int number_of(const json_t *row, const char *key)
{
    json_t *value = json_object_get(row, key);
    return json_is_integer(value) ? (int)json_integer_value(value) : -1;
}

/* How many rows are of these two CPUs (-1: none, -2: any) and that node's memory. */
static uint32_t count_rows(const json_t *rows, const char *name, int cpu_a, int cpu_b, int mem_node)
{
    uint32_t count = 0;
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row)
    {
        count += strcmp(json_string_value(json_object_get(row, "case")), name) == 0 &&
                 (cpu_a == -2 || number_of(row, "cpu_a") == cpu_a) &&
                 (cpu_b == -2 || number_of(row, "cpu_b") == cpu_b) &&
                 number_of(row, "mem_node") == mem_node;
    }
    return count;
}

/* --- what is printed ------------------------------------------------------------------------- */

#define AXIS_MAX 16

/* A matrix as it is printed: the numbers along both axes, and what stands in the cells. */
struct matrix {
    uint32_t rows[AXIS_MAX];
    uint32_t columns[AXIS_MAX];
    uint32_t row_count;
    uint32_t column_count;
    char cells[AXIS_MAX][AXIS_MAX][16];
};

/* Copies the next word of a line and returns what is behind it; NULL: there is none. */
static const char *next_word(const char *at, char word[16])
{
    at += strspn(at, " ");
    size_t length = strcspn(at, " \n");
    if (length == 0)
        return NULL;
    assert_true(length < 16);
    memcpy(word, at, length);
    word[length] = '\0';
    return at + length;
}

/* Reads the matrix of a subject below the title of a case. */
static void read_matrix(const char *title, const char *subject, struct matrix *matrix)
{
    char text[64];
    char word[16];
    memset(matrix, 0, sizeof(*matrix));
    const char *at = strstr(run.out, title);
    assert_non_null(at);
    snprintf(text, sizeof(text), "\n  %s, p50", subject);
    at = strstr(at, text);
    if (at == NULL)
        fail_msg("no matrix of %s in %s", subject, run.out);
    at = strchr(at + 1, '\n') + 1;
    at = next_word(at, word); /* what the axes are of */
    for (const char *next; (next = next_word(at, word)) != NULL; at = next) {
        assert_true(matrix->column_count < AXIS_MAX);
        matrix->columns[matrix->column_count++] = (uint32_t)atoi(word);
    }
    for (;;) {
        at = strchr(at, '\n') + 1;
        const char *next = next_word(at, word);
        if (next == NULL || strspn(word, "0123456789") != strlen(word))
            return;
        at = next;
        assert_true(matrix->row_count < AXIS_MAX);
        matrix->rows[matrix->row_count] = (uint32_t)atoi(word);
        for (uint32_t j = 0; j < matrix->column_count; j++) {
            at = next_word(at, matrix->cells[matrix->row_count][j]);
            assert_non_null(at);
        }
        matrix->row_count++;
    }
}

/* Whether a cell shows the figure of a row, or that it has none, which is then told below. */
static void check_cell(const char *cell, const json_t *row)
{
    assert_non_null(row);
    const json_t *p50 = json_object_get(row, "p50");
    if (json_is_null(p50)) {
        assert_string_equal(cell, "-");
        assert_non_null(strstr(run.out, "\n  without figures: "));
        return;
    }
    double shown = strtod(cell, NULL);
    double figure = json_number_value(p50);
    assert_true(shown > 0.98 * figure - 0.01 && shown < 1.02 * figure + 0.01);
}

/* The row of these CPUs and that node's memory; cpu_b -1: of a node's core alone. */
static const json_t *find_row(const json_t *rows, const char *name, int cpu_a, int cpu_b,
                              int node_a, int mem_node)
{
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "case")), name) == 0 &&
            (cpu_a < 0 || number_of(row, "cpu_a") == cpu_a) && number_of(row, "cpu_b") == cpu_b &&
            (node_a < 0 || number_of(row, "node_a") == node_a) &&
            number_of(row, "mem_node") == mem_node)
            return row;
    }
    return NULL;
}

/* A line and a column for each core; where memory has two sides, it is near the line's core. */
static void check_pairs(const json_t *rows, const char *name, const char *subject)
{
    char title[64];
    struct matrix matrix;
    snprintf(title, sizeof(title), "c2c %s:", name);
    read_matrix(title, subject, &matrix);
    assert_int_equal(matrix.row_count, machine->cpu_count);
    assert_int_equal(matrix.column_count, machine->cpu_count);
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        int cpu = (int)machine->cpus[i].cpu;
        int near = (int)node_nearest_memory(machine, machine->cpus[i].node);
        assert_int_equal(matrix.rows[i], cpu);
        assert_int_equal(matrix.columns[i], cpu);
        assert_string_equal(matrix.cells[i][i], "-");
        for (uint32_t j = 0; j < machine->cpu_count; j++) {
            int other = (int)machine->cpus[j].cpu;
            if (j != i)
                check_cell(matrix.cells[i][j], find_row(rows, name, cpu < other ? cpu : other,
                                                        cpu < other ? other : cpu, -1, near));
        }
    }
}

/* Each row's nodes are those of its CPUs. */
static void check_nodes(const json_t *rows)
{
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row)
    {
        const struct plx_machine_cpu *a =
            plx_machine_cpu(machine, (uint32_t)number_of(row, "cpu_a"));
        assert_non_null(a);
        assert_int_equal(number_of(row, "node_a"), a->node);
        if (number_of(row, "cpu_b") < 0)
            continue;
        const struct plx_machine_cpu *b =
            plx_machine_cpu(machine, (uint32_t)number_of(row, "cpu_b"));
        assert_non_null(b);
        assert_int_equal(number_of(row, "node_b"), b->node);
        const char *relation = json_string_value(json_object_get(row, "relation"));
        if (relation != NULL)
            assert_int_equal(strcmp(relation, "cross") == 0, a->node != b->node);
        else
            assert_string_not_equal(json_string_value(json_object_get(row, "bench")), "c2c");
    }
}

static void c2c_has_a_row_for_each_pair_and_each_of_its_nodes(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows = measure("c2c --only rtt_line --only rtt_cells", &root);
    static const char *const names[] = {"rtt_line", "rtt_cells"};
    uint32_t expected = 0;
    check_nodes(rows);
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        for (uint32_t j = i + 1; j < machine->cpu_count; j++) {
            int near_a = (int)node_nearest_memory(machine, machine->cpus[i].node);
            int near_b = (int)node_nearest_memory(machine, machine->cpus[j].node);
            for (uint32_t k = 0; k < 2; k++) {
                int a = (int)machine->cpus[i].cpu;
                int b = (int)machine->cpus[j].cpu;
                assert_int_equal(count_rows(rows, names[k], a, b, near_a), 1);
                assert_int_equal(count_rows(rows, names[k], a, b, near_b), 1);
                expected += near_a == near_b ? 1 : 2;
            }
        }
    }
    assert_int_equal(json_array_size(rows), expected);
    check_pairs(rows, "rtt_line", "raw");
    check_pairs(rows, "rtt_cells", "pollux/cells");
    json_decref(root);
}

static const char *case_of(const json_t *rows, size_t index)
{
    return json_string_value(json_object_get(json_array_get(rows, index), "case"));
}

/* Rows of a case stand together, though nodes are measured one after the other. */
static void check_order(const json_t *rows)
{
    for (size_t i = 1; i < json_array_size(rows); i++) {
        bool begins = strcmp(case_of(rows, i - 1), case_of(rows, i)) != 0;
        for (size_t j = 0; begins && j < i; j++)
            assert_string_not_equal(case_of(rows, j), case_of(rows, i));
    }
}

static void mem_has_a_row_for_each_node_of_cores_and_of_memory(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows = measure("mem --size 2M --only chase_4K --only 'loaded*'", &root);
    uint32_t memories = 0;
    uint32_t cores = 0;
    check_nodes(rows);
    check_order(rows);
    for (uint32_t i = 0; i < machine->node_count; i++) {
        const struct plx_machine_node *node = &machine->nodes[i];
        cores += node->cpu_count != 0;
        memories += node_meminfo(node->node, "MemTotal") > 0;
    }
    uint32_t seen = 0;
    for (uint32_t i = 0; i < machine->node_count; i++) {
        uint32_t node = machine->nodes[i].node;
        uint32_t count = count_rows(rows, "chase_4K", -2, -1, (int)node);
        assert_int_equal(count, node_meminfo(node, "MemTotal") > 0 ? cores : 0);
        seen += count;
    }
    assert_int_equal(seen, cores * memories);
    struct matrix matrix;
    read_matrix("mem chase_4K:", "raw/4K", &matrix);
    assert_int_equal(matrix.row_count, cores);
    assert_int_equal(matrix.column_count, memories);
    for (uint32_t i = 0; i < cores; i++) {
        for (uint32_t j = 0; j < memories; j++)
            check_cell(matrix.cells[i][j], find_row(rows, "chase_4K", -1, -1, (int)matrix.rows[i],
                                                    (int)matrix.columns[j]));
    }
    size_t index;
    json_t *row;
    uint32_t loaded = 0;
    json_array_foreach(rows, index, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "case")), "loaded") != 0)
            continue;
        loaded++;
        assert_int_equal(number_of(row, "mem_node"),
                         node_nearest_memory(machine, (uint32_t)number_of(row, "node_a")));
    }
    assert_int_equal(loaded, 7 * cores);
    assert_int_equal(json_array_size(rows), cores * memories + 2 * loaded);
    json_decref(root);
}

static void jitter_has_a_row_and_a_line_for_each_core(void **state)
{
    (void)state;
    static const char *const subjects[] = {"raw", "pollux"};
    json_t *root;
    json_t *rows = measure("jitter --only gaps", &root);
    check_nodes(rows);
    assert_int_equal(json_array_size(rows), 2 * machine->cpu_count);
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        const struct plx_machine_cpu *cpu = &machine->cpus[i];
        assert_int_equal(count_rows(rows, "gaps", (int)cpu->cpu, -1, -1), 2);
        for (size_t j = 0; j < 2; j++) {
            char line[64];
            snprintf(line, sizeof(line), "\n  %-3u  %-4u  -       %-7s  ", cpu->cpu, cpu->node,
                     subjects[j]);
            if (strstr(run.out, line) == NULL)
                fail_msg("no line '%s' in %s", line + 1, run.out);
        }
    }
    json_decref(root);
}

/* A node with cores and memory of its own; the last one. */
static uint32_t whole_node(void)
{
    uint32_t at = machine->node_count - 1;
    while (machine->nodes[at].cpu_count == 0 ||
           node_meminfo(machine->nodes[at].node, "MemTotal") <= 0)
        at--;
    return machine->nodes[at].node;
}

static void nodes_that_are_named_are_all_that_is_measured(void **state)
{
    (void)state;
    json_t *root;
    char arguments[96];
    uint32_t node = whole_node();
    snprintf(arguments, sizeof(arguments), "mem --size 2M --only chase_4K --nodes %u", node);
    json_t *rows = measure(arguments, &root);
    check_nodes(rows);
    assert_int_equal(json_array_size(rows), 1);
    assert_int_equal(number_of(json_array_get(rows, 0), "node_a"), node);
    assert_int_equal(number_of(json_array_get(rows, 0), "mem_node"), node);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(c2c_has_a_row_for_each_pair_and_each_of_its_nodes),
        cmocka_unit_test(mem_has_a_row_for_each_node_of_cores_and_of_memory),
        cmocka_unit_test(jitter_has_a_row_and_a_line_for_each_core),
        cmocka_unit_test(nodes_that_are_named_are_all_that_is_measured),
    };
    machine = nodes_open();
    if (machine == NULL)
        return 77;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    plx_machine_destroy(machine);
    return failed;
}
