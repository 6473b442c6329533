/* SPDX-License-Identifier: MIT */
/* The part of pollux topo that tells of the kernel's io_uring. */
#ifndef POLLUX_TOOLS_TOPO_FEATURES_H
#define POLLUX_TOOLS_TOPO_FEATURES_H

#include <jansson.h>

#include "runtime/settings/settings.h"

/* Prints the features, as a table or as JSON; returns an exit status. */
int plx_topo_features(const char *name, const struct plx_settings *settings, bool json);

/* The features as an object; NULL: no memory. */
json_t *plx_topo_features_to_json(const struct plx_settings *settings);

/*
 * Appends `item` and returns `array`. A constructor that fails gives NULL, which the one that takes
 * it passes on: either being NULL gives NULL, and nothing is lost.
 */
json_t *plx_topo_append(json_t *array, json_t *item);

#endif
