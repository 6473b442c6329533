/* SPDX-License-Identifier: MIT */
/*
 * Where memory really lies and threads may really run: asked of the kernel, not of Pollux, by the
 * programs that compare the two on a machine of several nodes.
 */
#ifndef POLLUX_TEST_NODES_H
#define POLLUX_TEST_NODES_H

#include <stddef.h>

#include "alloc/arena.h"
#include "runtime/place/machine.h"
#include "runtime/settings/settings.h"

#define MIB ((size_t)1 << 20)

/*
 * For main: reads the machine. Returns NULL, having said so, where fewer than two nodes have memory
 * or the kernel doesn't tell where pages lie: nothing could be shown there.
 */
struct plx_machine *nodes_open(void);

/* A file of a node below /sys/devices/system/node/nodeN/ as a number, or -1. */
long node_number(uint32_t node, const char *file);
/* A line `key` of the node's meminfo, in bytes; -1 when there is none. */
int64_t node_meminfo(uint32_t node, const char *key);
/* Free hugepages of 2 MiB (or 1 GiB) on the node. */
long node_pages_free(uint32_t node, size_t page_bytes);
/* The nearest node with memory by the kernel's distances; `node` itself when it has some. */
uint32_t node_nearest_memory(const struct plx_machine *machine, uint32_t node);
/* The highest number of any node, and one more. */
uint32_t node_absent(const struct plx_machine *machine);

/* The node of the page at `address`; negative errno: not taken, or not told. */
int page_node(const void *address);
/*
 * Asserts that each page that any of the bytes lies in is on `node`, `page_bytes` apart; `what`
 * names the thing in messages. Pages that are not taken fail, too.
 */
void expect_pages(const void *base, size_t bytes, size_t page_bytes, uint32_t node,
                  const char *what);

/* Runs the calling thread on a CPU of `node`; on any again for -1. False: the node has none. */
bool run_on_node(const struct plx_machine *machine, int node);

/* Takes 2 MiB pages of the node until there are none; nodes_refill gives them back. */
void node_drain(uint32_t node);
void node_refill(void);

/* Sets one of the settings; asserts that it works. */
void nodes_set(struct plx_settings *settings, const char *name, const char *text);

/* A plx_text_fn that prints. */
void print_line(const char *line, void *ctx);
/* A plx_text_fn that appends to an array of 8192 characters, lines ended. */
void keep_line(const char *line, void *ctx);

#endif
