/* SPDX-License-Identifier: MIT */
/* Owning buffers, from the system and from a pool, and views; random operations beside a model. */
#include "alloc/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "alloc/buf_internal.h"
#include "alloc/view.h"
#include "test/alloc/faulty_pages.h"
#include "test/alloc/mem_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static const struct plx_pool_quota quota = {.blocks = {8, 4, 4, 2, 2, 2}};
static struct mem mem;
static struct plx_pool *source; /* of the buffers of a case: NULL is the system */

/* Blocks of before are not zero. */
static void soil_pool(void)
{
    for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++) {
        for (void *block; quota.blocks[c] != 0 && mem_left(&mem, plx_pool_class_bytes(c)) > 0;) {
            block = plx_pool_acquire(&mem.pool, plx_pool_class_bytes(c));
            memset(block, 0x5a, plx_pool_class_bytes(c));
            *(void **)block = mem.drained;
            mem.drained = block;
        }
    }
    mem_refill(&mem);
}

static int set_up_system(void **state)
{
    (void)state;
    faulty_pages_reset();
    source = NULL;
    return mem_open(&mem, &quota, NULL);
}

static int set_up_pool(void **state)
{
    int rc = set_up_system(state);
    if (rc != 0)
        return rc;
    source = &mem.pool;
    soil_pool();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    const char *wrong = mem_close(&mem);
    if (wrong != NULL)
        print_message("%s\n", wrong);
    return wrong != NULL;
}

static void with_cap_of_odd_size_is_rounded_up(void **state)
{
    (void)state;
    struct plx_buf buf;
    assert_int_equal(plx_buf_with_cap(&buf, 5000, source), 0);
    assert_int_equal(buf.cap, 8192);
    assert_int_equal(buf.len, 0);
    assert_true(plx_is_aligned(buf.ptr));
    memset(buf.ptr, 7, buf.cap);
    plx_buf_fini(&buf);
    assert_null(buf.ptr);
    plx_buf_fini(&buf);
}

static void with_cap_of_nothing_is_refused(void **state)
{
    (void)state;
    struct plx_buf buf;
    memset(&buf, 1, sizeof(buf));
    assert_int_equal(plx_buf_with_cap(&buf, 0, source), -EINVAL);
    assert_null(buf.ptr);
    assert_int_equal(plx_buf_zeroed(&buf, 0, source), -EINVAL);
}

static void with_cap_beyond_the_address_space_is_out_of_memory(void **state)
{
    (void)state;
    struct plx_buf buf;
    assert_int_equal(plx_buf_with_cap(&buf, SIZE_MAX, NULL), -ENOMEM);
    assert_int_equal(plx_buf_with_cap(&buf, (size_t)1 << 60, NULL), -ENOMEM);
    assert_null(buf.ptr);
}

static void system_that_refuses_a_call_leaves_nothing_mapped(void **state)
{
    (void)state;
    struct plx_buf buf;
    faulty.map_small = -ENOMEM;
    assert_int_equal(plx__buf_map(&buf, 5000, &faulty_pages_calls), -ENOMEM);
    faulty_pages_reset();
    faulty.open = -EACCES;
    assert_int_equal(plx__buf_map(&buf, 5000, &faulty_pages_calls), -EACCES);
    assert_int_equal(faulty.mapped, 0);
    assert_null(buf.ptr);
    faulty_pages_reset();
    faulty.dontfork = -EINVAL;
    assert_int_equal(plx__buf_map(&buf, 5000, &faulty_pages_calls), -EINVAL);
    assert_int_equal(faulty.mapped, 0);
    assert_null(buf.ptr);
}

static void with_cap_from_a_pool_is_all_of_a_block(void **state)
{
    (void)state;
    struct plx_buf buf;
    assert_int_equal(plx_buf_with_cap(&buf, 10000, source), 0);
    assert_int_equal(buf.cap, 16384);
    assert_true(plx_is_aligned(buf.ptr));
    assert_ptr_equal(buf.pool, source);
    assert_int_equal(mem_in_use(&mem), 1);
    plx_buf_fini(&buf);
    assert_int_equal(mem_in_use(&mem), 0);
    assert_null(buf.pool);
}

static void with_cap_of_more_than_a_block_is_an_error(void **state)
{
    (void)state;
    struct plx_buf buf;
    assert_int_equal(plx_buf_with_cap(&buf, 131072, source), 0);
    plx_buf_fini(&buf);
    assert_int_equal(plx_buf_with_cap(&buf, 131073, source), -EMSGSIZE);
    assert_null(buf.ptr);
    assert_int_equal(plx_buf_zeroed(&buf, PLX_POOL_BLOCK_MAX + 1, source), -EMSGSIZE);
    assert_int_equal(plx_buf_with_cap(&buf, SIZE_MAX, source), -EMSGSIZE);
    assert_null(buf.ptr);
}

static int call_with_cap(const struct plx_buf *from, struct plx_buf *out)
{
    (void)from;
    return plx_buf_with_cap(out, 100, source);
}

static int call_zeroed(const struct plx_buf *from, struct plx_buf *out)
{
    (void)from;
    return plx_buf_zeroed(out, 100, source);
}

static int call_page(const struct plx_buf *from, struct plx_buf *out)
{
    (void)from;
    return plx_buf_page(out, source);
}

static void dry_pool_fails_each_call_once_and_for_ever(void **state)
{
    (void)state;
    int (*const calls[])(const struct plx_buf *, struct plx_buf *) = {
        call_with_cap, call_zeroed, call_page, plx_buf_clone};
    for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
        struct plx_buf from;
        struct plx_buf buf;
        assert_int_equal(plx_buf_page(&from, source), 0);
        mem_drain(&mem, PLX_PAGE, 0);
        uint32_t in_use = mem_in_use(&mem);
        for (int again = 0; again < 3; again++) {
            memset(&buf, 1, sizeof(buf));
            assert_int_equal(calls[i](&from, &buf), -ENOMEM);
            assert_null(buf.ptr);
            assert_int_equal(buf.cap, 0);
            assert_int_equal(mem_in_use(&mem), in_use);
        }
        mem_refill_one(&mem);
        assert_int_equal(calls[i](&from, &buf), 0);
        plx_buf_fini(&buf);
        plx_buf_fini(&from);
        mem_refill(&mem);
        assert_int_equal(mem_in_use(&mem), 0);
    }
}

static void zeroed_is_zero_and_full(void **state)
{
    (void)state;
    struct plx_buf buf;
    assert_int_equal(plx_buf_zeroed(&buf, 10000, source), 0);
    assert_int_equal(buf.len, 10000);
    assert_int_equal(buf.cap, source == NULL ? 12288 : 16384);
    for (size_t i = 0; i < buf.cap; i++)
        assert_int_equal(buf.ptr[i], 0);
    plx_buf_fini(&buf);
}

static long resident_pages(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long total = 0;
    long resident = 0;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &total, &resident), 2);
    fclose(file);
    return resident;
}

static void zeroed_touches_no_page(void **state)
{
    (void)state;
    struct plx_buf buf;
    long before = resident_pages();
    assert_int_equal(plx_buf_zeroed(&buf, (size_t)256 << 20, source), 0);
    assert_true(resident_pages() - before < 1024);
    plx_buf_fini(&buf);
}

static void page_is_one_page_of_zeros(void **state)
{
    (void)state;
    struct plx_buf buf;
    assert_int_equal(plx_buf_page(&buf, source), 0);
    assert_int_equal(buf.len, PLX_PAGE);
    assert_int_equal(buf.cap, PLX_PAGE);
    plx_buf_fini(&buf);
}

static void extend_appends_and_never_grows(void **state)
{
    (void)state;
    struct plx_buf buf;
    struct plx_diag diag = {0};
    assert_int_equal(plx_buf_with_cap(&buf, PLX_PAGE, source), 0);
    assert_int_equal(plx_buf_extend(&buf, "hello", 5, NULL), 0);
    assert_int_equal(plx_buf_extend(&buf, " world", 6, NULL), 0);
    assert_int_equal(plx_buf_extend(&buf, NULL, 0, NULL), 0);
    assert_memory_equal(buf.ptr, "hello world", 11);

    static const char page[PLX_PAGE];
    assert_int_equal(plx_buf_extend(&buf, page, PLX_PAGE - 10, &diag), -EOVERFLOW);
    assert_int_equal(diag.code, -EOVERFLOW);
    assert_non_null(strstr(diag.text, "4086 bytes are needed"));
    assert_non_null(strstr(diag.text, "capacity is 4096"));
    assert_int_equal(buf.len, 11);
    assert_int_equal(plx_buf_extend(&buf, page, SIZE_MAX, NULL), -EOVERFLOW);
    assert_int_equal(plx_buf_extend(&buf, page, PLX_PAGE - 11, NULL), 0);
    assert_int_equal(plx_buf_extend(&buf, page, 1, NULL), -EOVERFLOW);
    plx_buf_fini(&buf);
}

static void truncate_never_grows(void **state)
{
    (void)state;
    struct plx_buf buf;
    assert_int_equal(plx_buf_zeroed(&buf, 100, source), 0);
    plx_buf_truncate(&buf, 200);
    assert_int_equal(buf.len, 100);
    plx_buf_truncate(&buf, 10);
    assert_int_equal(buf.len, 10);
    plx_buf_clear(&buf);
    assert_int_equal(buf.len, 0);
    assert_int_equal(buf.cap, PLX_PAGE);
    plx_buf_fini(&buf);
}

static void set_len_stays_within_the_capacity(void **state)
{
    (void)state;
    struct plx_buf buf;
    assert_int_equal(plx_buf_with_cap(&buf, PLX_PAGE, source), 0);
    assert_int_equal(plx_buf_set_len(&buf, PLX_PAGE), 0);
    assert_int_equal(plx_buf_set_len(&buf, PLX_PAGE + 1), -EOVERFLOW);
    assert_int_equal(buf.len, PLX_PAGE);
    plx_buf_fini(&buf);
}

static void clone_keeps_content_length_and_capacity(void **state)
{
    (void)state;
    struct plx_buf buf;
    struct plx_buf copy;
    assert_int_equal(plx_buf_with_cap(&buf, 8192, source), 0);
    assert_int_equal(plx_buf_extend(&buf, "abc", 3, NULL), 0);
    assert_int_equal(plx_buf_clone(&buf, &copy), 0);
    assert_int_equal(copy.len, 3);
    assert_int_equal(copy.cap, 8192);
    assert_ptr_not_equal(copy.ptr, buf.ptr);
    assert_memory_equal(copy.ptr, "abc", 3);
    plx_buf_fini(&copy);
    plx_buf_fini(&buf);

    assert_int_equal(plx_buf_clone(&buf, &copy), 0);
    assert_null(copy.ptr);
}

/* A pool that falls up has larger blocks to offer; the capacity is the original's all the same. */
static void clone_from_a_larger_class_keeps_the_capacity(void **state)
{
    (void)state;
    const struct plx_pool_opts opts = {.fall_up = true};
    struct mem up;
    struct plx_buf buf;
    struct plx_buf copy;
    assert_int_equal(mem_open(&up, &quota, &opts), 0);
    assert_int_equal(plx_buf_page(&buf, &up.pool), 0);
    mem_drain(&up, PLX_PAGE, 0);
    assert_int_equal(plx_buf_clone(&buf, &copy), 0);
    assert_int_equal(copy.cap, PLX_PAGE);
    assert_int_equal(copy.len, PLX_PAGE);
    struct plx_buf_parts parts = plx_buf_into_parts(&copy);
    assert_int_equal(plx_buf_from_parts(&copy, &parts), 0);
    plx_buf_fini(&copy);
    plx_buf_fini(&buf);
    assert_null(mem_close(&up));
}

/* In a child whose address space cannot grow. */
static void clone_without_address_space(void)
{
    const struct rlimit none = {0};
    struct plx_buf buf;
    struct plx_buf copy;
    if (plx_buf_zeroed(&buf, (size_t)1 << 20, NULL) != 0 || setrlimit(RLIMIT_AS, &none) != 0)
        _exit(1);
    int rc = plx_buf_clone(&buf, &copy);
    _exit(rc == -ENOMEM && copy.ptr == NULL ? 0 : 2);
}

static void clone_without_memory_is_an_error(void **state)
{
    (void)state;
    if (SANITIZED) {
        print_message("a sanitizer needs address space of its own\n");
        skip();
    }
    assert_int_equal(mem_in_child(clone_without_address_space), 0);
}

static struct plx_buf parents;

static void read_parents_page(void)
{
    int ends[2];
    if (pipe(ends) != 0)
        _exit(1);
    /* The kernel tells, so that nothing dies. */
    ssize_t rc = write(ends[1], parents.ptr, 1);
    _exit(rc == -1 && errno == EFAULT ? 0 : 2);
}

static void child_does_not_have_the_pages(void **state)
{
    (void)state;
    assert_int_equal(plx_buf_page(&parents, source), 0);
    assert_int_equal(mem_in_child(read_parents_page), 0);
    plx_buf_fini(&parents);
}

static void parts_make_up_the_buffer_again(void **state)
{
    (void)state;
    struct plx_buf buf;
    assert_int_equal(plx_buf_with_cap(&buf, 8192, source), 0);
    assert_int_equal(plx_buf_extend(&buf, "abc", 3, NULL), 0);
    struct plx_buf_parts parts = plx_buf_into_parts(&buf);
    assert_null(buf.ptr);
    plx_buf_fini(&buf);

    struct plx_buf_parts wrong = parts;
    wrong.ptr++;
    assert_int_equal(plx_buf_from_parts(&buf, &wrong), -EINVAL);
    wrong = parts;
    wrong.ptr = NULL;
    assert_int_equal(plx_buf_from_parts(&buf, &wrong), -EINVAL);
    wrong = parts;
    wrong.cap = 5000;
    assert_int_equal(plx_buf_from_parts(&buf, &wrong), -EINVAL);
    wrong = parts;
    wrong.len = wrong.cap + 1;
    assert_int_equal(plx_buf_from_parts(&buf, &wrong), -EINVAL);
    wrong = parts;
    wrong.cap = 0;
    wrong.len = 0;
    assert_int_equal(plx_buf_from_parts(&buf, &wrong), -EINVAL);
    assert_null(buf.ptr);

    assert_int_equal(plx_buf_from_parts(&buf, &parts), 0);
    assert_memory_equal(buf.ptr, "abc", 3);
    plx_buf_fini(&buf);
}

static void parts_that_are_no_block_of_the_pool_are_refused(void **state)
{
    (void)state;
    static PLX_ALIGNED(PLX_PAGE) uint8_t foreign[PLX_PAGE];
    struct plx_buf buf;
    assert_int_equal(plx_buf_with_cap(&buf, 8192, source), 0);
    struct plx_buf_parts parts = plx_buf_into_parts(&buf);
    struct plx_buf_parts wrong = parts;
    wrong.ptr += PLX_PAGE;
    wrong.cap = PLX_PAGE;
    assert_int_equal(plx_buf_from_parts(&buf, &wrong), -EINVAL);
    wrong = parts;
    wrong.cap += PLX_PAGE;
    assert_int_equal(plx_buf_from_parts(&buf, &wrong), -EINVAL);
    wrong.ptr = foreign;
    wrong.cap = PLX_PAGE;
    assert_int_equal(plx_buf_from_parts(&buf, &wrong), -EINVAL);
    assert_null(buf.ptr);
    assert_int_equal(plx_buf_from_parts(&buf, &parts), 0);
    plx_buf_fini(&buf);
}

static void view_checks_alignment_and_length(void **state)
{
    (void)state;
    struct plx_buf buf;
    struct plx_view view;
    assert_int_equal(plx_buf_zeroed(&buf, 16384, source), 0);
    assert_int_equal(plx_view_make(buf.ptr, 10, 16384, &view), 0);
    assert_int_equal(view.len, 10);
    assert_int_equal(plx_view_make(buf.ptr + 1, 0, 4096, &view), -EINVAL);
    assert_null(view.ptr);
    assert_int_equal(plx_view_make(NULL, 0, 4096, &view), -EINVAL);
    assert_int_equal(plx_view_make(buf.ptr, 4097, 4096, &view), -EINVAL);

    assert_int_equal(plx_view_make(buf.ptr, 0, 4096, &view), 0);
    assert_int_equal(plx_view_set_len(&view, 4096), 0);
    assert_int_equal(plx_view_set_len(&view, 4097), -EOVERFLOW);
    assert_int_equal(view.len, 4096);
    plx_buf_fini(&buf);
}

static void slices_are_read_targets_and_write_sources(void **state)
{
    (void)state;
    struct plx_buf buf;
    struct plx_view part;
    assert_int_equal(plx_buf_zeroed(&buf, 16384, source), 0);
    struct plx_view view = plx_buf_view(&buf);

    assert_int_equal(plx_view_slice(view, 4096, 8192, &part), 0);
    assert_ptr_equal(part.ptr, buf.ptr + 4096);
    assert_int_equal(part.len, 0);
    assert_int_equal(part.cap, 8192);
    assert_int_equal(plx_view_slice_data(view, 12288, 100, &part), 0);
    assert_int_equal(part.len, 100);
    assert_int_equal(part.cap, 100);
    assert_int_equal(plx_view_slice(view, 16384, 0, &part), 0);
    assert_int_equal(part.cap, 0);
    part = plx_view_slice_unchecked(view, 8192, 4096);
    assert_ptr_equal(part.ptr, buf.ptr + 8192);
    assert_int_equal(part.len, 0);
    part = plx_view_slice_data_unchecked(view, 8192, 4096);
    assert_int_equal(part.len, 4096);
    plx_buf_fini(&buf);

    view = plx_buf_view(&buf);
    assert_int_equal(plx_view_slice_data(view, 0, 0, &part), 0);
    assert_null(part.ptr);
    assert_int_equal(plx_view_slice(view, 0, 1, &part), -ERANGE);
}

static void slice_out_of_bounds_or_misaligned_is_an_error_in_every_build(void **state)
{
    (void)state;
    static const struct {
        size_t offset;
        size_t len;
        int rc;
    } wrong[] = {
        {1, 10, -EINVAL},          {512, 4096, -EINVAL},
        {4095, 1, -EINVAL},        {0, 16385, -ERANGE},
        {12288, 4097, -ERANGE},    {20480, 0, -ERANGE},
        {4096, SIZE_MAX, -ERANGE}, {SIZE_MAX & ~(size_t)4095, 8192, -ERANGE},
    };
    struct plx_buf buf;
    struct plx_view part;
    assert_int_equal(plx_buf_zeroed(&buf, 16384, source), 0);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct plx_view view = plx_buf_view(&buf);
        assert_int_equal(plx_view_slice(view, wrong[i].offset, wrong[i].len, &part), wrong[i].rc);
        assert_null(part.ptr);
        assert_int_equal(plx_view_slice_data(view, wrong[i].offset, wrong[i].len, &part),
                         wrong[i].rc);
        assert_int_equal(part.cap, 0);
    }
    plx_buf_fini(&buf);
}

static void view_of_data_ends_with_the_data(void **state)
{
    (void)state;
    struct plx_buf buf;
    assert_int_equal(plx_buf_with_cap(&buf, 8192, source), 0);
    assert_int_equal(plx_buf_extend(&buf, "abc", 3, NULL), 0);
    assert_int_equal(plx_buf_view(&buf).cap, 8192);
    assert_int_equal(plx_buf_view(&buf).len, 3);
    assert_int_equal(plx_buf_view_data(&buf).cap, 3);
    assert_int_equal(plx_buf_view_data(&buf).len, 3);
    plx_buf_fini(&buf);
}

static void frames_part_the_buffer(void **state)
{
    (void)state;
    struct plx_buf buf;
    struct plx_view frame;
    assert_int_equal(plx_buf_zeroed(&buf, 9 * PLX_PAGE, source), 0);
    assert_int_equal(plx_buf_frames(&buf, PLX_PAGE), 9);
    assert_int_equal(plx_buf_frames(&buf, 2 * PLX_PAGE), 4);
    assert_int_equal(plx_buf_frames(&buf, 0), 0);
    assert_int_equal(plx_buf_frames(&buf, 100), 0);
    assert_int_equal(plx_buf_frame(&buf, 2 * PLX_PAGE, 3, &frame), 0);
    assert_ptr_equal(frame.ptr, buf.ptr + 6 * PLX_PAGE);
    assert_int_equal(frame.len, 0);
    assert_int_equal(frame.cap, 2 * PLX_PAGE);
    assert_int_equal(plx_buf_frame(&buf, 2 * PLX_PAGE, 4, &frame), -ERANGE);
    assert_null(frame.ptr);
    assert_int_equal(plx_buf_frame(&buf, 100, 0, &frame), -EINVAL);
    assert_int_equal(plx_buf_frame(&buf, PLX_PAGE, SIZE_MAX, &frame), -ERANGE);
    plx_buf_fini(&buf);
}

/* A file in the build tree opened for direct I/O, or -1 where the file system refuses. */
static int open_direct(void)
{
    char path[] = "build-direct-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    close(fd);
    fd = open(path, O_RDWR | O_DIRECT);
    unlink(path);
    return fd;
}

static void direct_io_goes_through_every_frame(void **state)
{
    (void)state;
    int fd = open_direct();
    if (fd < 0) {
        print_message("the file system here refuses O_DIRECT\n");
        skip();
    }
    struct plx_buf out;
    struct plx_buf in;
    struct plx_view frame;
    assert_int_equal(plx_buf_zeroed(&out, 32 * PLX_PAGE, source), 0);
    assert_int_equal(plx_buf_zeroed(&in, 32 * PLX_PAGE, source), 0);
    for (size_t i = 0; i < out.cap; i++)
        out.ptr[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t i = 0; i < plx_buf_frames(&out, PLX_PAGE); i++) {
        assert_int_equal(plx_buf_frame(&out, PLX_PAGE, i, &frame), 0);
        assert_int_equal(pwrite(fd, frame.ptr, frame.cap, (off_t)(i * PLX_PAGE)), PLX_PAGE);
    }
    for (size_t i = 0; i < plx_buf_frames(&in, PLX_PAGE); i++) {
        assert_int_equal(plx_buf_frame(&in, PLX_PAGE, i, &frame), 0);
        assert_int_equal(pread(fd, frame.ptr, frame.cap, (off_t)(i * PLX_PAGE)), PLX_PAGE);
    }
    assert_memory_equal(out.ptr, in.ptr, out.cap);
    plx_buf_fini(&in);
    plx_buf_fini(&out);
    close(fd);
}

/* --- beside a model --------------------------------------------------------------------------- */

struct model {
    struct plx_buf buf;
    uint8_t *bytes;
    size_t len;
    size_t cap;
};

static void model_replace(struct model *m, uint64_t drawn)
{
    plx_buf_fini(&m->buf);
    size_t cap = 1 + drawn % 100000;
    bool zeroed = (drawn >> 20) % 2 == 0;
    int rc = zeroed ? plx_buf_zeroed(&m->buf, cap, source) : plx_buf_with_cap(&m->buf, cap, source);
    assert_int_equal(rc, 0);
    m->cap = plx_round_up(cap, PLX_PAGE);
    if (source != NULL)
        m->cap = plx_pool_class_bytes(plx_pool_class_index(cap));
    m->len = zeroed ? cap : 0;
    memset(m->bytes, 0, m->len);
}

static void model_clone(struct model *m)
{
    struct plx_buf copy;
    assert_int_equal(plx_buf_clone(&m->buf, &copy), 0);
    if (m->len != 0)
        memset(m->buf.ptr, 0xee, m->len);
    plx_buf_fini(&m->buf);
    struct plx_buf_parts parts = plx_buf_into_parts(&copy);
    if (parts.ptr != NULL)
        assert_int_equal(plx_buf_from_parts(&m->buf, &parts), 0);
}

static void model_step(struct model *m, uint64_t *random)
{
    uint8_t data[6000];
    struct plx_view frame;
    uint64_t drawn = mem_random(random);
    size_t len = (drawn >> 8) % sizeof(data);

    switch (drawn % 8) {
    case 0:
        if (drawn % 64 == 0)
            model_replace(m, drawn >> 8);
        break;
    case 1:
        model_clone(m);
        break;
    case 2:
        plx_buf_truncate(&m->buf, len * 10);
        m->len = len * 10 < m->len ? len * 10 : m->len;
        break;
    case 3:
        if (drawn % 128 == 3) {
            plx_buf_clear(&m->buf);
            m->len = 0;
        }
        break;
    case 4:
        /* What lies behind is whatever was there: only shortening can be compared. */
        if (len * 40 > m->cap)
            assert_int_equal(plx_buf_set_len(&m->buf, len * 40), -EOVERFLOW);
        else if (len * 40 < m->len) {
            assert_int_equal(plx_buf_set_len(&m->buf, len * 40), 0);
            m->len = len * 40;
        }
        break;
    case 5:
        for (size_t i = 0; i < plx_buf_frames(&m->buf, 2 * PLX_PAGE); i++) {
            assert_int_equal(plx_buf_frame(&m->buf, 2 * PLX_PAGE, i, &frame), 0);
            assert_ptr_equal(frame.ptr, m->buf.ptr + i * 2 * PLX_PAGE);
        }
        assert_int_equal(plx_buf_frames(&m->buf, 2 * PLX_PAGE), m->cap / (2 * PLX_PAGE));
        break;
    default:
        mem_fill_random(random, data, len);
        int rc = plx_buf_extend(&m->buf, data, len, NULL);
        assert_int_equal(rc, m->len + len > m->cap ? -EOVERFLOW : 0);
        if (rc == 0 && len != 0)
            memcpy(m->bytes + m->len, data, len);
        m->len += rc == 0 ? len : 0;
    }
}

static void random_operations_agree_with_a_model(void **state)
{
    (void)state;
    struct model m = {.bytes = malloc((size_t)1 << 20)};
    uint64_t random = mem_seed();
    assert_non_null(m.bytes);
    for (int step = 0; step < 20000; step++) {
        model_step(&m, &random);
        assert_int_equal(m.buf.len, m.len);
        assert_int_equal(m.buf.cap, m.cap);
        assert_true(plx_is_aligned(m.buf.ptr));
        if (m.len != 0)
            assert_memory_equal(m.buf.ptr, m.bytes, m.len);
        assert_int_equal(mem_in_use(&mem), source != NULL && m.buf.ptr != NULL);
    }
    plx_buf_fini(&m.buf);
    free(m.bytes);
}

int main(void)
{
#define SYSTEM(name) {#name, name, set_up_system, tear_down, NULL}
#define POOL(name) {#name "/pool", name, set_up_pool, tear_down, NULL}
    const struct CMUnitTest tests[] = {
        SYSTEM(with_cap_of_odd_size_is_rounded_up),
        POOL(with_cap_of_odd_size_is_rounded_up),
        SYSTEM(with_cap_of_nothing_is_refused),
        POOL(with_cap_of_nothing_is_refused),
        SYSTEM(with_cap_beyond_the_address_space_is_out_of_memory),
        SYSTEM(system_that_refuses_a_call_leaves_nothing_mapped),
        POOL(with_cap_from_a_pool_is_all_of_a_block),
        POOL(with_cap_of_more_than_a_block_is_an_error),
        POOL(dry_pool_fails_each_call_once_and_for_ever),
        SYSTEM(zeroed_is_zero_and_full),
        POOL(zeroed_is_zero_and_full),
        SYSTEM(zeroed_touches_no_page),
        SYSTEM(page_is_one_page_of_zeros),
        POOL(page_is_one_page_of_zeros),
        SYSTEM(extend_appends_and_never_grows),
        POOL(extend_appends_and_never_grows),
        SYSTEM(truncate_never_grows),
        SYSTEM(set_len_stays_within_the_capacity),
        SYSTEM(clone_keeps_content_length_and_capacity),
        POOL(clone_keeps_content_length_and_capacity),
        POOL(clone_from_a_larger_class_keeps_the_capacity),
        SYSTEM(clone_without_memory_is_an_error),
        SYSTEM(child_does_not_have_the_pages),
        SYSTEM(parts_make_up_the_buffer_again),
        POOL(parts_make_up_the_buffer_again),
        POOL(parts_that_are_no_block_of_the_pool_are_refused),
        SYSTEM(view_checks_alignment_and_length),
        SYSTEM(slices_are_read_targets_and_write_sources),
        POOL(slices_are_read_targets_and_write_sources),
        SYSTEM(slice_out_of_bounds_or_misaligned_is_an_error_in_every_build),
        SYSTEM(view_of_data_ends_with_the_data),
        SYSTEM(frames_part_the_buffer),
        SYSTEM(direct_io_goes_through_every_frame),
        POOL(direct_io_goes_through_every_frame),
        SYSTEM(random_operations_agree_with_a_model),
        POOL(random_operations_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
