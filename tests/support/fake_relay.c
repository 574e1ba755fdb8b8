#include "tests/support/fake_relay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cursor.h"
#include "tests/support/fake_exit.h"

/* Both algorithms, SHA-256 first. */
static const uint8_t algorithms[] = {0, STUN_PASSWORD_SHA256, 0, 0, 0, STUN_PASSWORD_MD5, 0, 0};

void fake_relay_init(struct fake_relay *r, struct fake_wire *wire)
{
    *r = (struct fake_relay){
        .wire = wire,
        .user = "alice",
        .password = "wonderland",
        .realm = "test",
        .lifetime_s = 600,
    };
    fake_relay_new_nonce(r);
}

void fake_relay_new_nonce(struct fake_relay *r)
{
    /* "gAAA": password algorithms; "wAAA": and user names made anonymous. */
    const char *cookie = r->rfc5389 ? "" : r->userhash ? "obMatJos2wAAA" : "obMatJos2gAAA";

    snprintf(r->nonce, sizeof(r->nonce), "%snonce-%u", cookie, ++r->n_nonces);
}

static size_t relay_key(const struct fake_relay *r, const char *password, uint8_t *ret)
{
    return stun_long_term_key(r->rfc5389 ? STUN_PASSWORD_MD5 : STUN_PASSWORD_SHA256, r->user,
                              r->realm, password, ret);
}

static enum stun_integrity relay_integrity(const struct fake_relay *r)
{
    return r->rfc5389 ? STUN_INTEGRITY_SHA1 : STUN_INTEGRITY_SHA256;
}

/* ---- requests ---- */

static bool text_is(const struct stun_msg *msg, enum stun_attr attr, const char *text)
{
    size_t len = 0;
    const uint8_t *value = stun_get(msg, attr, &len);

    return value && len == strlen(text) && memcmp(value, text, len) == 0;
}

static void check_algorithms(const struct fake_relay *r, const struct stun_msg *msg)
{
    size_t len = 0;
    const uint8_t *list = stun_get(msg, STUN_PASSWORD_ALGORITHMS, &len);
    uint32_t choice = 0;

    if (r->rfc5389) {
        ck_assert(!list && !stun_has(msg, STUN_PASSWORD_ALGORITHM));
        return;
    }
    ck_assert(list && len == sizeof(algorithms) && memcmp(list, algorithms, len) == 0);
    ck_assert(stun_get_u32(msg, STUN_PASSWORD_ALGORITHM, &choice));
    ck_assert_uint_eq(choice, (uint32_t)STUN_PASSWORD_SHA256 << 16);
}

static void check_user(const struct fake_relay *r, const struct stun_msg *msg)
{
    uint8_t hash[32];
    size_t len = 0;

    if (!r->userhash) {
        ck_assert(text_is(msg, STUN_USERNAME, r->user));
        return;
    }
    ck_assert(!stun_has(msg, STUN_USERNAME) && stun_has(msg, STUN_USERHASH));
    ck_assert_int_eq(stun_userhash(r->user, r->realm, hash), 0);
    ck_assert_mem_eq(stun_get(msg, STUN_USERHASH, &len), hash, sizeof(hash));
}

static void check_signed(const struct fake_relay *r, const struct stun_msg *msg)
{
    uint8_t key[STUN_KEY_MAX];
    size_t key_len = relay_key(r, r->password, key);

    if (!text_is(msg, STUN_REALM, r->realm) ||
        (!r->takes_any_nonce && !text_is(msg, STUN_NONCE, r->nonce)))
        return; /* to be challenged, which is the test's to say */
    check_user(r, msg);
    check_algorithms(r, msg);
    ck_assert_msg(stun_check_integrity(msg, relay_integrity(r), key, key_len),
                  "the request does not prove the password");
}

static bool read_request(struct fake_relay *r, const struct fake_sent *sent,
                         struct fake_request *ret)
{
    if (sent->len < STUN_HEADER_LEN || sent->len > sizeof(ret->buf) ||
        wire_kind_of(sent->data[0]) != WIRE_STUN)
        return false;
    memcpy(ret->buf, sent->data, sent->len);
    ret->len = sent->len;
    ck_assert_int_eq(stun_decode(&ret->msg, ret->buf, ret->len), 0);
    if (ret->msg.class != STUN_REQUEST)
        return false;
    ret->is_signed = stun_has(&ret->msg, STUN_MESSAGE_INTEGRITY) ||
                     stun_has(&ret->msg, STUN_MESSAGE_INTEGRITY_SHA256);
    if (ret->is_signed)
        check_signed(r, &ret->msg);
    return true;
}

void fake_relay_expect(struct fake_relay *r, enum stun_method method, struct fake_request *ret)
{
    const struct fake_sent *sent = fake_wire_read(r->wire);

    ck_assert_msg(sent != NULL, "nothing was sent");
    ck_assert_msg(read_request(r, sent, ret), "no request was sent");
    ck_assert_uint_eq(ret->msg.method, method);
}

void fake_relay_expect_nothing(struct fake_relay *r)
{
    ck_assert_ptr_null(fake_wire_read(r->wire));
}

bool fake_relay_find(struct fake_relay *r, enum stun_method method, struct fake_request *ret)
{
    const struct fake_sent *sent;

    while ((sent = fake_wire_read(r->wire)))
        if (read_request(r, sent, ret) && ret->msg.method == method)
            return true;
    return false;
}

/* ---- answers ---- */

void fake_relay_begin(struct fake_relay *r, const struct fake_request *req, enum stun_class class)
{
    stun_begin(&r->b, r->answer, sizeof(r->answer), class, req->msg.method, req->msg.txid);
}

static void finish(struct fake_relay *r)
{
    r->answer_len = stun_finish(&r->b);
    ck_assert_uint_gt(r->answer_len, 0);
    if (!r->hold)
        fake_relay_give(r);
}

void fake_relay_end(struct fake_relay *r)
{
    uint8_t key[STUN_KEY_MAX];
    size_t key_len = relay_key(r, r->forger ? r->forger : r->password, key);

    if (!r->unsigned_answers)
        stun_put_integrity(&r->b, relay_integrity(r), key, key_len);
    finish(r);
}

void fake_relay_give(struct fake_relay *r)
{
    fake_wire_give(r->wire, r->answer, r->answer_len);
}

void fake_relay_challenge(struct fake_relay *r, const struct fake_request *req, unsigned int code)
{
    fake_relay_begin(r, req, STUN_ERROR);
    stun_put_error(&r->b, code);
    stun_put_text(&r->b, STUN_REALM, r->realm);
    stun_put_text(&r->b, STUN_NONCE, r->nonce);
    if (!r->rfc5389)
        stun_put(&r->b, STUN_PASSWORD_ALGORITHMS, algorithms, sizeof(algorithms));
    finish(r);
}

void fake_relay_error(struct fake_relay *r, const struct fake_request *req, unsigned int code)
{
    fake_relay_begin(r, req, STUN_ERROR);
    stun_put_error(&r->b, code);
    fake_relay_end(r);
}

void fake_relay_success(struct fake_relay *r, const struct fake_request *req)
{
    fake_relay_begin(r, req, STUN_SUCCESS);
    fake_relay_end(r);
}

static bool wants_v6_only(const struct fake_request *req)
{
    uint8_t family = 0;

    return stun_get_u8(&req->msg, STUN_REQUESTED_ADDRESS_FAMILY, &family) && family == 2;
}

static void put_ticket(struct fake_relay *r)
{
    static unsigned int n_tickets;

    snprintf(r->ticket, sizeof(r->ticket), "ticket-%u", ++n_tickets);
    stun_put_text(&r->b, STUN_MOBILITY_TICKET, r->ticket);
}

void fake_relay_allocated(struct fake_relay *r, const struct fake_request *req)
{
    struct addr v4 = at(RELAYED), v6 = at(RELAYED6), mapped = at("198.51.100.7:40000");
    bool dual = stun_has(&req->msg, STUN_ADDITIONAL_ADDRESS_FAMILY) && !r->v4_only;

    fake_relay_begin(r, req, STUN_SUCCESS);
    if (!wants_v6_only(req))
        stun_put_addr(&r->b, STUN_XOR_RELAYED_ADDRESS, &v4);
    if (wants_v6_only(req) || (dual && r->v6_error == 0))
        stun_put_addr(&r->b, STUN_XOR_RELAYED_ADDRESS, &v6);
    if (dual && r->v6_error != 0)
        stun_put_u32(&r->b, STUN_ADDRESS_ERROR_CODE,
                     2u << 24 | r->v6_error / 100 << 8 | r->v6_error % 100);
    stun_put_addr(&r->b, STUN_XOR_MAPPED_ADDRESS, &mapped);
    stun_put_u32(&r->b, STUN_LIFETIME, r->lifetime_s);
    if (stun_has(&req->msg, STUN_EVEN_PORT))
        stun_put(&r->b, STUN_RESERVATION_TOKEN, "tokentok", 8);
    if (r->mobile && stun_has(&req->msg, STUN_MOBILITY_TICKET))
        put_ticket(r);
    fake_relay_end(r);
}

void fake_relay_refreshed(struct fake_relay *r, const struct fake_request *req, uint32_t lifetime_s)
{
    fake_relay_begin(r, req, STUN_SUCCESS);
    stun_put_u32(&r->b, STUN_LIFETIME, lifetime_s);
    fake_relay_end(r);
}

void fake_relay_moved(struct fake_relay *r, const struct fake_request *req)
{
    fake_relay_begin(r, req, STUN_SUCCESS);
    stun_put_u32(&r->b, STUN_LIFETIME, r->lifetime_s);
    if (r->mobile)
        put_ticket(r);
    fake_relay_end(r);
}

void fake_relay_connected(struct fake_relay *r, const struct fake_request *req, uint32_t id)
{
    fake_relay_begin(r, req, STUN_SUCCESS);
    stun_put_u32(&r->b, STUN_CONNECTION_ID, id);
    fake_relay_end(r);
}

/* A number that had another peer before would be refused (RFC 8656, section 12.2). */
static void serve_channel(struct fake_relay *r, const struct fake_request *req)
{
    struct addr peer, *had;
    uint16_t number;

    ck_assert(stun_get_u16(&req->msg, STUN_CHANNEL_NUMBER, &number));
    ck_assert(number >= CHANNEL_MIN && number <= CHANNEL_MAX);
    ck_assert(stun_get_peer(&req->msg, 0, &peer));
    had = &r->channels[number - CHANNEL_MIN];
    ck_assert_msg(had->family == ADDR_NONE || addr_equal(had, &peer), "a number had another peer");
    *had = peer;
}

static void serve_one(struct fake_relay *r, const struct fake_request *req)
{
    r->n_served[req->msg.method & 0xF]++;
    r->served_ns[req->msg.method & 0xF] = fake_now_ns;
    if (req->msg.method == STUN_CHANNEL_BIND)
        serve_channel(r, req);
    if (!req->is_signed || !text_is(&req->msg, STUN_NONCE, r->nonce))
        fake_relay_challenge(r, req, req->is_signed ? 438 : 401);
    else if (req->msg.method == STUN_ALLOCATE)
        fake_relay_allocated(r, req);
    else if (req->msg.method == STUN_REFRESH && stun_has(&req->msg, STUN_MOBILITY_TICKET))
        fake_relay_moved(r, req);
    else if (req->msg.method == STUN_REFRESH)
        fake_relay_refreshed(r, req, r->lifetime_s);
    else
        fake_relay_success(r, req);
}

void fake_relay_serve(struct fake_relay *r)
{
    const struct fake_sent *sent;
    struct fake_request req;

    while ((sent = fake_wire_read(r->wire)))
        if (read_request(r, sent, &req))
            serve_one(r, &req);
}

/* ---- indications and data ---- */

static void begin_indication(struct fake_relay *r, enum stun_method method, const char *peer)
{
    static const uint8_t txid[STUN_TXID_LEN] = {7};
    struct addr addr = at(peer);

    stun_begin(&r->b, r->answer, sizeof(r->answer), STUN_INDICATION, method, txid);
    stun_put_addr(&r->b, STUN_XOR_PEER_ADDRESS, &addr);
}

void fake_relay_data(struct fake_relay *r, const char *peer, const void *data, size_t len)
{
    begin_indication(r, STUN_DATA, peer);
    stun_put(&r->b, STUN_DATA_ATTR, data, len);
    finish(r);
}

void fake_relay_icmp(struct fake_relay *r, const char *peer, uint8_t type, uint8_t code,
                     uint32_t data)
{
    uint8_t value[8] = {0, 0, type, code};

    put_u32(value + 4, data);
    begin_indication(r, STUN_DATA, peer);
    stun_put(&r->b, STUN_ICMP, value, sizeof(value));
    finish(r);
}

void fake_relay_channel_data(struct fake_relay *r, unsigned int number, const void *data,
                             size_t len)
{
    channel_put_header(r->answer, (uint16_t)number, (uint16_t)len);
    memcpy(r->answer + CHANNEL_HEADER_LEN, data, len);
    r->answer_len = CHANNEL_HEADER_LEN + len;
    fake_relay_give(r);
}

void fake_relay_attempt(struct fake_relay *r, const char *peer, uint32_t id)
{
    begin_indication(r, STUN_CONNECTION_ATTEMPT, peer);
    stun_put_u32(&r->b, STUN_CONNECTION_ID, id);
    finish(r);
}
