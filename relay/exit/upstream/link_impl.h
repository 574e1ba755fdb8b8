/*
 * relay/exit/upstream/link_impl.h - what the files of link share; nobody else's
 *
 * link.c           what the owner calls, the timer, and the two events that move the state
 * link_udp.c       the connected UDP socket: of UDP links, and under DTLS
 * link_dtls.c      a DTLS session on it
 * link_stream.c    TCP and TLS
 *
 * Every kind embeds a struct link first, and is freed by link.c.
 */
#pragma once

#include <event2/event_struct.h>
#include <openssl/ssl.h>

#include "common/base/clock.h"
#include "common/net/batch.h"
#include "relay/exit/upstream/link.h"

#define LINK_WHY_LEN 96

/* On the stack of whoever handles input: the link was released in there, and may be gone. */
struct link_guard {
    bool gone;
};

struct link_ops {
    void (*send)(struct link *l, const void *header, size_t header_len, const void *payload,
                 size_t payload_len, size_t n_padding);
    int (*send_copy)(struct link *l, const void *data, size_t len);
    struct addr (*local)(const struct link *l);
    const SSL *(*ssl)(const struct link *l);       /* NULL: there never is one */
    struct stream *(*take_stream)(struct link *l); /* NULL for datagrams */
    /* Gives everything back but the memory of the link, once; tx_flush() was called. */
    void (*release)(struct link *l);
};

enum link_state {
    LINK_OPENING,
    LINK_OPEN,
    LINK_CLOSED, /* released; `closed_due`: on_closed() is owed to the next events */
};

struct link {
    const struct link_ops *ops;
    struct link_env env;
    const struct link_events *events; /* NULL: none yet */
    void *user;
    enum link_kind kind;
    enum link_state state;
    uint64_t certificate_end_s; /* read once, when OPEN: every look at the statistics asks */
    bool closed_due;
    int reason;
    char why[LINK_WHY_LEN];
    struct event timer;
    struct link_guard *guard;
};

void link_init(struct link *l, const struct link_ops *ops, const struct link_env *env,
               enum link_kind kind);
/* Return: 0 or -ENOMEM. */
int link_set_timer(struct link *l, unsigned int ms);

/* From the loop only; the link may be gone after them. `ssl` or NULL: it may know why. */
void link_opened(struct link *l);
void link_closed(struct link *l, int reason, const SSL *ssl);
/* One message for the owner, if it can be one; the link may be gone after it. */
void link_deliver(struct link *l, const uint8_t *data, size_t len, uint64_t now_ns);

typedef int link_new_kind(const struct link_env *env, const struct link_to *to, struct link **ret);
link_new_kind link_udp_new, link_dtls_new, link_stream_new;

/* ---- link_udp.c, for link_dtls.c ---- */

struct link_udp {
    struct link link;
    int fd;
    bool heard;              /* something came from there */
    unsigned int n_refusals; /* ICMP errors since something came last */
    uint64_t refused_ns;     /* the first of them */
    void (*on_datagram)(struct link_udp *u, const uint8_t *data, size_t len, uint64_t now_ns);
    struct event event;
};

/* Return: 0, or -errno and nothing to release. */
int link_udp_init(struct link_udp *u, const struct link_ops *ops, const struct link_env *env,
                  const struct link_to *to);
void link_udp_release(struct link *l);
struct addr link_udp_local(const struct link *l);
