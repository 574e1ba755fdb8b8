/*
 * relay/top/ask.h - a client of a running role's stats endpoint
 *
 * Goes to the address that the role's own configuration names, on this machine, with
 * its token; over TLS it accepts the certificate that the configuration names, and no
 * other. One question at a time, one connection each.
 *
 * Threads: that of the event_base.
 */
#pragma once

#include <event2/event.h>
#include <jansson.h>

#include "conf/conf.h"

#define ASK_WHY_LEN 256

struct ask;

/* The answer: `root` (NULL: none, and `why` is one line) and its text, borrowed. */
typedef void ask_on_answer(void *user, json_t *root, const char *text, size_t len, const char *why);

/* `conf` is borrowed for as long as the ask lives. Return: NULL with the reason in `ret_why`. */
struct ask *ask_new(struct event_base *base, const struct conf *conf, const char *role,
                    ask_on_answer *on_answer, void *user, char ret_why[ASK_WHY_LEN]);
void ask_free(struct ask *a); /* NULL is fine */

/* Asks for /stats.json. The answer comes from the loop, within seconds, once. */
void ask_stats(struct ask *a);
