/* SPDX-License-Identifier: MIT */
/* Where the results of a run go beside the tables, and what they are compared with. */
#include "tools/bench/outputs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/bench/compare.h"
#include "tools/bench/hgrm.h"
#include "tools/bench/html.h"
#include "tools/cli.h"

#define NAME "pollux bench"

static bool is_stdout(const char *path)
{
    return path != NULL && strcmp(path, "-") == 0;
}

bool plx_bench_outputs_take_stdout(const struct plx_bench_outputs *outputs)
{
    return is_stdout(outputs->json) || is_stdout(outputs->csv) || is_stdout(outputs->html);
}

static int check_usage(struct plx_bench_outputs *outputs)
{
    if (is_stdout(outputs->json) + is_stdout(outputs->csv) + is_stdout(outputs->html) > 1)
        return plx_cli_usage_error(NAME, "only one of --json, --csv and --html can be standard "
                                         "output; they cannot both be standard output");
    if (outputs->fail_above != NULL && outputs->baseline == NULL)
        return plx_cli_usage_error(NAME, "--fail-above needs --baseline");
    outputs->limit = -1;
    if (outputs->fail_above != NULL &&
        !plx_compare_read_limit(outputs->fail_above, &outputs->limit))
        return plx_cli_usage_error(NAME, "--fail-above: '%.60s' is no percentage",
                                   outputs->fail_above);
    return -1;
}

static int failed(const char *path)
{
    plx_cli_error(NAME, "%s: %s", path, strerror(errno));
    return PLX_EXIT_FAILED;
}

static int open_stream(const char *path, FILE **out, bool *made)
{
    if (path == NULL)
        return -1;
    if (is_stdout(path)) {
        *out = stdout;
        return -1;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    *made = fd >= 0;
    /* Once more without O_EXCL: with it, a link to where no file is yet would be refused. */
    if (fd < 0 && errno == EEXIST)
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    *out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (*out != NULL)
        return -1;
    int status = failed(path);
    if (fd >= 0)
        close(fd);
    if (*made)
        (void)unlink(path);
    return status;
}

/* Whether two streams write over each other. Of a device's they do not. */
static bool are_one_file(FILE *a, FILE *b)
{
    struct stat left;
    struct stat right;
    return a != NULL && b != NULL && fstat(fileno(a), &left) == 0 &&
           fstat(fileno(b), &right) == 0 && S_ISREG(left.st_mode) && left.st_dev == right.st_dev &&
           left.st_ino == right.st_ino;
}

static int check_files(const struct plx_bench_outputs *outputs)
{
    const struct {
        const char *path;
        FILE *stream;
    } files[] = {{outputs->json, outputs->json_stream},
                 {outputs->csv, outputs->csv_stream},
                 {outputs->html, outputs->html_stream}};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        for (size_t j = 0; j < i; j++) {
            if (are_one_file(files[i].stream, files[j].stream))
                return plx_cli_usage_error(NAME,
                                           "%s and %s are one file, and would write over "
                                           "each other",
                                           files[j].path, files[i].path);
        }
    }
    return -1;
}

static int open_folder(const char *path, bool *made)
{
    if (path == NULL)
        return -1;
    *made = mkdir(path, 0777) == 0;
    if (!*made && errno != EEXIST)
        return failed(path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || faccessat(fd, ".", W_OK, AT_EACCESS) != 0) {
        int status = failed(path);
        if (fd >= 0)
            close(fd);
        return status;
    }
    close(fd);
    return -1;
}

int plx_bench_outputs_open(struct plx_bench_outputs *outputs)
{
    struct plx_diag diag = {0};
    int status = check_usage(outputs);
    if (status < 0 && outputs->baseline != NULL) {
        outputs->before = plx_bench_load(outputs->baseline, &diag);
        if (outputs->before == NULL) {
            plx_cli_diag(NAME, &diag);
            return PLX_EXIT_USAGE;
        }
    }
    if (status < 0)
        status = open_stream(outputs->json, &outputs->json_stream, &outputs->json_made);
    if (status < 0)
        status = open_stream(outputs->csv, &outputs->csv_stream, &outputs->csv_made);
    if (status < 0)
        status = open_stream(outputs->html, &outputs->html_stream, &outputs->html_made);
    if (status < 0)
        status = check_files(outputs);
    if (status < 0)
        status = open_folder(outputs->hgrm, &outputs->hgrm_made);
    if (status < 0 && outputs->html != NULL && plx_bench_html_check(&diag) != 0) {
        plx_cli_diag(NAME, &diag);
        status = PLX_EXIT_FAILED;
    }
    return status;
}

static int cut(FILE *stream, const char *path)
{
    /* Standard output and devices cannot be cut, and need not be. */
    if (stream == stdout || ftruncate(fileno(stream), 0) == 0 || errno == EINVAL)
        return 0;
    failed(path);
    return -ECANCELED;
}

/* Closes it, and tells of what failed and was not told yet. */
static int finish(FILE **stream, const char *path, int rc)
{
    if (*stream != stdout && fclose(*stream) != 0 && rc == 0)
        rc = -EIO;
    *stream = NULL;
    if (rc == -EIO)
        plx_cli_error(NAME, "%s: it could not be written", path);
    return rc;
}

static int write_one(FILE **stream, const char *path, const json_t *document,
                     int (*write)(const json_t *document, FILE *stream))
{
    if (*stream == NULL)
        return 0;
    int rc = cut(*stream, path);
    if (rc == 0)
        rc = write(document, *stream);
    return finish(stream, path, rc);
}

/*
 * Drawing may fail, and what the file held stays until there is a page. Without one it is left
 * open, so that a file that was made is removed.
 */
static int write_html(FILE **stream, const char *path, const json_t *document)
{
    struct plx_diag diag = {0};
    char *page = NULL;
    size_t bytes = 0;
    if (*stream == NULL)
        return 0;
    FILE *into = open_memstream(&page, &bytes);
    int rc = into != NULL ? plx_bench_write_html(document, into, &diag) : -ENOMEM;
    if (into != NULL && fclose(into) != 0 && rc == 0)
        rc = -ENOMEM;
    if (rc != 0 && diag.text[0] == '\0')
        plx_diag_set(&diag, -ENOMEM, "--html", "out of memory");
    if (rc != 0) {
        plx_cli_diag(NAME, &diag);
        free(page);
        return rc;
    }
    int written = cut(*stream, path);
    if (written == 0 && (fwrite(page, 1, bytes, *stream) != bytes || fflush(*stream) != 0))
        written = -EIO;
    free(page);
    return finish(stream, path, written);
}

static int write_folder(const struct plx_bench_outputs *outputs, const struct plx_bench *bench)
{
    struct plx_diag diag = {0};
    int rc = outputs->hgrm != NULL ? plx_bench_write_hgrm(bench, outputs->hgrm, &diag) : 0;
    if (rc != 0)
        plx_cli_diag(NAME, &diag);
    return rc;
}

static int compare(const struct plx_bench_outputs *outputs, const struct plx_bench *bench,
                   const json_t *document)
{
    const struct plx_compare_opts opts = {.name_a = outputs->baseline,
                                          .name_b = "this run",
                                          .fail_above = outputs->limit,
                                          .subject = outputs->subject};
    fputc('\n', bench->tables);
    return plx_compare_documents(outputs->before, document, &opts, bench->tables);
}

int plx_bench_outputs_write(struct plx_bench_outputs *outputs, const struct plx_bench *bench)
{
    json_t *document = plx_bench_document(bench);
    int rc = document != NULL ? 0 : -ENOMEM;
    int status = PLX_EXIT_OK;
    if (rc != 0) {
        plx_cli_error(NAME, "out of memory: nothing was written");
    } else {
        rc = write_one(&outputs->json_stream, outputs->json, document, plx_bench_write_json);
        int csv_rc = write_one(&outputs->csv_stream, outputs->csv, document, plx_bench_write_csv);
        int html_rc = write_html(&outputs->html_stream, outputs->html, document);
        int hgrm_rc = write_folder(outputs, bench);
        rc = rc != 0 || csv_rc != 0 || html_rc != 0 || hgrm_rc != 0 ? -EIO : 0;
        if (outputs->before != NULL)
            status = compare(outputs, bench, document);
    }
    json_decref(document);
    return rc != 0 ? PLX_EXIT_FAILED : status;
}

static void drop(FILE *stream, const char *path, bool made)
{
    if (stream == NULL || stream == stdout)
        return;
    (void)fclose(stream);
    if (made)
        (void)unlink(path);
}

void plx_bench_outputs_fini(struct plx_bench_outputs *outputs)
{
    drop(outputs->json_stream, outputs->json, outputs->json_made);
    drop(outputs->csv_stream, outputs->csv, outputs->csv_made);
    drop(outputs->html_stream, outputs->html, outputs->html_made);
    /* That is refused where there are files in it. */
    if (outputs->hgrm_made)
        (void)rmdir(outputs->hgrm);
    json_decref(outputs->before);
}
