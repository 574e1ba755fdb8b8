/*
 * tests/support/fake_stream.h - common/net/stream.h in memory
 *
 * A struct stream is what the code under test holds; struct far is the other end
 * of the wire, which the test holds. The far end outlives the stream and says
 * what became of it; the stream is a heap object of its own, so that a sanitizer
 * sees every use after stream_free().
 *
 * As in the real one, nothing is called back from within a call the owner makes:
 * bytes that wait after stream_resume(), on_drained() and on_closed() come when
 * the test turns the loop with fake_streams_turn().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"
#include "common/net/stream.h"

#define FAR_CAP (2u << 20)

struct far {
    struct far *next;      /* all of them, for far_free_all() */
    struct stream *stream; /* NULL once freed */
    struct addr remote, local;
    uint8_t *got; /* what was written to us */
    size_t n_got;
    size_t window;     /* how much of `got` counts as gone; the rest is pending in the stream */
    bool fin;          /* stream_shutdown() was called */
    bool close_called; /* stream_close() was called, with this reason */
    int close_reason;
    bool reset; /* it was stream_abort() */
    bool freed;
};

struct far *far_new(void);
/* Frees every far end; the streams must be gone by then. */
void far_free_all(void);

/* Bytes from the far end; delivered at once unless paused. */
void far_write(struct far *far, const void *data, size_t len);
/* The far end's end-of-file; delivered behind its bytes. */
void far_fin(struct far *far);
/* The far end's reset: the stream closes with -ECONNRESET at the next turn. */
void far_reset(struct far *far);
/* The far end takes all that is pending, now and later. */
void far_drain(struct far *far);

bool far_is_paused(const struct far *far);
size_t far_n_unread(const struct far *far);

/* One turn of the event loop for every stream. */
void fake_streams_turn(void);
/* Streams that exist: for tests of ownership. */
size_t fake_streams_count(void);
