/*
 * relay/top/stats_command.c - `callveil stats`: a running role's JSON
 */
#include <stdbool.h>
#include <stdio.h>

#include "relay/top/ask.h"
#include "relay/top/role.h"
#include "relay/top/top.h"

struct answer {
    struct event_base *base;
    bool is_there;
    char why[ASK_WHY_LEN];
};

static void on_answer(void *user, json_t *root, const char *text, size_t len, const char *why)
{
    struct answer *answer = user;

    answer->is_there = root != NULL;
    if (root)
        fwrite(text, 1, len, stdout);
    else
        snprintf(answer->why, sizeof(answer->why), "%s", why);
    event_base_loopbreak(answer->base);
}

int stats_command(int argc, char **argv)
{
    struct answer answer = {.base = event_base_new()};
    struct ask *ask = NULL;
    struct top_role role;
    int status = top_role_read("stats", argc, argv, &role);

    if (status == 0) {
        if (answer.base)
            ask = ask_new(answer.base, role.conf, role.name, on_answer, &answer, answer.why);
        if (ask) {
            ask_stats(ask);
            event_base_dispatch(answer.base);
        }
        status = answer.is_there ? 0 : 1;
        if (!answer.is_there)
            fprintf(stderr, "callveil stats: %s\n", answer.base ? answer.why : "out of memory");
    }
    ask_free(ask);
    if (answer.base)
        event_base_free(answer.base);
    top_role_deinit(&role);
    return status;
}
