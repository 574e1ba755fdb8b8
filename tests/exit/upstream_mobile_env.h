/* What the tests of moving share: one relay with mobility (RFC 8016), and an association. */
#pragma once

#include "tests/exit/upstream_dial_env.h"

static struct front_assoc *f;

/* An association through a relay with mobility, which is reached by these at 3478. */
static inline void setup_by(unsigned int protocol, unsigned int ready)
{
    w = world_new(ready);
    a = world_server(w, SERVER_A);
    a->mobile = true;
    world_url(w, 0, HOST_A, protocol);
    world_go(w, 0);
    f = front_open_v4(w);
    world_pass_ms(w, 2500); /* what is lost sooner counts as never found */
    ck_assert_int_eq(f->opened.result, EXIT_OK);
}
