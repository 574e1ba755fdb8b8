#include "conf/suggest.h"

#include <ctype.h>
#include <string.h>

#define SUGGEST_MAX 48 /* longer words are no slip of an option's name */

static char fold(char c)
{
    return (char)(c == '_' ? '-' : tolower((unsigned char)c));
}

static unsigned int min3(unsigned int a, unsigned int b, unsigned int c)
{
    unsigned int m = a < b ? a : b;

    return m < c ? m : c;
}

/* Optimal string alignment: insertions, deletions, replacements, swaps of neighbours. */
static unsigned int distance(const char *a, const char *b)
{
    unsigned int d[SUGGEST_MAX + 1][SUGGEST_MAX + 1];
    size_t n = strlen(a), m = strlen(b);

    for (size_t i = 0; i <= n; i++)
        d[i][0] = (unsigned int)i;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = (unsigned int)j;
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            unsigned int cost = fold(a[i - 1]) != fold(b[j - 1]);

            d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + cost);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
                fold(a[i - 2]) == fold(b[j - 1]) && d[i - 2][j - 2] + 1 < d[i][j])
                d[i][j] = d[i - 2][j - 2] + 1;
        }
    }
    return d[n][m];
}

const char *suggest(const char *word, const char *const *candidates, size_t n_candidates)
{
    size_t len = strlen(word);
    unsigned int best = (unsigned int)len / 3 + 1;
    const char *found = NULL;

    if (len < 2 || len > SUGGEST_MAX)
        return NULL;
    for (size_t i = 0; i < n_candidates; i++) {
        unsigned int d;

        if (strlen(candidates[i]) > SUGGEST_MAX)
            continue;
        d = distance(word, candidates[i]);
        if (d < best) {
            best = d;
            found = candidates[i];
        }
    }
    return found;
}
