#include "tests/support/session_world.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"

/* ---- the owner ---- */

static void maybe_free(struct session_world *w)
{
    if (!w->frees_on_any_event)
        return;
    session_free(w->session, fake_now_ns);
    w->session = NULL;
}

static void on_live(void *user, const struct assoc_opened *opened)
{
    struct session_world *w = user;

    w->n_live++;
    w->opened = *opened;
    maybe_free(w);
}

static void on_ended(void *user, const struct session_ended *ended)
{
    struct session_world *w = user;

    w->n_ended++;
    w->ended = *ended;
    maybe_free(w);
}

static void on_moving(void *user, const struct session_ended *ended)
{
    struct session_world *w = user;

    w->n_moving++;
    w->moving = *ended;
    maybe_free(w);
}

static void on_datagram(void *user, const struct addr *peer, const uint8_t *data, size_t len,
                        uint64_t now_ns)
{
    struct session_world *w = user;
    struct got_datagram *got = &w->datagrams[w->n_datagrams++ % SESSION_WORLD_EVENTS];

    got->peer = *peer;
    got->len = len;
    if (len > 0)
        memcpy(got->data, data, len < sizeof(got->data) ? len : sizeof(got->data));
    maybe_free(w);
}

static void on_icmp(void *user, const struct assoc_icmp *icmp, uint64_t now_ns)
{
    struct session_world *w = user;

    w->n_icmp++;
    w->icmp = *icmp;
    maybe_free(w);
}

static void on_permitted(void *user, const struct addr *peer, unsigned int code)
{
    struct session_world *w = user;

    if (code == 0) {
        w->n_permitted++;
        return;
    }
    w->n_refused++;
    w->refused_peer = *peer;
    w->refused_code = code;
    maybe_free(w);
}

static void on_connect(void *user, uint32_t connect_id, enum exit_result result,
                       uint32_t connection_id)
{
    struct session_world *w = user;

    w->n_connects++;
    w->connect_id = connect_id;
    w->connect_result = result;
    w->connection_id = connection_id;
    maybe_free(w);
}

static void on_attempt(void *user, const struct addr *peer, uint32_t connection_id)
{
    struct session_world *w = user;

    w->n_attempts++;
    w->attempt_peer = *peer;
    w->attempt_id = connection_id;
    maybe_free(w);
}

static const struct session_events events = {
    .on_live = on_live,
    .on_ended = on_ended,
    .on_moving = on_moving,
    .on_datagram = on_datagram,
    .on_icmp = on_icmp,
    .on_permitted = on_permitted,
    .on_connect = on_connect,
    .on_attempt = on_attempt,
};

static void on_wake(void *arg, uint64_t at_ns)
{
    struct session_world *w = arg;

    w->n_wakes++;
    ck_assert_uint_lt(at_ns, w->due_ns); /* earlier than we were told */
    w->due_ns = at_ns;
}

/* ---- life ---- */

static void start(struct session_world *w, enum link_kind kind, const struct session_want *want)
{
    static const struct session_want udp_v4 = {.v4 = true};
    struct session_waker waker = {.wake = on_wake, .arg = w, .counters = &w->counters};

    w->wire = fake_wire_new(kind);
    w->session = session_new(w->wire->link, &w->cred, want ? want : &udp_v4, &waker, &events, w,
                             fake_now_ns);
    ck_assert_ptr_nonnull(w->session);
    w->due_ns = session_due_ns(w->session);
    fake_wire_open(w->wire);
}

struct session_world *session_world_new(enum link_kind kind, const struct session_want *want)
{
    struct session_world *w = calloc(1, sizeof(*w));

    ck_assert_ptr_nonnull(w);
    ck_assert_int_eq(cred_init(&w->cred, "alice", "wonderland"), 0);
    start(w, kind, want);
    fake_relay_init(&w->relay, w->wire);
    return w;
}

struct session_world *session_world_live(enum link_kind kind, const struct session_want *want)
{
    struct session_world *w = session_world_new(kind, want);

    fake_relay_serve(&w->relay);
    ck_assert_uint_eq(w->n_live, 1);
    return w;
}

void session_world_again(struct session_world *w, enum link_kind kind,
                         const struct session_want *want)
{
    session_free(w->session, fake_now_ns);
    w->n_live = w->n_ended = 0;
    start(w, kind, want);
    w->relay.wire = w->wire;
}

void session_world_move(struct session_world *w, enum link_kind kind)
{
    ck_assert(session_wants_link(w->session, fake_now_ns));
    w->wire = w->relay.wire = fake_wire_new(kind);
    session_move(w->session, w->wire->link, &w->cred, fake_now_ns);
}

void session_world_free(struct session_world *w)
{
    session_free(w->session, fake_now_ns);
    cred_deinit(&w->cred);
    free(w);
    fake_wires_free_all();
    far_free_all();
}

/* ---- time ---- */

void session_world_pass_ms(struct session_world *w, uint64_t ms)
{
    uint64_t end_ns = fake_now_ns + ms * NS_PER_MS;
    unsigned int n_ticks = 0;

    while (w->session && w->due_ns <= end_ns) {
        struct session *s = w->session;
        uint64_t due_ns;

        ck_assert_msg(++n_ticks < 20000, "the session is never content");
        if (w->due_ns > fake_now_ns)
            fake_now_ns = w->due_ns;
        due_ns = session_tick(s, fake_now_ns);
        if (w->session)
            ck_assert_uint_eq(due_ns, session_due_ns(s));
        w->due_ns = due_ns;
    }
    fake_now_ns = end_ns;
}

void session_world_serve_s(struct session_world *w, unsigned int seconds)
{
    for (unsigned int i = 0; i < 4 * seconds; i++) {
        session_world_pass_ms(w, 250);
        fake_relay_serve(&w->relay);
    }
}

/* ---- data ---- */

void session_world_send(struct session_world *w, const char *peer, const char *text)
{
    struct addr addr = at(peer);

    session_send(w->session, &addr, (const uint8_t *)text, strlen(text), false, fake_now_ns);
}

void expect_send(struct session_world *w, const char *peer, const char *text)
{
    const struct fake_sent *sent = fake_wire_read(w->wire);
    struct addr addr = at(peer), to = {0};
    struct stun_msg msg;
    const uint8_t *data;
    size_t len = 0;

    ck_assert_msg(sent != NULL, "nothing was sent");
    ck_assert_int_eq(stun_decode(&msg, sent->data, sent->len), 0);
    ck_assert_int_eq(msg.class, STUN_INDICATION);
    ck_assert_uint_eq(msg.method, STUN_SEND);
    ck_assert(stun_get_peer(&msg, 0, &to) && addr_equal(&to, &addr));
    data = stun_get(&msg, STUN_DATA_ATTR, &len);
    ck_assert(data && len == strlen(text) && memcmp(data, text, len) == 0);
}

void expect_channel_data(struct session_world *w, unsigned int number, const char *text)
{
    const struct fake_sent *sent = fake_wire_read(w->wire);
    const uint8_t *payload;
    uint16_t n;
    size_t len;

    ck_assert_msg(sent != NULL, "nothing was sent");
    ck_assert_int_eq(channel_parse(sent->data, sent->len, &n, &payload, &len), 0);
    ck_assert_uint_eq(n, number);
    ck_assert(len == strlen(text) && memcmp(payload, text, len) == 0);
}

void expect_got(const struct session_world *w, unsigned int i, const char *peer, const char *text)
{
    struct addr addr = at(peer);

    ck_assert_uint_lt(i, w->n_datagrams);
    ck_assert(addr_equal(&w->datagrams[i].peer, &addr));
    ck_assert_uint_eq(w->datagrams[i].len, strlen(text));
    ck_assert_mem_eq(w->datagrams[i].data, text, strlen(text));
}
