/*
 * relay/front/socks5_impl.h - shared by the rooms of the SOCKS5 front; nobody else's
 *
 * socks5_listen.c: the listener and what becomes of its connections. socks5.c: the
 * negotiation. socks5_connect.c, socks5_bind.c, socks5_udp.c: one command each;
 * socks5_names.c: names in datagrams. socks5_login.c: is it a user?
 *
 * A command ends its connection with socks5_fail() or socks5_end(). Both only say
 * so to the stream and give up what the command held: the conn is freed from the
 * loop, when its stream has closed, or by the sweep.
 */
#pragma once

#include <event2/event_struct.h>

#include "common/base/list.h"
#include "common/net/splice.h"
#include "common/net/stream.h"
#include "common/wire/socks5.h"
#include "relay/front/socks5.h"

#define SOCKS5_CONNS_MAX   4096
#define SOCKS5_ASSOCS_MAX  1024
#define SOCKS5_HALF_OPEN_S 30  /* until the request is there */
#define SOCKS5_WORK_S      60  /* CONNECT, ASSOCIATE: until the answer is there */
#define SOCKS5_BIND_S      180 /* until the peer is there */
#define SOCKS5_CLOSING_S   10  /* RFC 1928, section 6 */
#define SOCKS5_ADDRS_MAX   16  /* of one name */
#define SOCKS5_PENDING_MAX 65536

enum socks5_state {
    /* Being negotiated; bytes of the app are messages. */
    SOCKS5_METHODS,
    SOCKS5_LOGIN,
    SOCKS5_REQUEST,
    SOCKS5_WORKING,    /* the command is at it; early bytes wait in the paused stream */
    SOCKS5_JOINED,     /* `pair` has both streams; `app` is NULL */
    SOCKS5_ASSOCIATED, /* the stream only says how long the association lives */
    SOCKS5_CLOSING,    /* the last word is said; the command's part is gone */
};

struct socks5_conn {
    struct socks5 *socks;
    struct list link;   /* socks->conns */
    struct stream *app; /* NULL once it is the pair's, or was handed over */
    enum socks5_state state;
    bool eof;             /* of the app, while WORKING */
    bool logged_in;       /* by RFC 1929 */
    uint64_t deadline_ns; /* of the state; 0: none */
    struct addr remote, local;
    struct splice pair;
    /* The command at work; the others are NULL. */
    struct socks5_connect *connect;
    struct socks5_bind *bind;
    struct socks5_udp *udp;
};

struct socks5 {
    struct socks5_params params;
    const struct conf *conf;
    struct addr addr;
    int fd;
    struct event *event;
    struct event *retry; /* accepting is paused while descriptors are short */
    struct list conns;
    unsigned int n_conns, n_assocs;
    uint64_t last_id; /* of an association */
};

/* ---- socks5_listen.c ---- */

/* Takes an app's stream; frees it when there are too many. Return: NULL then. */
struct socks5_conn *socks5_take(struct socks5 *s, struct stream *stream);
void socks5_conn_free(struct socks5_conn *c);

/* ---- socks5.c ---- */

extern const struct stream_events socks5_app_events;

void socks5_reply(struct socks5_conn *c, enum socks5_rep rep, const struct addr *bound);
/* Answers the request with an error, and ends. */
void socks5_fail(struct socks5_conn *c, enum socks5_rep rep);
/* Gives the command up; closes once what was said has gone. */
void socks5_end(struct socks5_conn *c);
enum socks5_rep socks5_rep_of(enum exit_result result);
/* The last reply has been sent: bytes go across from here on. */
void socks5_join(struct socks5_conn *c, struct stream *far);
/* Whether an app can do anything with it as BND.ADDR. */
bool socks5_is_usable(const struct addr *addr);

/* ---- socks5_login.c ---- */

bool socks5_login_is_users(const struct conf *conf, const struct socks5_login *login);

/* ---- the commands: they answer by socks5_fail() where they cannot start ---- */

void socks5_connect_start(struct socks5_conn *c, const struct socks5_target *target);
void socks5_connect_free(struct socks5_connect *connect);

void socks5_bind_start(struct socks5_conn *c, const struct socks5_target *target);
void socks5_bind_free(struct socks5_bind *bind);

void socks5_udp_start(struct socks5_conn *c, const struct socks5_target *target);
/* Opens a lost association again when its time has come. */
void socks5_udp_sweep(struct socks5_udp *udp, uint64_t now_ns);
void socks5_udp_free(struct socks5_udp *udp);
/* A datagram of the app; `data` stays until the worker's next flush. */
void socks5_udp_send(struct socks5_udp *udp, const struct addr *peer, const uint8_t *data,
                     size_t len);
void socks5_udp_describe(const struct socks5_udp *udp, struct flow_view *flow);
/* Whether the association has an address of this family. */
bool socks5_udp_has(const struct socks5_udp *udp, uint8_t family);
struct socks5 *socks5_udp_socks(const struct socks5_udp *udp);

/* ---- socks5_names.c ---- */

/* The names that one association sends to. Return: NULL when memory is short. */
struct socks5_names *socks5_names_new(struct socks5_udp *udp);
void socks5_names_free(struct socks5_names *names);
/* Sends to the name, or keeps a copy until its address is known, or drops it. */
void socks5_names_send(struct socks5_names *names, const struct socks5_datagram *d,
                       uint64_t now_ns);
