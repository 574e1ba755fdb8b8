/*
 * The client's side of turn_world.h: requests, credentials, answers.
 */
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cursor.h"
#include "relay/turn/mobility.h"
#include "tests/support/turn_world.h"

/* ---- credentials ---- */

static void get_text(const struct stun_msg *msg, enum stun_attr attr, char *to, size_t cap)
{
    size_t len = 0;
    const uint8_t *value = stun_get(msg, attr, &len);

    ck_assert_ptr_nonnull(value);
    ck_assert_uint_lt(len, cap);
    memcpy(to, value, len);
    to[len] = '\0';
}

void login_learn(struct login *login, const struct stun_msg *challenge)
{
    const uint8_t *list;

    get_text(challenge, STUN_REALM, login->realm, sizeof(login->realm));
    get_text(challenge, STUN_NONCE, login->nonce, sizeof(login->nonce));
    list = stun_get(challenge, STUN_PASSWORD_ALGORITHMS, &login->algorithms_len);
    ck_assert_ptr_nonnull(list);
    ck_assert_uint_le(login->algorithms_len, sizeof(login->algorithms));
    memcpy(login->algorithms, list, login->algorithms_len);
    login->key_len = stun_long_term_key(login->algorithm, login->user, login->realm,
                                        login->password, login->key);
}

static struct login login_ask(struct fake_client *fc, struct login login)
{
    struct reply reply;
    struct req r;

    allocate_begin(&r);
    ck_assert_uint_eq(ask(fc, &r, NULL, &reply), 401);
    login_learn(&login, &reply.msg);
    return login;
}

struct login login_old(struct fake_client *fc, const char *user, const char *password)
{
    return login_ask(fc, (struct login){.user = user,
                                        .password = password,
                                        .rfc5389 = true,
                                        .algorithm = STUN_PASSWORD_MD5,
                                        .integrity = STUN_INTEGRITY_SHA1});
}

struct login login_new(struct fake_client *fc, const char *user, const char *password)
{
    return login_ask(fc, (struct login){.user = user,
                                        .password = password,
                                        .algorithm = STUN_PASSWORD_SHA256,
                                        .integrity = STUN_INTEGRITY_SHA256});
}

/* ---- requests ---- */

void req_begin(struct req *r, uint16_t method)
{
    ck_assert_int_eq(RAND_bytes(r->txid, sizeof(r->txid)), 1);
    r->method = method;
    stun_begin(&r->b, r->buf, sizeof(r->buf), STUN_REQUEST, method, r->txid);
}

static void req_sign(struct req *r, const struct login *login)
{
    uint8_t hash[32];

    if (login->userhash) {
        ck_assert_int_eq(stun_userhash(login->user, login->realm, hash), 0);
        stun_put(&r->b, STUN_USERHASH, hash, sizeof(hash));
    } else {
        stun_put_text(&r->b, STUN_USERNAME, login->user);
    }
    stun_put_text(&r->b, STUN_REALM, login->realm);
    stun_put_text(&r->b, STUN_NONCE, login->nonce);
    if (!login->rfc5389) {
        stun_put(&r->b, STUN_PASSWORD_ALGORITHMS, login->algorithms, login->algorithms_len);
        stun_put_u32(&r->b, STUN_PASSWORD_ALGORITHM, (uint32_t)login->algorithm << 16);
    }
    stun_put_integrity(&r->b, login->integrity, login->key, login->key_len);
    if (login->fingerprint)
        stun_put_fingerprint(&r->b);
}

size_t req_end(struct req *r, const struct login *login)
{
    size_t len;

    if (login)
        req_sign(r, login);
    len = stun_finish(&r->b);
    ck_assert_uint_gt(len, 0);
    return len;
}

bool message_shows_ip(const uint8_t *data, size_t len, const struct addr *ip)
{
    size_t n = addr_ip_len(ip);
    uint8_t xored[16];

    for (size_t i = 0; i < n && len >= STUN_HEADER_LEN; i++)
        xored[i] = ip->ip[i] ^ data[4 + i];
    for (size_t i = 0; i + n <= len; i++)
        if (memcmp(data + i, ip->ip, n) == 0 ||
            (len >= STUN_HEADER_LEN && memcmp(data + i, xored, n) == 0))
            return true;
    return false;
}

void reply_read(struct fake_client *fc, struct reply *reply)
{
    const struct fake_message *m = fake_client_sent(fc, 0);

    *reply = (struct reply){0};
    if (!m)
        return;
    ck_assert_uint_le(m->len, sizeof(reply->buf));
    memcpy(reply->buf, m->data, m->len);
    reply->len = m->len;
    ck_assert_int_eq(stun_decode(&reply->msg, reply->buf, reply->len), 0);
    reply->any = true;
    if (reply->msg.class == STUN_ERROR)
        ck_assert(stun_get_error(&reply->msg, &reply->code));
}

void req_send(struct fake_client *fc, const struct req *r, struct reply *reply)
{
    size_t before = fc->n_sent;

    ck_assert_int_eq(fake_client_give(fc, r->buf, r->b.len), 0);
    *reply = (struct reply){0};
    if (fc->n_sent == before)
        return;
    ck_assert_uint_eq(fc->n_sent, before + 1);
    reply_read(fc, reply);
    ck_assert_uint_eq(reply->msg.method, r->method);
    ck_assert_mem_eq(reply->msg.txid, r->txid, STUN_TXID_LEN);
}

bool reply_is_authentic(const struct reply *reply, const struct login *login)
{
    return stun_check_integrity(&reply->msg, login->integrity, login->key, login->key_len);
}

static void check_integrity(const struct reply *reply, const struct login *login)
{
    bool has = stun_has(&reply->msg, STUN_MESSAGE_INTEGRITY) ||
               stun_has(&reply->msg, STUN_MESSAGE_INTEGRITY_SHA256);

    if (!login || reply->code == 401 || reply->code == 438)
        ck_assert(!has);
    else if (has || reply->code != 400)
        ck_assert_msg(reply_is_authentic(reply, login), "answer %u is not authentic", reply->code);
    if (reply->code == 401 || reply->code == 438) {
        ck_assert(stun_has(&reply->msg, STUN_REALM));
        ck_assert(stun_has(&reply->msg, STUN_NONCE));
        ck_assert(stun_has(&reply->msg, STUN_PASSWORD_ALGORITHMS));
    }
}

unsigned int ask(struct fake_client *fc, struct req *r, const struct login *login,
                 struct reply *reply)
{
    struct reply mine;

    if (!reply)
        reply = &mine;
    req_end(r, login);
    req_send(fc, r, reply);
    ck_assert_msg(reply->any, "method 0x%03x was not answered", r->method);
    check_integrity(reply, login);
    ck_assert(!fc->hidden || !message_shows_ip(reply->buf, reply->len, &fc->remote));
    return reply->code;
}

void req_put_u8(struct req *r, enum stun_attr attr, uint8_t value)
{
    stun_put_u32(&r->b, attr, (uint32_t)value << 24);
}

void req_put_peer(struct req *r, const char *peer)
{
    struct addr addr = at(peer);

    stun_put_addr(&r->b, STUN_XOR_PEER_ADDRESS, &addr);
}

void req_put_raw(struct req *r, uint16_t type, const void *value, size_t len)
{
    uint8_t *p = r->buf + r->b.len;

    ck_assert_uint_le(r->b.len + 4 + len + 3, sizeof(r->buf));
    put_u16(p, type);
    put_u16(p + 2, (uint16_t)len);
    if (len > 0)
        memcpy(p + 4, value, len);
    memset(p + 4 + len, 0, stun_padding(len));
    r->b.len += 4 + len + stun_padding(len);
}

void allocate_begin(struct req *r)
{
    req_begin(r, STUN_ALLOCATE);
    req_put_u8(r, STUN_REQUESTED_TRANSPORT, 17);
}

unsigned int ask_allocate(struct fake_client *fc, const struct login *login, struct reply *reply)
{
    struct req r;

    allocate_begin(&r);
    return ask(fc, &r, login, reply);
}

unsigned int ask_allocate_tcp(struct fake_client *fc, const struct login *login)
{
    struct req r;

    req_begin(&r, STUN_ALLOCATE);
    req_put_u8(&r, STUN_REQUESTED_TRANSPORT, 6);
    return ask(fc, &r, login, NULL);
}

unsigned int ask_allocate_dual(struct fake_client *fc, const struct login *login)
{
    struct req r;

    allocate_begin(&r);
    req_put_u8(&r, STUN_ADDITIONAL_ADDRESS_FAMILY, 2);
    return ask(fc, &r, login, NULL);
}

unsigned int ask_refresh(struct fake_client *fc, const struct login *login, uint32_t lifetime_s,
                         struct reply *reply)
{
    struct req r;

    req_begin(&r, STUN_REFRESH);
    stun_put_u32(&r.b, STUN_LIFETIME, lifetime_s);
    return ask(fc, &r, login, reply);
}

unsigned int ask_permission(struct fake_client *fc, const struct login *login, const char *peer)
{
    struct req r;

    req_begin(&r, STUN_CREATE_PERMISSION);
    req_put_peer(&r, peer);
    return ask(fc, &r, login, NULL);
}

unsigned int ask_channel(struct fake_client *fc, const struct login *login, unsigned int number,
                         const char *peer)
{
    struct req r;

    req_begin(&r, STUN_CHANNEL_BIND);
    stun_put_u32(&r.b, STUN_CHANNEL_NUMBER, (uint32_t)number << 16);
    req_put_peer(&r, peer);
    return ask(fc, &r, login, NULL);
}

unsigned int ask_connect(struct fake_client *fc, const struct login *login, const char *peer,
                         struct reply *reply)
{
    struct req r;

    req_begin(&r, STUN_CONNECT);
    req_put_peer(&r, peer);
    return ask(fc, &r, login, reply);
}

/* The answer goes out on the stream that was taken from the client. */
unsigned int ask_connection_bind(struct fake_client *fc, const struct login *login, uint32_t id,
                                 struct reply *reply)
{
    struct reply mine;
    struct req r;

    if (!reply)
        reply = &mine;
    req_begin(&r, STUN_CONNECTION_BIND);
    stun_put_u32(&r.b, STUN_CONNECTION_ID, id);
    req_end(&r, login);
    ck_assert_int_eq(fake_client_give(fc, r.buf, r.b.len), 0);
    *reply = (struct reply){0};
    if (!fc->far) {
        reply_read(fc, reply);
        return reply->code;
    }
    ck_assert_uint_ge(fc->far->n_got, STUN_HEADER_LEN);
    reply->len = STUN_HEADER_LEN + (size_t)(fc->far->got[2] << 8 | fc->far->got[3]);
    ck_assert_uint_le(reply->len, fc->far->n_got);
    memcpy(reply->buf, fc->far->got, reply->len);
    ck_assert_int_eq(stun_decode(&reply->msg, reply->buf, reply->len), 0);
    ck_assert_mem_eq(reply->msg.txid, r.txid, STUN_TXID_LEN);
    ck_assert(reply_is_authentic(reply, login));
    reply->any = true;
    if (reply->msg.class == STUN_ERROR)
        ck_assert(stun_get_error(&reply->msg, &reply->code));
    return reply->code;
}

struct ticket reply_ticket(const struct reply *reply)
{
    struct ticket t = {0};
    const uint8_t *value = stun_get(&reply->msg, STUN_MOBILITY_TICKET, &t.len);

    ck_assert_ptr_nonnull(value);
    ck_assert_uint_eq(t.len, MOBILITY_TICKET_LEN);
    memcpy(t.bytes, value, t.len);
    return t;
}

uint32_t reply_u32(const struct reply *reply, enum stun_attr attr)
{
    uint32_t value = 0;

    ck_assert(stun_get_u32(&reply->msg, attr, &value));
    return value;
}

struct addr reply_addr(const struct reply *reply, enum stun_attr attr)
{
    struct addr addr = {0};

    ck_assert(stun_get_addr(&reply->msg, attr, &addr));
    return addr;
}

/* ---- data ---- */

void give_send(struct fake_client *fc, const char *peer, const void *data, size_t len)
{
    struct req r;

    req_begin(&r, STUN_SEND);
    stun_begin(&r.b, r.buf, sizeof(r.buf), STUN_INDICATION, STUN_SEND, r.txid);
    req_put_peer(&r, peer);
    stun_put(&r.b, STUN_DATA_ATTR, data, len);
    ck_assert_int_eq(fake_client_give(fc, r.buf, req_end(&r, NULL)), 0);
}

void give_channel_data(struct fake_client *fc, unsigned int number, const void *data, size_t len)
{
    uint8_t buf[2048];

    channel_put_header(buf, (uint16_t)number, (uint16_t)len);
    if (len > 0)
        memcpy(buf + CHANNEL_HEADER_LEN, data, len);
    ck_assert_int_eq(fake_client_give(fc, buf, CHANNEL_HEADER_LEN + len), 0);
}
