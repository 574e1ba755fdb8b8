/*
 * relay/seal/reattach.h - a seal whose `callveil local` has ended, and comes back
 *
 *     HELD    there is a gate
 *     DARK    there is none: the app is refused everything (keeper.c). Once a second, a look for a
 *             `local` of this user's
 *     ASKED   one was found and has the sockets; it answers when the relay is reached, or has had
 * its time LOST    nothing can be done: the keeper has ended, or the proxy was `run`'s own
 *
 * The app goes on all the while. What it had open is gone; what it opens works again.
 *
 * Owner:   run.c. Threads: one.
 */
#pragma once

#include <stdbool.h>

#include "relay/seal/keeper.h"
#include "relay/seal/outside.h"

enum reattach_state {
    REATTACH_HELD,
    REATTACH_DARK,
    REATTACH_ASKED,
    REATTACH_LOST,
};

struct reattach {
    struct outside *outside;
    struct keeper *keeper;
    bool tells_page; /* again: another `local` has another token */
    enum reattach_state state;
};

/* For poll(2): what to wait for, or -1; and for how long, or -1. */
int reattach_fd(const struct reattach *r);
int reattach_timeout_ms(const struct reattach *r);
/* The descriptor is readable (or not, and the time has passed). Says on stderr what has changed. */
void reattach_turn(struct reattach *r, bool is_readable);
