/*
 * relay/stats/page.h - the files of the stats page, as they are in the program
 *
 * stats/page/embed.py makes the array from stats/page/ at build time. The files hold
 * nothing of this machine: everybody may read them, and what they show they ask
 * /stats.json for.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct page_file {
    const char *path, *type;
    const uint8_t *data;
    size_t len;
};

extern const struct page_file page_files[];
extern const size_t n_page_files;
