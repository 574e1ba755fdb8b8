/*
 * relay/exit/upstream/upstream_impl.h - shared by find.c, ready.c, assoc*.c, trunk.c, dial.c and
 * upstream.c; nobody else includes it
 */
#pragma once

#include <event2/event_struct.h>

#include "common/base/clock.h"
#include "common/base/list.h"
#include "relay/exit/resolve.h"
#include "relay/exit/upstream/session.h"
#include "relay/exit/upstream/upstream.h"

struct upstream;

/* ---- a place to go: one address of one url; counted, since sessions outlive searches ---- */

struct target {
    unsigned int n_refs;
    struct upstream *x;
    size_t url; /* index in the configuration, and of its credentials */
    enum link_kind kind;
    struct addr server;
};

struct target *target_ref(struct target *t);
void target_unref(struct target *t); /* NULL is fine */
/* Return: 0 and *ret, or -errno. */
int target_link(struct target *t, const struct link_events *events, void *user, struct link **ret);

/* ---- what ticks: a session or a data connection being bound, and where it leads ---- */

struct carrier {
    struct list link; /* x->carriers while it has something that ticks */
    struct upstream *x;
    struct target *target;
    struct session *session; /* one of the two */
    struct data_bind *bind;
    data_bind_on_done *on_bound;
    void *user;        /* of on_bound() */
    unsigned int turn; /* of the ticker: visited */
};

void carrier_init(struct carrier *c, struct upstream *x);
/* Opens a link to `target` and asks for an allocation. Return: 0 or -errno. */
int carrier_open(struct carrier *c, struct target *target, const struct session_want *want,
                 const struct session_events *events, void *user);
/* Binds a data connection that the session of `control` was told of, over a ready link if there is
 * one. Return: 0 or -errno. */
int carrier_bind(struct carrier *c, const struct carrier *control, uint32_t connection_id,
                 data_bind_on_done *on_bound, void *user);
/* The session of `from` becomes that of `c`, which has none. */
void carrier_move(struct carrier *c, struct carrier *from, const struct session_events *events,
                  void *user);
/* The session is MOVING and wants a link: it gets one to `target`, which is where it leads from now
 * on. Return: 0, or -errno and nothing has changed. */
int carrier_move_to(struct carrier *c, struct target *target);
/* Frees the session or bind; may be used again. */
void carrier_close(struct carrier *c);

/* ---- find.c: which relay, by which transport ---- */

#define FIND_ATTEMPTS_MAX RESOLVE_ADDRS_MAX
#define FIND_NEVER        UINT64_MAX

struct attempt {
    struct list link; /* find->attempts */
    struct find *find;
    struct carrier carrier;
};

/*
 * One for datagrams, one for streams. States:
 *   CONNECTING  urls are tried in their order, the addresses of one in a race.
 *   READY       `current` made an allocation; with url > 0, better ones are tried again
 *               from time to time, and only success changes anything.
 *   DOWN        none did; the timer, or a front that wants something, starts over.
 *   OFF         no url has a suitable transport, or no relay carries streams (442); in the
 *               latter case it is asked again from time to time.
 */
struct find {
    struct upstream *x;
    bool streams;
    enum upstream_state state;
    struct target *current;
    uint64_t since_ns, retry_at_ns, searched_ns;
    uint64_t found_ns;       /* `current` */
    uint64_t without_ns;     /* since when there is no relay; 0: there is one */
    unsigned int n_failures; /* searches in a row */
    char why[160];
    /* the search */
    bool searching;
    size_t url, url_end; /* being tried; the end of those to try */
    struct lookup *lookup;
    struct addr addrs[FIND_ATTEMPTS_MAX];
    size_t n_addrs, next_addr;
    bool only_442;         /* so far nothing else was wrong with any of them */
    bool redirected;       /* an ALTERNATE-SERVER was followed already */
    uint64_t url_until_ns; /* then the next url's turn comes */
    struct list attempts;
    uint64_t at_ns; /* find_tick() has something to do then; or FIND_NEVER */
};

void find_init(struct find *f, struct upstream *x, bool streams);
void find_deinit(struct find *f);
void find_start(struct find *f);
void find_tick(struct find *f, uint64_t now_ns);
/* A front wants something: shortens the wait of DOWN. */
void find_hurry(struct find *f);
/* What a front is told, and find_failed(), when a relay has not answered in time. */
extern const struct session_ended find_silence;
/* A session that was made on `target` has failed. */
void find_failed(struct find *f, const struct target *target, const struct session_ended *ended);
/* The same but that nothing is lost yet: one leaves `target`, and goes on where another way leads.
 */
void find_left(struct find *f, const struct target *target, const struct session_ended *ended);

/* ---- way.c ---- */

struct way {
    bool is_due; /* in this tick */
    uint64_t checked_ns;
    struct addr local; /* the last one asked about in this tick, and the answer */
    bool is_gone;
};

void way_begin_tick(struct upstream *x, uint64_t now_ns);
void way_end_tick(struct upstream *x);
/* Whether the link leaves by an address that is not this machine's any more; then it has failed,
 * and who owned it may be gone. Asked once a second, and false in between. NULL is fine. */
bool way_fails(struct upstream *x, struct link *link);

/* ---- ready.c ---- */

struct ready_link {
    struct list link; /* x->ready_links */
    struct upstream *x;
    struct target *target;
    struct link *to;
    uint64_t said_ns; /* the last keepalive */
    bool is_owed;     /* an answer to it */
};

struct ready_session {
    struct list link; /* x->ready_sessions */
    struct carrier carrier;
};

/* Makes what is missing. Called when something was taken or lost, and about once a second. */
void ready_fill(struct upstream *x, uint64_t now_ns);
/* Puts the session of `from` on the shelf. */
void ready_put_session(struct upstream *x, struct carrier *from);
/* A ready session that suits `want`, moved into `c`. Return: false when there is none. */
bool ready_take_session(struct upstream *x, const struct session_want *want, struct carrier *c,
                        const struct session_events *events, void *user);
/* An open link to the same server by the same transport, or NULL. */
struct link *ready_take_link(struct upstream *x, const struct target *target);
void ready_clear(struct upstream *x);

/* ---- share.c ---- */

/* For every session that ends. */
void share_refused(struct upstream *x, const struct session_ended *ended, uint64_t now_ns);
/* Whether datagrams may have one allocation more. */
bool share_has_room(const struct upstream *x, uint64_t now_ns);

/* ---- assoc.c ---- */

/* An allocation for IPv6 besides, where the first one has none: assoc_v6.c. */
struct assoc_v6 {
    bool hoped; /* the front wants IPv6 and the relay may have it */
    bool live;
    struct carrier carrier;
    uint64_t retry_ns;
    struct list waiting; /* for it to be live */
    unsigned int n_waiting;
};

struct assoc {
    struct upstream *x;
    struct list link; /* x->assocs */
    const struct assoc_events *events;
    void *user;
    struct session_want want;
    struct carrier carrier;
    struct assoc_v6 v6;
    bool opened; /* on_open() was called */
    bool is_closed;
    unsigned int n_busy;    /* callbacks of ours on the stack: the memory must outlive them */
    uint64_t wait_until_ns; /* for the allocation, from whichever relay */
    struct list binds;      /* struct assoc_bind: data connections on their way */
};

int assoc_open(struct exit *e, const struct assoc_want *want, const struct assoc_events *events,
               void *user, struct assoc **ret_assoc);
void assoc_close(struct assoc *a);
enum exit_result assoc_permit(struct assoc *a, const struct addr *peer);
void assoc_send(struct assoc *a, const struct addr *peer, const uint8_t *data, size_t len,
                bool dont_fragment);
enum exit_result assoc_connect(struct assoc *a, const struct addr *peer, uint32_t connect_id);
/* Those that wait go on, or have waited too long. */
void assoc_pump(struct upstream *x, uint64_t now_ns);
void assoc_lose_all(struct upstream *x, enum exit_result why);
/* session_events of either allocation; `user` is the assoc. */
void assoc_on_datagram(void *user, const struct addr *peer, const uint8_t *data, size_t len,
                       uint64_t now_ns);
void assoc_on_icmp(void *user, const struct assoc_icmp *icmp, uint64_t now_ns);
void assoc_on_permitted(void *user, const struct addr *peer, unsigned int code);

/* ---- assoc_v6.c ---- */

void assoc_v6_init(struct assoc *a);
void assoc_v6_close(struct assoc *a);
/* Whether there may be IPv6 later on, as far as `opened` and the relay have said. */
bool assoc_v6_may_follow(struct assoc *a, const struct assoc_opened *opened, uint64_t now_ns);
bool assoc_v6_is_for(const struct assoc *a, const struct addr *peer);
enum exit_result assoc_v6_permit(struct assoc *a, const struct addr *peer, uint64_t now_ns);
void assoc_v6_send(struct assoc *a, const struct addr *peer, const uint8_t *data, size_t len,
                   bool dont_fragment, uint64_t now_ns);

/* ---- trunk.c and dial.c ---- */

#define TRUNKS_MAX    48
#define TRUNK_OPENING 8 /* at a time */

/* A TCP allocation whose relayed address many streams share: RFC 6062 allows one connection to each
 * peer address and port at a time, so a second one to the same peer takes another trunk. */
struct trunk {
    struct list link; /* x->trunks */
    struct upstream *x;
    struct carrier carrier;
    uint8_t family;
    bool live;
    uint64_t used_ns; /* last dial or end of a stream */
    unsigned int n_streams;
    struct list uses; /* struct trunk_use */
    unsigned int n_uses;
    struct list dials; /* on it now */
};

/* A peer that a trunk is, or was lately, connected to. */
struct trunk_use {
    struct list link; /* trunk->uses */
    struct upstream *x;
    struct trunk *trunk;   /* NULL: the trunk has gone before the stream */
    struct stream *stream; /* the front's; NULL before it is there */
    struct addr peer;
    bool busy;
    uint64_t since_ns; /* when it was no longer busy */
};

enum trunk_answer {
    TRUNK_OK = 0,
    TRUNK_E_WAIT = 1,     /* one is being made */
    TRUNK_E_CAPACITY = 2, /* no more can be had */
    TRUNK_E_FAMILY = 3,
};

/* A live trunk on which `peer` is free, or why not. Makes none. */
enum trunk_answer trunk_choose(struct upstream *x, const struct addr *peer, uint64_t now_ns,
                               struct trunk **ret);
/* Keeps another stream to `peer` off the trunk. Return: NULL when memory is short. */
struct trunk_use *trunk_hold(struct trunk *t, const struct addr *peer);
/* The use ends. `cool`: there was, or may be, a connection, and the relay's side of it may be in
 * TIME-WAIT for a minute. NULL is fine. */
void trunk_release(struct trunk_use *use, bool cool, uint64_t now_ns);
/* The use lasts as long as the stream, which is about to be the front's. */
void trunk_follow(struct trunk_use *use, struct stream *stream);
/* Makes one of `family` unless enough are on their way already. */
void trunk_make(struct upstream *x, uint8_t family, unsigned int n_wanted, uint64_t now_ns);
void trunk_adopt(struct upstream *x, struct carrier *from);
unsigned int trunk_count(const struct upstream *x, uint8_t family);
void trunk_sweep(struct upstream *x, uint64_t now_ns);
void trunk_free_all(struct upstream *x);

enum dial_state {
    DIAL_WAITING,    /* for a relay or a trunk */
    DIAL_CONNECTING, /* Connect is on its way */
    DIAL_BINDING,    /* ConnectionBind is */
};

struct dial {
    struct list link;     /* x->dials */
    struct list on_trunk; /* trunk->dials, from CONNECTING on */
    struct upstream *x;
    struct trunk *trunk;
    struct trunk_use *use;
    struct addr peer;
    exit_on_dialed *on_dialed;
    void *user;
    enum dial_state state;
    uint32_t id;
    unsigned int n_tries;
    uint64_t relay_until_ns, until_ns; /* give up when no relay is found; in any case */
    uint64_t binding_ns;               /* BINDING since */
    struct carrier carrier;            /* BINDING */
};

int dial_start(struct exit *e, const struct addr *peer, exit_on_dialed *on_dialed, void *user,
               struct dial **ret);
void dial_hang_up(struct dial *d);
void dial_pump(struct upstream *x, uint64_t now_ns);
void dial_on_connect(struct trunk *t, uint32_t connect_id, enum exit_result result,
                     uint32_t connection_id);
/* Its trunk has gone. */
void dial_lost_trunk(struct dial *d);
void dial_end_all(struct upstream *x, enum exit_result why);

/* ---- the exit ---- */

struct upstream {
    struct exit exit; /* first: a struct exit of ours is a struct upstream */
    struct upstream_params params;
    struct link_env env;
    const struct conf *conf;
    struct cred *creds; /* one per url */
    size_t n_creds;
    struct tls_client *tls;
    struct resolver *near, *far;
    struct find datagrams, streams;
    struct list carriers, ready_links, ready_sessions, assocs, trunks, dials;
    unsigned int n_ready_links, n_ready_sessions, n_trunks;
    unsigned int n_sessions; /* all of them */
    unsigned int n_most;     /* share.c: so many there were when one was refused */
    uint64_t most_until_ns;
    uint32_t next_dial_id;
    uint64_t no_v6_until_ns;       /* the relay has no IPv6 for streams */
    uint64_t no_v6_assoc_until_ns; /* nor for datagrams */
    uint64_t no_trunk_until_ns;    /* the relay gives no more allocations for now */
    uint64_t no_ready_until_ns;    /* nor one that nobody needs yet */
    unsigned int turn;
    struct way way;
    uint64_t due_ns;     /* of the timer */
    struct event ticker; /* sessions' timers */
    struct event pump;   /* something can go on, on the next turn of the loop */
};

static inline struct upstream *upstream_of(struct exit *e)
{
    return (struct upstream *)(void *)e;
}

/* All that is due, and whoever waits looks again: what the timer does. Tests have no other. */
void upstream_tick(struct upstream *x, uint64_t now_ns);
/* On the next turn of the loop, whoever waits looks again. */
void upstream_wake(struct upstream *x);
void upstream_state_changed(struct upstream *x);
struct session_waker upstream_waker(struct upstream *x);
/* Something is wrong on the way: every session asks whether its relay is there. */
void upstream_probe_all(struct upstream *x);
/* What an Allocate's refusal means to a front. */
enum exit_result upstream_result(const struct session_ended *ended);
