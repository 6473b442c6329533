/* SPDX-License-Identifier: MIT */
/*
 * Features of the kernel's io_uring: which there are, whether Pollux asks for them, whether this
 * kernel has them, and what it does without. `pollux topo --features` prints them.
 *
 * Words. A feature is *asked for* when a reactor with these settings would ask the kernel for it;
 * *got* when the kernel grants it, which is found out by asking on rings made for that alone.
 * What a reactor really runs with, plx_reactor_caps tells.
 *
 * Threads: any.
 */
#ifndef POLLUX_FEATURES_H
#define POLLUX_FEATURES_H

#include "alloc/base.h"
#include "runtime/settings/settings.h"

PLX_EXTERN_C_BEGIN

enum plx_feature_asked {
    PLX_FEATURE_ASKED,     /* yes */
    PLX_FEATURE_NOT_ASKED, /* no: the settings don't want it, or a better one is there */
    PLX_FEATURE_UNUSED     /* Pollux has no use for it */
};

/* One row; all texts are static. */
struct plx_feature {
    const char *name;  /* as the kernel's, without its prefix: "MULTISHOT_RECV" */
    const char *since; /* the first kernel that has it: "6.0" */
    enum plx_feature_asked asked;
    int got;             /* 0: the kernel has it; else negative errno: its answer */
    const char *instead; /* what Pollux does where it does without */
    const char *unasked; /* with PLX_FEATURE_NOT_ASKED: why */
};

/* `feature` is borrowed until return. */
typedef void (*plx_feature_fn)(const struct plx_feature *feature, void *ctx);

/*
 * Probes each feature once, on rings that are gone when it returns, and hands the rows to `fn` in
 * a fixed order; the first is io_uring itself. `settings` NULL: the defaults. Where io_uring is
 * refused all rows come just the same, with that refusal. Cost: set-up; milliseconds, some memory
 * that is locked for a moment, and an SQ thread that lives as long. Returns 0, or the negative
 * errno with which io_uring was refused, `diag` saying by which call.
 */
PLX_API int plx_features_probe(const struct plx_settings *settings, plx_feature_fn fn, void *ctx,
                               struct plx_diag *diag);

PLX_EXTERN_C_END

#endif
