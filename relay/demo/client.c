#include "relay/demo/client.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/cursor.h"
#include "common/wire/channel.h"

#define DEMO_MESSAGE_MAX 2048
#define DEMO_SEND_NS     (2 * NS_PER_S)

/* RFC 8489, section 6.2.1: 500 ms, doubled; cut short, since a relay that needs more than three
 * seconds on loopback has failed. */
#define DEMO_RTO_NS  (500 * NS_PER_MS)
#define DEMO_N_TRIES 3

/* The requests of this client, by what they carry. */
struct demo_request {
    enum stun_method method;
    const struct addr *peer; /* XOR-PEER-ADDRESS */
    uint16_t channel;        /* CHANNEL-NUMBER */
    bool transport;          /* REQUESTED-TRANSPORT */
    bool release;            /* LIFETIME 0 */
};

/* ---- requests ---- */

/* RFC 8489, section 9.2.5: whoever is offered PASSWORD-ALGORITHMS returns the list as it was and
 * says which entry it took, so that nobody on the way can strike the better one. */
static void demo_put_credentials(const struct demo_client *c, struct stun_builder *b)
{
    static const uint8_t sha256[4] = {0, STUN_PASSWORD_SHA256, 0, 0};

    if (c->key_len == 0)
        return;
    stun_put_text(b, STUN_USERNAME, c->user);
    stun_put_text(b, STUN_REALM, c->realm);
    stun_put_text(b, STUN_NONCE, c->nonce);
    if (c->algorithms_len > 0) {
        stun_put(b, STUN_PASSWORD_ALGORITHMS, c->algorithms, c->algorithms_len);
        stun_put(b, STUN_PASSWORD_ALGORITHM, sha256, sizeof(sha256));
    }
    stun_put_integrity(b, c->integrity, c->key, c->key_len);
}

static size_t demo_build(const struct demo_client *c, const struct demo_request *request,
                         const uint8_t txid[STUN_TXID_LEN], uint8_t *buf, size_t cap)
{
    struct stun_builder b;

    stun_begin(&b, buf, cap, STUN_REQUEST, request->method, txid);
    if (request->transport)
        stun_put_u32(&b, STUN_REQUESTED_TRANSPORT, (uint32_t)IPPROTO_UDP << 24);
    if (request->channel)
        stun_put_u32(&b, STUN_CHANNEL_NUMBER, (uint32_t)request->channel << 16);
    if (request->peer)
        stun_put_addr(&b, STUN_XOR_PEER_ADDRESS, request->peer);
    if (request->release)
        stun_put_u32(&b, STUN_LIFETIME, 0);
    demo_put_credentials(c, &b);
    return stun_finish(&b);
}

/* The answer to `txid`. */
static int demo_await(struct demo_client *c, const uint8_t txid[STUN_TXID_LEN],
                      uint64_t deadline_ns, struct stun_msg *ret)
{
    for (;;) {
        const uint8_t *data;
        size_t len;
        int r = demo_link_receive(&c->link, deadline_ns, &data, &len);

        if (r < 0)
            return r;
        if (wire_kind_of(data[0]) == WIRE_STUN && stun_decode(ret, data, len) == 0 &&
            (ret->class == STUN_SUCCESS || ret->class == STUN_ERROR) &&
            memcmp(ret->txid, txid, STUN_TXID_LEN) == 0)
            return 0;
    }
}

/* One request and its answer, whatever that is. Over a stream nothing is sent twice. */
static int demo_exchange(struct demo_client *c, const struct demo_request *request,
                         struct stun_msg *ret)
{
    uint8_t txid[STUN_TXID_LEN], buf[DEMO_MESSAGE_MAX];
    uint64_t wait_ns = DEMO_RTO_NS;
    size_t len;
    int r = -ETIMEDOUT;

    if (RAND_bytes(txid, sizeof(txid)) != 1)
        return -EIO;
    len = demo_build(c, request, txid, buf, sizeof(buf));
    if (len == 0)
        return -EMSGSIZE;
    for (unsigned int i = 0; i < DEMO_N_TRIES && r == -ETIMEDOUT; i++, wait_ns *= 2) {
        uint64_t now_ns = clock_now_ns();

        if (i == 0 || !c->link.stream) {
            r = demo_link_send(&c->link, buf, len, now_ns + DEMO_SEND_NS);
            if (r < 0)
                return r;
        }
        r = demo_await(c, txid, now_ns + wait_ns, ret);
    }
    return r;
}

/* ---- the long-term credential mechanism, the client's side ---- */

static bool demo_take_text(const struct stun_msg *msg, enum stun_attr attr, char *ret)
{
    size_t len;
    const uint8_t *text = stun_get(msg, attr, &len);

    if (!text || len > DEMO_TEXT_MAX || memchr(text, 0, len))
        return false;
    memcpy(ret, text, len);
    ret[len] = '\0';
    return true;
}

/* Whether PASSWORD-ALGORITHMS offers SHA-256 (RFC 8489, section 14.11). */
static bool demo_offers_sha256(const uint8_t *list, size_t len)
{
    struct reader r = reader_make(list, len);

    while (reader_left(&r) > 0) {
        uint16_t algorithm = reader_u16(&r);
        uint16_t params_len = reader_u16(&r);

        reader_bytes(&r, params_len + stun_padding(params_len));
        if (!r.failed && algorithm == STUN_PASSWORD_SHA256)
            return true;
    }
    return false;
}

/* A 401 or 438: the key and nonce for the next try. */
static int demo_take_challenge(struct demo_client *c, const struct stun_msg *msg)
{
    enum stun_password_algorithm algorithm = STUN_PASSWORD_MD5;
    size_t len = 0;
    const uint8_t *list = stun_get(msg, STUN_PASSWORD_ALGORITHMS, &len);

    if (!demo_take_text(msg, STUN_REALM, c->realm) || !demo_take_text(msg, STUN_NONCE, c->nonce))
        return -EBADMSG;
    c->algorithms_len = 0;
    c->integrity = STUN_INTEGRITY_SHA1;
    if (list && len <= sizeof(c->algorithms) && demo_offers_sha256(list, len)) {
        memcpy(c->algorithms, list, len);
        c->algorithms_len = len;
        c->integrity = STUN_INTEGRITY_SHA256;
        algorithm = STUN_PASSWORD_SHA256;
    }
    c->key_len = stun_long_term_key(algorithm, c->user, c->realm, c->password, c->key);
    return c->key_len > 0 ? 0 : -ENOMEM;
}

/* Return: 0 for a success that proves itself, the error code otherwise. */
static int demo_judge(const struct demo_client *c, const struct stun_msg *msg)
{
    unsigned int code;

    if (msg->class == STUN_ERROR)
        return stun_get_error(msg, &code) ? (int)code : -EBADMSG;
    if (c->key_len > 0 && !stun_check_integrity(msg, c->integrity, c->key, c->key_len))
        return -EBADMSG;
    return 0;
}

/* A request, with the answer to a challenge if there is one. A 401 after credentials were sent
 * means that they are wrong; a 438 only that the nonce is old. */
static int demo_transact(struct demo_client *c, const struct demo_request *request,
                         struct stun_msg *ret)
{
    for (unsigned int i = 0;; i++) {
        bool had_key = c->key_len > 0;
        int r = demo_exchange(c, request, ret);

        if (r == 0)
            r = demo_judge(c, ret);
        if (i == 2 || !((r == 401 && !had_key) || r == 438))
            return r;
        r = demo_take_challenge(c, ret);
        if (r < 0)
            return r;
    }
}

/* ---- the client ---- */

int demo_client_new(const struct addr *from, const struct addr *relay, bool stream,
                    const char *user, const char *password, struct demo_client **ret)
{
    struct demo_client *c = calloc(1, sizeof(*c));

    *ret = c;
    if (!c)
        return -ENOMEM;
    c->user = user;
    c->password = password;
    return demo_link_open(&c->link, from, relay, stream, clock_now_ns() + DEMO_SEND_NS);
}

void demo_client_free(struct demo_client *c)
{
    struct demo_request request = {.method = STUN_REFRESH, .release = true};
    struct stun_msg msg;

    if (!c)
        return;
    if (c->relayed.family != ADDR_NONE)
        (void)demo_transact(c, &request, &msg);
    demo_link_close(&c->link);
    free(c);
}

int demo_client_allocate(struct demo_client *c)
{
    struct demo_request request = {.method = STUN_ALLOCATE, .transport = true};
    struct stun_msg msg;
    int r = demo_transact(c, &request, &msg);

    if (r != 0)
        return r;
    if (!stun_get_addr(&msg, STUN_XOR_RELAYED_ADDRESS, &c->relayed) ||
        !stun_get_addr(&msg, STUN_XOR_MAPPED_ADDRESS, &c->mapped))
        return -EBADMSG;
    return 0;
}

int demo_client_permit(struct demo_client *c, const struct addr *peer)
{
    struct demo_request request = {.method = STUN_CREATE_PERMISSION, .peer = peer};
    struct stun_msg msg;

    return demo_transact(c, &request, &msg);
}

int demo_client_bind(struct demo_client *c, const struct addr *peer, uint16_t channel)
{
    struct demo_request request = {.method = STUN_CHANNEL_BIND, .peer = peer, .channel = channel};
    struct stun_msg msg;
    int r = demo_transact(c, &request, &msg);

    if (r != 0)
        return r;
    c->channel = channel;
    c->channel_peer = *peer;
    return 0;
}

/* ---- packets ---- */

static size_t demo_build_channel_data(const struct demo_client *c, const void *data, size_t len,
                                      uint8_t *buf)
{
    size_t padding = c->link.stream ? stun_padding(len) : 0;

    channel_put_header(buf, c->channel, (uint16_t)len);
    memcpy(buf + CHANNEL_HEADER_LEN, data, len);
    memset(buf + CHANNEL_HEADER_LEN + len, 0, padding);
    return CHANNEL_HEADER_LEN + len + padding;
}

static size_t demo_build_send(const struct addr *peer, const void *data, size_t len, uint8_t *buf,
                              size_t cap)
{
    uint8_t txid[STUN_TXID_LEN];
    struct stun_builder b;

    if (RAND_bytes(txid, sizeof(txid)) != 1)
        return 0;
    stun_begin(&b, buf, cap, STUN_INDICATION, STUN_SEND, txid);
    stun_put_addr(&b, STUN_XOR_PEER_ADDRESS, peer);
    stun_put(&b, STUN_DATA_ATTR, data, len);
    return stun_finish(&b);
}

int demo_client_send(struct demo_client *c, const struct addr *peer, const void *data, size_t len)
{
    uint8_t buf[DEMO_MESSAGE_MAX];
    size_t n;

    if (len > 2000)
        return -EMSGSIZE;
    if (c->channel && addr_equal(peer, &c->channel_peer))
        n = demo_build_channel_data(c, data, len, buf);
    else
        n = demo_build_send(peer, data, len, buf, sizeof(buf));
    if (n == 0)
        return -EMSGSIZE;
    return demo_link_send(&c->link, buf, n, clock_now_ns() + DEMO_SEND_NS);
}

/* Whether the message is a packet from a peer. */
static bool demo_parse_packet(const struct demo_client *c, const uint8_t *data, size_t len,
                              struct demo_packet *ret)
{
    struct stun_msg msg;
    uint16_t channel;

    if (wire_kind_of(data[0]) == WIRE_CHANNEL) {
        ret->from = c->channel_peer;
        return channel_parse(data, len, &channel, &ret->data, &ret->len) == 0 && c->channel != 0 &&
               channel == c->channel;
    }
    if (stun_decode(&msg, data, len) != 0 || msg.class != STUN_INDICATION ||
        msg.method != STUN_DATA)
        return false;
    ret->data = stun_get(&msg, STUN_DATA_ATTR, &ret->len);
    return ret->data && stun_get_addr(&msg, STUN_XOR_PEER_ADDRESS, &ret->from);
}

int demo_client_receive(struct demo_client *c, uint64_t deadline_ns, struct demo_packet *ret)
{
    for (;;) {
        const uint8_t *data;
        size_t len;
        int r = demo_link_receive(&c->link, deadline_ns, &data, &len);

        if (r < 0)
            return r;
        if (demo_parse_packet(c, data, len, ret))
            return 0;
    }
}
