/*
 * Bytes from the relay into a live session (relay/exit/upstream/session.h), and everything else
 * that may happen to it, in any order.
 *
 * The input is a row of steps: what to do, how many bytes go with it, the bytes. Answers can be
 * made to fit the last request, and signed, so that mutations reach what lies behind those two
 * checks. The first byte chooses datagrams or a stream, UDP or TCP relaying.
 */
#include <string.h>

#include "common/base/clock.h"
#include "common/base/cursor.h"
#include "relay/exit/upstream/session.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_link.h"

#define N_STEPS_MAX 200

enum step {
    STEP_RAW,       /* a message as it is */
    STEP_ANSWER,    /* attributes of an answer to the last request; the first byte: its class */
    STEP_SIGNED,    /* the same, proven */
    STEP_DATA,      /* attributes of a Data or ConnectionAttempt indication */
    STEP_CHANNEL,   /* ChannelData */
    STEP_TIME,      /* quarters of a second go by */
    STEP_SEND,      /* a datagram to one of 256 peers, or a Connect */
    STEP_CHALLENGE, /* 401 or 438 with the relay's realm, and the bytes for a nonce */
    N_STEPS,
};

struct owner {
    struct session *session;
    struct fake_wire *wire;
    uint64_t due_ns;
    bool live, ended;
    uint32_t n_connects;   /* asked, not answered */
    uint8_t request[4096]; /* the last one sent */
    size_t request_len;
};

static struct owner owner;
static volatile unsigned int sink;

/* ---- the owner's events: what may be relied on ---- */

static void touch(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sink += data[i];
}

static void on_live(void *user, const struct assoc_opened *opened)
{
    fuzz_check(!owner.live && !owner.ended);
    fuzz_check(opened->result == EXIT_OK);
    fuzz_check(opened->relayed_v4.family == ADDR_IPV4 || opened->relayed_v6.family == ADDR_IPV6);
    owner.live = true;
}

static void on_ended(void *user, const struct session_ended *ended)
{
    fuzz_check(!owner.ended);
    fuzz_check(memchr(ended->why, 0, sizeof(ended->why)) && ended->why[0]);
    owner.ended = true;
}

static void on_datagram(void *user, const struct addr *peer, const uint8_t *data, size_t len,
                        uint64_t now_ns)
{
    fuzz_check(owner.live && !owner.ended && peer->family != ADDR_NONE);
    touch(data, len);
}

static void on_icmp(void *user, const struct assoc_icmp *icmp, uint64_t now_ns)
{
    fuzz_check(owner.live && !owner.ended && icmp->peer.family != ADDR_NONE);
}

static void on_permitted(void *user, const struct addr *peer, unsigned int code)
{
    fuzz_check(owner.live && !owner.ended && peer->family != ADDR_NONE);
}

static void on_connect(void *user, uint32_t connect_id, enum exit_result result,
                       uint32_t connection_id)
{
    fuzz_check(owner.live && !owner.ended && owner.n_connects > 0);
    owner.n_connects--;
}

static void on_attempt(void *user, const struct addr *peer, uint32_t connection_id)
{
    fuzz_check(owner.live && !owner.ended && peer->family != ADDR_NONE);
}

static const struct session_events events = {
    .on_live = on_live,
    .on_ended = on_ended,
    .on_datagram = on_datagram,
    .on_icmp = on_icmp,
    .on_permitted = on_permitted,
    .on_connect = on_connect,
    .on_attempt = on_attempt,
};

static void on_wake(void *arg, uint64_t at_ns)
{
    fuzz_check(at_ns < owner.due_ns);
    owner.due_ns = at_ns;
}

/* ---- the relay ---- */

static void remember_requests(void)
{
    const struct fake_sent *sent;
    struct stun_msg msg;

    while ((sent = fake_wire_read(owner.wire))) {
        if (stun_decode(&msg, sent->data, sent->len) != 0 || msg.class != STUN_REQUEST)
            continue;
        fuzz_check(sent->len <= sizeof(owner.request));
        memcpy(owner.request, sent->data, sent->len);
        owner.request_len = sent->len;
    }
}

static void give_answer(const uint8_t *bytes, size_t len, bool is_signed)
{
    struct stun_msg asked;
    struct stun_builder b;
    uint8_t buf[1024], key[STUN_KEY_MAX];
    size_t n = len > 0 ? (len - 1) / 4 * 4 : 0;

    if (len == 0 || stun_decode(&asked, owner.request, owner.request_len) != 0)
        return;
    stun_begin(&b, buf, sizeof(buf), bytes[0] & 1 ? STUN_ERROR : STUN_SUCCESS, asked.method,
               asked.txid);
    memcpy(buf + b.len, bytes + 1, n);
    b.len += n;
    if (is_signed)
        stun_put_integrity(&b, STUN_INTEGRITY_SHA1, key,
                           stun_long_term_key(STUN_PASSWORD_MD5, "u", "r", "p", key));
    fake_wire_give(owner.wire, buf, stun_finish(&b));
}

static void give_challenge(const uint8_t *bytes, size_t len)
{
    struct stun_msg asked;
    struct stun_builder b;
    uint8_t buf[1024];

    if (len == 0 || stun_decode(&asked, owner.request, owner.request_len) != 0)
        return;
    stun_begin(&b, buf, sizeof(buf), STUN_ERROR, asked.method, asked.txid);
    stun_put_error(&b, bytes[0] & 1 ? 438 : 401);
    stun_put_text(&b, STUN_REALM, "r");
    stun_put(&b, STUN_NONCE, bytes, len);
    fake_wire_give(owner.wire, buf, stun_finish(&b));
}

static void give_indication(const uint8_t *bytes, size_t len)
{
    static const uint8_t txid[STUN_TXID_LEN] = {1};
    struct stun_builder b;
    uint8_t buf[1024];
    size_t n = len > 0 ? (len - 1) / 4 * 4 : 0;

    if (len == 0)
        return;
    stun_begin(&b, buf, sizeof(buf), STUN_INDICATION,
               bytes[0] & 1 ? STUN_CONNECTION_ATTEMPT : STUN_DATA, txid);
    memcpy(buf + b.len, bytes + 1, n);
    b.len += n;
    fake_wire_give(owner.wire, buf, stun_finish(&b));
}

static void give_channel_data(const uint8_t *bytes, size_t len)
{
    uint8_t buf[4 + 256] = {0x40};

    if (len == 0)
        return;
    buf[1] = bytes[0];
    buf[3] = (uint8_t)(len - 1);
    memcpy(buf + 4, bytes + 1, len - 1);
    fake_wire_give(owner.wire, buf, 4 + len - 1);
}

/* ---- steps ---- */

static void tick_until(uint64_t end_ns)
{
    unsigned int n_ticks = 0;

    while (owner.due_ns <= end_ns) {
        fuzz_check(++n_ticks < 10000); /* it is content some time */
        if (owner.due_ns > fake_now_ns)
            fake_now_ns = owner.due_ns;
        owner.due_ns = session_tick(owner.session, fake_now_ns);
        fuzz_check(owner.due_ns == session_due_ns(owner.session));
    }
    fake_now_ns = end_ns;
}

static void send_or_connect(const uint8_t *bytes, size_t len, bool tcp)
{
    struct addr peer = addr_make_v4(0xCB007100u + (len > 0 ? bytes[0] : 0), 9);

    if (!tcp)
        session_send(owner.session, &peer, bytes, len, len > 1 && bytes[1] & 1, fake_now_ns);
    else if (session_connect(owner.session, &peer, 1, fake_now_ns) == EXIT_OK)
        owner.n_connects++;
}

static void take_step(enum step step, const uint8_t *bytes, size_t len, bool tcp)
{
    switch (step) {
    case STEP_RAW:
        fake_wire_give(owner.wire, bytes, len);
        break;
    case STEP_ANSWER:
    case STEP_SIGNED:
        give_answer(bytes, len, step == STEP_SIGNED);
        break;
    case STEP_DATA:
        give_indication(bytes, len);
        break;
    case STEP_CHANNEL:
        give_channel_data(bytes, len);
        break;
    case STEP_TIME:
        tick_until(fake_now_ns + (len > 0 ? bytes[0] : 1) * 250 * NS_PER_MS);
        break;
    case STEP_SEND:
        send_or_connect(bytes, len, tcp);
        break;
    case STEP_CHALLENGE:
        give_challenge(bytes, len);
        break;
    case N_STEPS:
        break;
    }
    remember_requests();
}

static void take_steps(const uint8_t *data, size_t size, bool tcp)
{
    struct reader r = reader_make(data, size);

    for (int i = 0; i < N_STEPS_MAX && reader_left(&r) >= 2 && !owner.ended; i++) {
        enum step step = (enum step)(reader_u8(&r) % N_STEPS);
        size_t len = reader_u8(&r);

        if (len > reader_left(&r))
            len = reader_left(&r);
        take_step(step, reader_bytes(&r, len), len, tcp);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool stream = size > 0 && data[0] & 1, tcp = stream && data[0] & 2;
    struct session_want want = {.tcp = tcp, .v4 = true, .v6 = size > 0 && data[0] & 4};
    struct session_waker waker = {.wake = on_wake};
    struct cred cred;

    if (size == 0 || cred_init(&cred, "u", "p") < 0)
        return 0;
    memset(&owner, 0, sizeof(owner));
    fake_now_ns = 7200 * NS_PER_S;
    owner.wire = fake_wire_new(stream ? LINK_TCP : LINK_UDP);
    owner.session = session_new(owner.wire->link, &cred, &want, &waker, &events, NULL, fake_now_ns);
    fuzz_check(owner.session);
    owner.due_ns = session_due_ns(owner.session);
    fake_wire_open(owner.wire);
    remember_requests();
    take_steps(data + 1, size - 1, tcp);
    if (!owner.ended) /* with nobody there any more it ends, and soon */
        tick_until(fake_now_ns + 3600 * NS_PER_S);
    fuzz_check(owner.ended);
    session_free(owner.session, fake_now_ns);
    fuzz_check(!owner.wire->link);
    cred_deinit(&cred);
    fake_wires_free_all();
    return 0;
}
