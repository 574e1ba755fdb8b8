#include "relay/seal/reattach.h"

#include <stdio.h>

#define REATTACH_LOOK_MS 1000

int reattach_fd(const struct reattach *r)
{
    return r->state == REATTACH_HELD || r->state == REATTACH_ASKED ? r->outside->fd : -1;
}

int reattach_timeout_ms(const struct reattach *r)
{
    return r->state == REATTACH_DARK ? REATTACH_LOOK_MS : -1;
}

static void reattach_lose(struct reattach *r, const char *why)
{
    r->state = REATTACH_LOST;
    fprintf(stderr, "callveil run: %s: the app has no network any more\n", why);
}

static void reattach_darken(struct reattach *r)
{
    bool was_held = r->state == REATTACH_HELD;

    outside_disconnect(r->outside);
    if (!keeper_is_there(r->keeper)) {
        reattach_lose(r, "the keeper has ended");
    } else if (r->outside->own >= 0) {
        reattach_lose(r, "its local proxy has ended");
    } else {
        r->state = REATTACH_DARK;
        if (was_held)
            fputs(
                "callveil run: the local proxy has ended: until there is one again, the app has no "
                "network\n",
                stderr);
    }
}

/* The sockets are made only once there is somebody to take them: the app would wait for them. */
static void reattach_look(struct reattach *r)
{
    char why[SEAL_WHY_LEN];
    int status;

    if (outside_reopen(r->outside) < 0)
        return;
    if (keeper_renew(r->keeper, why) < 0) {
        reattach_darken(r); /* and perhaps for good */
        return;
    }
    status = outside_ask(r->outside, &r->keeper->attach, r->keeper->passed);
    keeper_close_passed(r->keeper);
    if (status < 0)
        reattach_darken(r);
    else
        r->state = REATTACH_ASKED;
}

static void reattach_hear(struct reattach *r)
{
    if (outside_hear(r->outside) < 0) {
        reattach_darken(r);
        return;
    }
    r->state = REATTACH_HELD;
    fputs("callveil run: there is a local proxy again: the app has a network\n", stderr);
    if (r->tells_page)
        outside_tell_page(r->outside);
}

void reattach_turn(struct reattach *r, bool is_readable)
{
    if (r->state == REATTACH_HELD && is_readable)
        reattach_darken(r);
    else if (r->state == REATTACH_ASKED && is_readable)
        reattach_hear(r);
    else if (r->state == REATTACH_DARK && !keeper_is_there(r->keeper))
        reattach_lose(r, "the keeper has ended");
    else if (r->state == REATTACH_DARK)
        reattach_look(r);
}
