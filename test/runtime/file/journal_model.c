/* SPDX-License-Identifier: MIT */
#include "test/runtime/file/journal_model.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/runtime.h"

#define FILES_MAX   5u /* the control file and four slots */
#define SEGMENT     ((uint64_t)16 << 10)
#define TURNS_MAX   20000000u
#define OTHER_SALT  7u
#define CHANGES_MAX 100u
#define KEPT        35u /* records of the template, and those in the same segments */

static struct {
    struct plx_runtime *runtime;
    struct plx_reactor *reactor;
    char folder[40];
    struct plx_journal journal;
    struct {
        char path[80];
        uint8_t *data;
        uint64_t bytes;
    } files[FILES_MAX];
    uint64_t first;      /* of the journal as it was made */
    uint64_t last;       /* and the last sequence */
    uint64_t last_group; /* the first one of the last group */
    /* Of the opening under way. */
    bool ended;
    int result;
    uint64_t got_first;
    uint64_t got;
    uint64_t salt_from; /* sequences from there on have OTHER_SALT; 0: none */
    const char *wrong;
    struct journal_model_counts counts;
} model;

uint32_t log_record(uint64_t sequence, uint64_t salt, uint8_t *out)
{
    uint64_t word = (sequence + salt * 1000003) * 0x9e3779b97f4a7c15u;
    uint32_t len = (uint32_t)(word >> 40) % 600;
    word |= 1;
    for (uint32_t i = 0; i < len; i++) {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        out[i] = (uint8_t)word;
    }
    return len;
}

/* --- a journal -------------------------------------------------------------------------------- */

static uint64_t salt_of(uint64_t sequence)
{
    return model.salt_from != 0 && sequence >= model.salt_from ? OTHER_SALT : 0;
}

static int on_record(uint64_t sequence, const void *data, uint32_t len, void *ctx)
{
    (void)ctx;
    uint8_t expected[LOG_RECORD_MAX];
    if (len != log_record(sequence, salt_of(sequence), expected) ||
        memcmp(data, expected, len) != 0)
        model.wrong = "a record that is not what was appended";
    if (model.got != 0 && sequence != model.got_first + model.got)
        model.wrong = "sequences that do not follow each other";
    if (model.got == 0)
        model.got_first = sequence;
    model.got++;
    return 0;
}

static void on_end(struct plx_journal *journal, int result, void *ctx)
{
    (void)journal;
    (void)ctx;
    model.ended = true;
    model.result = result;
}

static void turn(void)
{
    if (plx_reactor_poll(model.reactor) == 0)
        sched_yield();
}

static int until_ended(int rc)
{
    for (uint32_t i = 0; rc == 0 && !model.ended && i < TURNS_MAX; i++)
        turn();
    if (rc == 0 && !model.ended)
        model.wrong = "opening or closing does not end";
    return rc != 0 ? rc : model.result;
}

static int open_journal(void)
{
    struct plx_journal_opts opts;
    plx_journal_opts_init(&opts);
    opts.segment_bytes = SEGMENT;
    opts.segments = FILES_MAX - 1;
    opts.buffer_bytes = 8192;
    opts.direct = PLX_WANT_NO;
    opts.registers = PLX_WANT_NO;
    opts.on_record = on_record;
    model.got = 0;
    model.got_first = 0;
    model.ended = false;
    return until_ended(plx_journal_open(&model.journal, model.reactor,
                                        plx_reactor_pool(model.reactor), model.folder, &opts,
                                        on_end, NULL));
}

static int close_journal(void)
{
    model.ended = false;
    return until_ended(plx_journal_close(&model.journal, on_end, NULL));
}

/* Appends so many as one group, if it holds them, and waits until it is durable. */
static bool write_group(unsigned count)
{
    for (uint32_t turns = 0; count > 0 && turns < TURNS_MAX; turns++) {
        uint8_t data[LOG_RECORD_MAX];
        uint64_t next = plx_journal_last(&model.journal) + 1;
        uint32_t len = log_record(next, salt_of(next), data);
        int rc = plx_journal_append(&model.journal, data, len, NULL);
        if (rc == 0)
            count--;
        else if (rc == -EAGAIN)
            turn();
        else
            return false;
    }
    for (uint32_t turns = 0; turns < TURNS_MAX; turns++) {
        if (plx_journal_durable(&model.journal) == plx_journal_last(&model.journal))
            return count == 0;
        turn();
    }
    return false;
}

/* --- files ------------------------------------------------------------------------------------ */

static bool load_file(uint32_t index)
{
    char *path = model.files[index].path;
    if (index == 0)
        snprintf(path, sizeof(model.files[index].path), "%s/control", model.folder);
    else
        snprintf(path, sizeof(model.files[index].path), "%s/segment-%02u", model.folder, index - 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat) != 0)
        return false;
    uint64_t bytes = (uint64_t)stat.st_size;
    model.files[index].bytes = bytes;
    model.files[index].data = malloc(bytes);
    bool ok = model.files[index].data != NULL &&
              read(fd, model.files[index].data, bytes) == (ssize_t)bytes;
    close(fd);
    return ok;
}

static bool store_file(uint32_t index)
{
    int fd = open(model.files[index].path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    ssize_t written = write(fd, model.files[index].data, model.files[index].bytes);
    close(fd);
    return written == (ssize_t)model.files[index].bytes;
}

static bool store_files(void)
{
    for (uint32_t i = 0; i < FILES_MAX; i++) {
        if (!store_file(i))
            return false;
    }
    return true;
}

/* --- set-up ----------------------------------------------------------------------------------- */

static const char *open_reactor(void)
{
    struct plx_settings settings;
    plx_settings_init(&settings);
    static const char *const words[][2] = {
        {"reactors", "1"}, {"pin", "no"},   {"arena_size", "2M"}, {"hugepages_2m", "no"},
        {"thp", "no"},     {"mlock", "no"}, {"prefault", "no"},   {"sqpoll", "off"},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (plx_settings_set(&settings, words[i][0], words[i][1], NULL) != 0)
            return words[i][0];
    }
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    if (plx_runtime_create(&settings, &opts, &model.runtime, NULL) != 0)
        return "no runtime";
    return plx_reactor_adopt(model.runtime, 0, &model.reactor, NULL) != 0 ? "no reactor" : NULL;
}

static bool forget_all_but(uint64_t count)
{
    uint64_t last = plx_journal_last(&model.journal);
    if (plx_journal_forget(&model.journal, last > count ? last - count : 0) != 0)
        return false;
    for (uint32_t i = 0; model.journal.upkeep.is_busy && i < TURNS_MAX; i++)
        turn();
    return !model.journal.upkeep.is_busy;
}

/* Several segments, of which the oldest was forgotten and its slot used again; two epochs. */
static const char *make_template(void)
{
    for (unsigned life = 0; life < 3; life++) {
        if (open_journal() != 0)
            return "the template does not open";
        for (unsigned i = 0; i < 9; i++) {
            if (!write_group(1 + (i * 5 + life) % 11))
                return "the template is full";
            if (!forget_all_but(KEPT))
                return "the template does not forget";
        }
        uint64_t last = plx_journal_last(&model.journal);
        model.last_group = last - (1 + (8 * 5 + life) % 11) + 1;
        model.last = last;
        if (close_journal() != 0)
            return "the template does not close";
    }
    for (uint32_t i = 0; i < FILES_MAX; i++) {
        if (!load_file(i))
            return "the template's files cannot be read";
    }
    if (open_journal() != 0 || close_journal() != 0 || model.wrong != NULL)
        return "the template does not open again";
    model.first = model.got_first;
    return model.got_first + model.got - 1 == model.last ? NULL : "the template is not whole";
}

const char *journal_model_open(void)
{
    memset(&model, 0, sizeof(model));
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(model.folder, sizeof(model.folder), "%s/pollux-model-XXXXXX", base);
    if (mkdtemp(model.folder) == NULL)
        return "no folder";
    const char *wrong = open_reactor();
    return wrong != NULL ? wrong : make_template();
}

void journal_model_close(void)
{
    for (uint32_t i = 0; i < FILES_MAX; i++) {
        unlink(model.files[i].path);
        free(model.files[i].data);
    }
    rmdir(model.folder);
    (void)!plx_reactor_abandon(model.reactor, 10000000000u);
    plx_runtime_destroy(model.runtime);
}

/* --- runs ------------------------------------------------------------------------------------- */

static void write_at(uint32_t index, uint64_t at, const void *data, size_t bytes)
{
    int fd = open(model.files[index].path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t written = pwrite(fd, data, bytes, (off_t)at);
    (void)written;
    close(fd);
}

/* One change of a file, of those that disks, crashes and people make. */
static void change(const uint8_t *input)
{
    uint32_t index = input[1] % FILES_MAX;
    uint64_t bytes = model.files[index].bytes;
    uint64_t at = ((uint64_t)input[2] << 8 | input[3]) % bytes;
    const uint8_t *data = model.files[index].data;
    static const uint8_t zeros[PLX_PAGE];
    uint64_t sector = at & ~(uint64_t)511;
    uint64_t page = at & ~(uint64_t)(PLX_PAGE - 1);
    switch (input[0] % 8) {
    case 0:
    case 1: {
        uint8_t byte = data[at] ^ (uint8_t)(input[4] | (input[4] == 0));
        write_at(index, at, &byte, 1);
        break;
    }
    case 2:
        write_at(index, sector, zeros, 512);
        break;
    case 3:
        write_at(index, page, zeros, PLX_PAGE);
        break;
    case 4: /* what lies elsewhere in the file */
        write_at(index, page, data + input[4] % (bytes / PLX_PAGE) * PLX_PAGE, PLX_PAGE);
        break;
    case 5: /* or in another one */
        index = 1 + input[4] % (FILES_MAX - 1);
        if (page < model.files[index].bytes)
            write_at(index, page, data + page, PLX_PAGE);
        break;
    case 6:
        if (truncate(model.files[index].path, (off_t)at) != 0)
            break;
        break;
    default:
        unlink(model.files[index].path);
        break;
    }
}

static bool is_refusal(int result)
{
    return result == -EBADMSG || result == -EINVAL || result == -EPROTONOSUPPORT ||
           result == -EMSGSIZE;
}

/* Appends other records than those that were there, and expects exactly these after the kept. */
static const char *append_others(void)
{
    uint64_t durable = plx_journal_durable(&model.journal);
    model.salt_from = durable + 1;
    if (!write_group(3))
        return close_journal() == 0 ? NULL : "it does not close";
    uint64_t kept = model.got, first = model.got_first;
    if (close_journal() != 0)
        return "it does not close";
    int rc = open_journal();
    if (rc != 0)
        return "it does not open again";
    if (close_journal() != 0)
        return "it does not close again";
    if (model.wrong != NULL)
        return model.wrong;
    if (model.got != kept + 3 || (kept != 0 && model.got_first != first))
        return "it is not what was opened and appended";
    return NULL;
}

const char *journal_model_run(const uint8_t *input, size_t len)
{
    if (!store_files())
        return "the files cannot be written";
    for (size_t i = 0; i + 5 <= len && i < 5 * CHANGES_MAX; i += 5)
        change(input + i);
    model.salt_from = 0;
    model.wrong = NULL;
    int rc = open_journal();
    if (model.wrong != NULL)
        return model.wrong;
    if (rc != 0) {
        model.counts.refused++;
        return is_refusal(rc) ? NULL : "opening fails with an error that is none of damage";
    }
    bool is_new = plx_journal_last(&model.journal) == 0;
    uint64_t last = plx_journal_last(&model.journal);
    if (last > model.last || (!is_new && model.got != 0 && model.got_first + model.got - 1 != last))
        return "it has what was never appended";
    if (last == model.last)
        model.counts.whole++;
    else
        model.counts.shorter++;
    return append_others();
}

struct journal_model_counts journal_model_counts(void)
{
    return model.counts;
}

int journal_model_flip(uint32_t file, uint64_t at, unsigned bit, uint64_t *records)
{
    uint8_t byte = model.files[file].data[at] ^ (uint8_t)(1u << bit);
    for (uint32_t i = 0; i < FILES_MAX; i++)
        (void)store_file(i);
    write_at(file, at, &byte, 1);
    model.salt_from = 0;
    model.wrong = NULL;
    int rc = open_journal();
    *records = model.got;
    if (rc == 0)
        rc = close_journal();
    return model.wrong != NULL ? -EPROTO : rc;
}

uint32_t journal_model_files(void)
{
    return FILES_MAX;
}

uint64_t journal_model_bytes(uint32_t file)
{
    return model.files[file].bytes;
}

uint64_t journal_model_records(void)
{
    return model.last + 1 - model.first;
}

uint64_t journal_model_last_group(void)
{
    return model.last + 1 - model.last_group;
}
