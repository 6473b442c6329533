/* SPDX-License-Identifier: MIT */
/*
 * A view: memory for direct I/O that belongs to somebody else, passed by value.
 *
 * Words. A view's *capacity* is how many bytes may be written at its pointer; its *length* is how
 * many of them are filled. A *read target* is a part to be filled: length 0. A *write source* is a
 * part that is full: length = capacity. *Aligned* means that it begins at a multiple of PLX_PAGE,
 * as direct I/O asks; what it asks of lengths is the caller's to keep.
 *
 * Slices are checked in every build: out of bounds or misaligned is an error and no view. The
 * `_unchecked` forms are for callers that have made sure; they assert in debug builds.
 *
 * Threads: values; the memory is as shared as its owner makes it.
 */
#ifndef POLLUX_VIEW_H
#define POLLUX_VIEW_H

#include <errno.h>

#include "alloc/base.h"

PLX_EXTERN_C_BEGIN

/* Zeroed is the empty view. */
struct plx_view {
    uint8_t *ptr; /* aligned; NULL when empty */
    size_t len;   /* filled; at most cap */
    size_t cap;
};

/* Whether `ptr` is a multiple of PLX_PAGE. */
static inline bool plx_is_aligned(const void *ptr)
{
    return ((uintptr_t)ptr & (PLX_PAGE - 1)) == 0;
}

/*
 * A view of `cap` bytes at `ptr`, of which `len` are filled. Ownership: borrowed; the view must not
 * outlive the memory. Errors: -EINVAL `ptr` is NULL or not aligned, or `len` is above `cap`; *out
 * is empty then.
 */
static inline PLX_MUST_CHECK int plx_view_make(void *ptr, size_t len, size_t cap,
                                               struct plx_view *out)
{
    bool fits = ptr != NULL && plx_is_aligned(ptr) && len <= cap;
    out->ptr = fits ? (uint8_t *)ptr : NULL;
    out->len = fits ? len : 0;
    out->cap = fits ? cap : 0;
    return fits ? 0 : -EINVAL;
}

/* Says that `len` bytes are filled. Errors: -EOVERFLOW above the capacity; nothing is changed. */
static inline PLX_MUST_CHECK int plx_view_set_len(struct plx_view *view, size_t len)
{
    if (len > view->cap)
        return -EOVERFLOW;
    view->len = len;
    return 0;
}

/* Private: whether `offset` and `len` name a part that begins aligned and ends within bounds. */
static inline bool plx__view_holds(struct plx_view view, size_t offset, size_t len)
{
    return (offset & (PLX_PAGE - 1)) == 0 && offset <= view.cap && len <= view.cap - offset;
}

/* plx_view_slice for a caller who knows that it cannot fail. */
static inline struct plx_view plx_view_slice_unchecked(struct plx_view view, size_t offset,
                                                       size_t len)
{
    PLX_ASSERT_HOT(plx__view_holds(view, offset, len));
    struct plx_view part;
    /* C has no sum of NULL, the empty view's pointer, and 0. */
    part.ptr = offset != 0 ? view.ptr + offset : view.ptr;
    part.len = 0;
    part.cap = len;
    return part;
}

/* plx_view_slice_data for a caller who knows that it cannot fail. */
static inline struct plx_view plx_view_slice_data_unchecked(struct plx_view view, size_t offset,
                                                            size_t len)
{
    struct plx_view part = plx_view_slice_unchecked(view, offset, len);
    part.len = len;
    return part;
}

/*
 * The part of `len` bytes from `offset` on as a read target: length 0.
 * Shapes: `offset` a multiple of PLX_PAGE; the part lies within the capacity. Errors: -EINVAL
 * misaligned, -ERANGE out of bounds; *out is empty then.
 */
static inline PLX_MUST_CHECK int plx_view_slice(struct plx_view view, size_t offset, size_t len,
                                                struct plx_view *out)
{
    if (PLX_UNLIKELY(!plx__view_holds(view, offset, len))) {
        out->ptr = NULL;
        out->len = 0;
        out->cap = 0;
        return (offset & (PLX_PAGE - 1)) != 0 ? -EINVAL : -ERANGE;
    }
    *out = plx_view_slice_unchecked(view, offset, len);
    return 0;
}

/* The same part as a write source: length = capacity = `len`. Errors: as plx_view_slice. */
static inline PLX_MUST_CHECK int plx_view_slice_data(struct plx_view view, size_t offset,
                                                     size_t len, struct plx_view *out)
{
    int rc = plx_view_slice(view, offset, len, out);
    out->len = out->cap;
    return rc;
}

PLX_EXTERN_C_END

#endif
