/*
 * tests/support/fake_link.h - relay/exit/upstream/link.h without a network
 *
 * A struct link is what the code under test holds and frees; a struct fake_wire is the
 * relay's end, which the test holds: it outlives the link, has every message that was sent,
 * and hands messages over on exact-size heap buffers that are freed afterwards.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/exit/upstream/link.h"
#include "tests/support/fake_stream.h"

#define FAKE_WIRE_MESSAGES 4096

struct fake_sent {
    uint8_t *data; /* header, payload and padding */
    size_t len;
    const void *payload; /* as it was handed to link_send(), or NULL */
};

struct fake_wire {
    struct fake_wire *next; /* all of them, youngest first */
    struct link *link;      /* NULL once freed */
    enum link_kind kind;
    struct addr server;
    struct addr local; /* ours; none at first */
    bool refuses;      /* link_send_copy() takes nothing */
    uint64_t certificate_end_s;
    struct far *far; /* the relay's end once the stream was taken */
    struct fake_sent sent[FAKE_WIRE_MESSAGES];
    size_t n_sent;
    size_t n_read; /* of these, by fake_wire_read() */
};

/* What link_new() answers from now on, and makes none: -errno, or 0 for a link again. */
extern int fake_link_error;

/* A link that is OPENING, as link_new() makes it. */
struct fake_wire *fake_wire_new(enum link_kind kind);
/* The youngest that link_new() made, or NULL. */
struct fake_wire *fake_wire_last(void);
/* Frees every wire; the links must be gone by then. */
void fake_wires_free_all(void);

/* The link opens; asserts that nothing was called back before. */
void fake_wire_open(struct fake_wire *w);
void fake_wire_close(struct fake_wire *w, int reason, const char *why);
/* One message from the relay; nothing happens when the link is gone. */
void fake_wire_give(struct fake_wire *w, const void *data, size_t len);
/* The same with bytes of a stream behind it, for link_take_stream(). */
void fake_wire_give_more(struct fake_wire *w, const void *data, size_t len, const void *rest,
                         size_t rest_len);

/* The next message that was sent and not yet read, or NULL. */
const struct fake_sent *fake_wire_read(struct fake_wire *w);
/* Forgets what was sent and not read. */
void fake_wire_skip(struct fake_wire *w);
