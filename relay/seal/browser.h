/*
 * relay/seal/browser.h - browsers get a profile that no browser outside uses
 *
 * A browser that finds another one running on its profile hands the page over to it, and
 * that one is outside: the most likely way to be unsealed without noticing. So a browser
 * is given a profile of its own: that of --profile, which stays, or a new one, which is
 * removed at the end. Nothing else is changed: no flag, no preference, no extension.
 *
 * Where the command itself chooses a profile, it is left alone, but refused while another
 * browser uses it.
 */
#pragma once

#include <stddef.h>

#include "relay/seal/why.h"

struct browser {
    char **argv;    /* what to run: the command itself, or another array with the same words */
    char *added[4]; /* words that are not the command's */
    char *made;     /* a profile to be removed; NULL: none */
};

/* `argv`: the command, up to NULL. `profile`: of --profile, or NULL. `ret` is to be freed in any
 * case. Return: 0, or -1 and why. */
int browser_prepare(char **argv, const char *profile, struct browser *ret, char why[SEAL_WHY_LEN]);
/* Removes what was made. */
void browser_free(struct browser *b, char **argv);
/* For --explain: what is done for this command; NULL: it is no browser that we know. */
const char *browser_describe(char **argv);
