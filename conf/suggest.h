/*
 * conf/suggest.h - "did you mean"
 */
#pragma once

#include <stddef.h>

/* The candidate that `word` is most likely a slip of, or NULL when none is close: case, and '_' for
 * '-', do not count; else a third of the letters may differ, swapped neighbours counting once. */
const char *suggest(const char *word, const char *const *candidates, size_t n_candidates);
