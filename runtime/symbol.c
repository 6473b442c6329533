/* SPDX-License-Identifier: MIT */
/* Names of functions, from the symbol table of the file that their code was mapped from. */
#include "runtime/symbol_internal.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)1 << 30)

/* A file's bytes; what it says of itself is believed only as far as it lies within them. */
struct image {
    const unsigned char *bytes;
    size_t size;
};

static const void *part(const struct image *image, uint64_t offset, uint64_t bytes)
{
    if (offset > image->size || bytes > image->size - offset || offset % 8 != 0)
        return NULL;
    return image->bytes + offset;
}

static const ElfW(Shdr) * find_symbols(const struct image *image, const ElfW(Shdr) * *sections)
{
    const ElfW(Ehdr) *head = part(image, 0, sizeof(*head));
    if (head == NULL || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
        head->e_ident[EI_CLASS] != ELFCLASS64 || head->e_shentsize != sizeof(ElfW(Shdr)))
        return NULL;
    const ElfW(Shdr) *all =
        part(image, head->e_shoff, (uint64_t)head->e_shnum * sizeof(ElfW(Shdr)));
    const ElfW(Shdr) *found = NULL;
    for (unsigned i = 0; all != NULL && i < head->e_shnum; i++) {
        bool whole = all[i].sh_type == SHT_SYMTAB;
        if ((!whole && all[i].sh_type != SHT_DYNSYM) || all[i].sh_link >= head->e_shnum)
            continue;
        if (whole || found == NULL)
            found = &all[i];
    }
    *sections = all;
    return found;
}

/* The name of the function that covers `at`, an address as the file counts; NULL: none. */
static const char *find_function(const struct image *image, uint64_t at, uint64_t *start)
{
    const ElfW(Shdr) *sections = NULL;
    const ElfW(Shdr) *table = find_symbols(image, &sections);
    if (table == NULL)
        return NULL;
    const ElfW(Sym) *symbols = part(image, table->sh_offset, table->sh_size);
    const ElfW(Shdr) *names = &sections[table->sh_link];
    if (symbols == NULL || names->sh_offset > image->size || names->sh_size == 0 ||
        names->sh_size > image->size - names->sh_offset)
        return NULL;
    const char *texts = (const char *)image->bytes + names->sh_offset;
    if (texts[names->sh_size - 1] != '\0')
        return NULL;
    for (uint64_t i = 0; i < table->sh_size / sizeof(*symbols); i++) {
        const ElfW(Sym) *s = &symbols[i];
        if (ELF64_ST_TYPE(s->st_info) != STT_FUNC || s->st_name >= names->sh_size)
            continue;
        if (at >= s->st_value && at - s->st_value < s->st_size) {
            *start = s->st_value;
            return texts + s->st_name;
        }
    }
    return NULL;
}

static bool map_file(const char *path, struct image *image)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat facts;
    if (fd < 0)
        return false;
    bool fits = fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size > 0 &&
                (uint64_t)facts.st_size <= FILE_BYTES_MAX;
    void *bytes =
        fits ? mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    close(fd);
    if (bytes == MAP_FAILED)
        return false;
    *image = (struct image){.bytes = bytes, .size = (size_t)facts.st_size};
    return true;
}

/* Where the file that `info` tells of can be read: the program's own name may be a relative one. */
static const char *path_of(const Dl_info *info)
{
    Dl_info program;
    const void *headers = (const void *)getauxval(AT_PHDR);
    if (headers != NULL && dladdr(headers, &program) != 0 && program.dli_fbase == info->dli_fbase)
        return "/proc/self/exe";
    return info->dli_fname;
}

int plx__symbol_format(const void *address, char *text, size_t bytes)
{
    Dl_info info;
    int wrote;
    if (dladdr(address, &info) == 0 || info.dli_fname == NULL) {
        wrote = snprintf(text, bytes, "%p", address);
        return wrote < (int)bytes ? wrote : (int)bytes - 1;
    }
    const char *slash = strrchr(info.dli_fname, '/');
    const char *file = slash != NULL ? slash + 1 : info.dli_fname;
    uint64_t offset = (uintptr_t)address - (uintptr_t)info.dli_fbase;

    struct image image = {0};
    bool mapped = map_file(path_of(&info), &image);
    const ElfW(Ehdr) *head = mapped ? part(&image, 0, sizeof(*head)) : NULL;
    /* A program at a fixed place counts as it runs; all else from where it was mapped. */
    uint64_t base = head != NULL && head->e_type == ET_EXEC ? (uintptr_t)info.dli_fbase : 0;
    uint64_t start = 0;
    const char *name = mapped ? find_function(&image, offset + base, &start) : NULL;
    if (name != NULL)
        wrote = snprintf(text, bytes, "%s+0x%llx (%s+0x%llx)", name,
                         (unsigned long long)(offset + base - start), file,
                         (unsigned long long)(offset + base));
    else
        wrote = snprintf(text, bytes, "%s+0x%llx", file, (unsigned long long)(offset + base));
    if (mapped)
        munmap((void *)(uintptr_t)image.bytes, image.size);
    return wrote < (int)bytes ? wrote : (int)bytes - 1;
}
