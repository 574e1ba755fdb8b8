/*
 * relay/top/view.h - statistics as lines for a terminal
 *
 * From one /stats.json and, for rates, an earlier one. What a role does not have is not
 * shown. No line holds a control character, whoever chose the texts in it.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#define VIEW_LINES 48
#define VIEW_BYTES 256

struct view {
    char line[VIEW_LINES][VIEW_BYTES];
    size_t n;
};

/* `before` was taken `seconds` earlier; NULL: there is none. `now_s`: seconds since 1970. */
void view_make(struct view *v, const json_t *now, const json_t *before, double seconds,
               double now_s);
/* A line of one's own, at the end. */
__attribute__((format(printf, 2, 3))) void view_put(struct view *v, const char *format, ...);

/* How many bytes of `line` fit into so many columns, a character taking one. */
size_t view_fit(const char *line, size_t n_columns);
