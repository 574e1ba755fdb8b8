/*
 * tests/support/fake_client.h - a client of turn/, and everything it was sent
 *
 * For UDP it behaves as the listener does: each message comes with a client that
 * lives for that message only, until keep() makes one that stays until release().
 * Messages are handed over on exact-size heap buffers that are freed afterwards.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/client.h"
#include "relay/turn/turn.h"
#include "tests/support/fake_stream.h"

struct fake_message {
    uint8_t *data;
    size_t len; /* padding of a stream included */
    bool other_ip, other_port;
    uint16_t to_port;
};

#define FAKE_CLIENT_MESSAGES 256

struct fake_client {
    struct turn *turn;
    enum transport transport;
    struct addr remote, local;
    bool hidden; /* no message may show the address */
    bool keep_fails;
    bool no_way_back;  /* no send_copy_from() */
    struct flow *flow; /* what turn/ may hold; NULL when it holds nothing */
    struct far *far;   /* of a stream transport: the client's end once the stream was taken */
    bool taken;
    unsigned int n_kept, n_released;
    struct fake_message sent[FAKE_CLIENT_MESSAGES];
    size_t n_sent;
};

struct fake_client *fake_client_new(struct turn *turn, enum transport transport, const char *remote,
                                    const char *local);
void fake_client_free(struct fake_client *fc);

/* One message from the client. Return: what turn_on_message() returned. */
int fake_client_give(struct fake_client *fc, const void *data, size_t len);
/* The transport goes away. */
void fake_client_close(struct fake_client *fc);

/* The i-th message sent to the client counted from the end (0: the last), or NULL. */
const struct fake_message *fake_client_sent(const struct fake_client *fc, size_t i);
void fake_client_forget(struct fake_client *fc);

bool fake_client_has_alloc(const struct fake_client *fc);
