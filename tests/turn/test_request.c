/*
 * What happens to a message before its handler: framing, the complaint about
 * attributes, retransmission.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/cursor.h"
#include "tests/support/turn_world.h"

static struct world *w;
static struct fake_client *fc;
static struct login login;

static void setup(void)
{
    w = world_new();
    fc = world_client(w, TRANSPORT_UDP, CLIENT);
    login = login_old(fc, "alice", "wonderland");
}

static void teardown(void)
{
    world_free(w);
}

/* ---- framing ---- */

START_TEST(what_is_no_message_is_dropped_and_closes_a_stream)
{
    struct fake_client *tcp = world_client(w, TRANSPORT_TCP, CLIENT2);
    static const char *const junk[] = {"POST / HTTP/1.1\r\n\r\n", "\x16\x03\x01", "\x80",
                                       "\xff\xff"};

    for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
        ck_assert_int_eq(fake_client_give(tcp, junk[i], strlen(junk[i])), -EPROTO);
        ck_assert_int_eq(fake_client_give(fc, junk[i], strlen(junk[i])), -EPROTO);
    }
    ck_assert_int_eq(fake_client_give(fc, "", 0), -EPROTO);
    ck_assert_uint_eq(tcp->n_sent, 0);
    ck_assert_uint_eq(w->counters.drop_malformed, 9);
}
END_TEST

START_TEST(every_truncation_of_a_request_is_dropped_in_silence)
{
    struct req r;
    size_t len;

    allocate_begin(&r);
    len = req_end(&r, &login);
    fake_client_forget(fc);
    for (size_t n = 0; n < len; n++)
        ck_assert_int_eq(fake_client_give(fc, r.buf, n), -EPROTO);
    ck_assert_uint_eq(fc->n_sent, 0);
}
END_TEST

START_TEST(every_changed_byte_of_a_request_leaves_the_server_standing)
{
    struct req r;
    size_t len;

    allocate_begin(&r);
    len = req_end(&r, &login);
    for (size_t n = 0; n < len; n++) {
        r.buf[n] ^= 0xFF;
        (void)fake_client_give(fc, r.buf, len);
        r.buf[n] ^= 0xFF;
        fake_client_forget(fc);
    }
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

START_TEST(a_malformed_request_gets_400)
{
    struct reply reply;
    struct req r;

    req_begin(&r, STUN_ALLOCATE);
    req_put_raw(&r, 0x0019, "\x11", 1); /* REQUESTED-TRANSPORT is four bytes */
    ck_assert_uint_eq(ask(fc, &r, NULL, &reply), 400);
    ck_assert_uint_eq(reply.len, STUN_HEADER_LEN + 8);
}
END_TEST

START_TEST(an_unknown_method_gets_400)
{
    struct req r;

    req_begin(&r, 0x007F);
    ck_assert_uint_eq(ask(fc, &r, NULL, NULL), 400);
}
END_TEST

START_TEST(answers_and_a_servers_indications_are_dropped)
{
    static const struct {
        enum stun_class class;
        uint16_t method;
    } odd[] = {{STUN_SUCCESS, STUN_ALLOCATE}, {STUN_ERROR, STUN_BINDING},
               {STUN_INDICATION, STUN_DATA},  {STUN_INDICATION, STUN_CONNECTION_ATTEMPT},
               {STUN_INDICATION, STUN_SEND},  {STUN_INDICATION, STUN_ALLOCATE}};

    fake_client_forget(fc);
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        struct req r;

        req_begin(&r, odd[i].method);
        stun_begin(&r.b, r.buf, sizeof(r.buf), odd[i].class, odd[i].method, r.txid);
        ck_assert_int_eq(fake_client_give(fc, r.buf, req_end(&r, NULL)), 0);
    }
    ck_assert_uint_eq(fc->n_sent, 0);
    ck_assert_uint_eq(w->counters.drop_malformed, sizeof(odd) / sizeof(odd[0]));
}
END_TEST

START_TEST(a_binding_indication_is_a_keepalive_and_no_error)
{
    struct req r;

    fake_client_forget(fc);
    req_begin(&r, STUN_BINDING);
    stun_begin(&r.b, r.buf, sizeof(r.buf), STUN_INDICATION, STUN_BINDING, r.txid);
    ck_assert_int_eq(fake_client_give(fc, r.buf, req_end(&r, NULL)), 0);
    ck_assert_uint_eq(fc->n_sent, 0);
    ck_assert_uint_eq(w->counters.drop_malformed, 0);
}
END_TEST

/* ---- attributes ---- */

START_TEST(an_unknown_required_attribute_gets_420_that_names_it)
{
    struct reply reply;
    struct req r;
    size_t len;

    allocate_begin(&r);
    req_put_raw(&r, 0x7ABC, "what", 4);
    ck_assert_uint_eq(ask(fc, &r, &login, &reply), 420);
    ck_assert_mem_eq(stun_get(&reply.msg, STUN_UNKNOWN_ATTRIBUTES, &len), "\x7A\xBC", 2);
    ck_assert_uint_eq(len, 2);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

START_TEST(a_stranger_with_an_unknown_attribute_is_challenged_first)
{
    struct req r;

    allocate_begin(&r);
    req_put_raw(&r, 0x7ABC, "what", 4);
    ck_assert_uint_eq(ask(fc, &r, NULL, NULL), 401);
}
END_TEST

/* Nobody reads what is in it (coturn CVE-2026-43994) until RFC 7635 is offered. */
START_TEST(s22_an_access_token_is_an_unknown_attribute)
{
    static const uint8_t token[64] = {0xFF, 0xFF}; /* a nonce length beyond the value */
    struct req r;

    allocate_begin(&r);
    req_put_raw(&r, 0x001B, token, sizeof(token));
    ck_assert_uint_eq(ask(fc, &r, NULL, NULL), 401);
    allocate_begin(&r);
    req_put_raw(&r, 0x001B, token, sizeof(token));
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 420);
}
END_TEST

START_TEST(an_unknown_optional_attribute_is_ignored)
{
    struct req r;

    allocate_begin(&r);
    req_put_raw(&r, 0xC0DE, "whatever", 8);
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 0);
}
END_TEST

START_TEST(s38_an_origin_of_a_stranger_changes_nothing)
{
    struct login after;
    struct req r;

    allocate_begin(&r);
    req_put_raw(&r, 0x802F, "https://evil.example", 20);
    stun_put_text(&r.b, STUN_REALM, "evil.example");
    ck_assert_uint_eq(ask(fc, &r, NULL, NULL), 401);
    after = login_old(fc, "alice", "wonderland");
    ck_assert_str_eq(after.realm, "callveil");
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
}
END_TEST

START_TEST(s11_attributes_behind_the_integrity_are_ignored)
{
    struct reply reply;
    struct req r;

    allocate_begin(&r);
    req_end(&r, &login);
    stun_put_u32(&r.b, STUN_LIFETIME, 3600);
    req_put_raw(&r, 0x7ABC, "what", 4);
    stun_put_fingerprint(&r.b);
    req_end(&r, NULL);
    req_send(fc, &r, &reply);
    ck_assert_uint_eq(reply.code, 0);
    ck_assert_uint_eq(reply_u32(&reply, STUN_LIFETIME), 600);
}
END_TEST

START_TEST(s11_a_peer_behind_the_integrity_gets_no_permission)
{
    struct reply reply;
    struct req r;

    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    req_begin(&r, STUN_CREATE_PERMISSION);
    req_put_peer(&r, PEER);
    req_end(&r, &login);
    req_put_peer(&r, PEER2);
    req_end(&r, NULL);
    req_send(fc, &r, &reply);
    ck_assert_uint_eq(reply.code, 0);
    fake_client_forget(fc);
    fake_exit_datagram(w->exit.last, PEER2, "x", 1);
    ck_assert_uint_eq(fc->n_sent, 0);
    fake_exit_datagram(w->exit.last, PEER, "x", 1);
    ck_assert_uint_eq(fc->n_sent, 1);
}
END_TEST

START_TEST(a_fingerprint_is_answered_with_one)
{
    struct reply reply;

    ck_assert_uint_eq(ask_allocate(fc, &login, &reply), 0);
    ck_assert(!stun_has(&reply.msg, STUN_FINGERPRINT));
    login.fingerprint = true;
    ck_assert_uint_eq(ask_refresh(fc, &login, 600, &reply), 0);
    ck_assert(stun_has(&reply.msg, STUN_FINGERPRINT));
}
END_TEST

START_TEST(a_wrong_fingerprint_is_not_stun)
{
    struct req r;
    size_t len;

    login.fingerprint = true;
    allocate_begin(&r);
    len = req_end(&r, &login);
    r.buf[len - 1] ^= 1;
    fake_client_forget(fc);
    ck_assert_int_eq(fake_client_give(fc, r.buf, len), -EPROTO);
    ck_assert_uint_eq(fc->n_sent, 0);
}
END_TEST

/* MESSAGE-INTEGRITY-SHA256 may be cut to a multiple of four, no less than 16 bytes (RFC 8489,
 * section 14.6); the HMAC then covers a header that counts the shorter attribute. */
static unsigned int ask_with_truncated_mac(size_t mac_len, struct reply *reply)
{
    struct login sha256 = login_new(fc, "alice", "wonderland"), no_mac = sha256;
    uint8_t mac[EVP_MAX_MD_SIZE];
    struct req r;
    size_t len;

    no_mac.integrity = STUN_INTEGRITY_NONE;
    allocate_begin(&r);
    len = req_end(&r, &no_mac);
    put_u16(r.buf + 2, (uint16_t)(len - STUN_HEADER_LEN + 4 + mac_len));
    HMAC(EVP_sha256(), sha256.key, (int)sha256.key_len, r.buf, len, mac, NULL);
    req_put_raw(&r, 0x001C, mac, mac_len);
    stun_finish(&r.b);
    req_send(fc, &r, reply);
    if (reply->code == 0)
        ck_assert(reply_is_authentic(reply, &sha256));
    return reply->code;
}

START_TEST(a_truncated_sha256_integrity_is_accepted_from_16_bytes_on_and_answered_in_kind)
{
    struct reply reply;
    size_t len;

    ck_assert_uint_eq(ask_with_truncated_mac(12, &reply), 400);
    ck_assert_uint_eq(ask_with_truncated_mac(18, &reply), 400);
    ck_assert_uint_eq(ask_with_truncated_mac(16, &reply), 0);
    ck_assert_ptr_nonnull(stun_get(&reply.msg, STUN_MESSAGE_INTEGRITY_SHA256, &len));
    ck_assert_uint_eq(len, 32);
}
END_TEST

/* ---- retransmission ---- */

START_TEST(a_retransmitted_allocate_gets_the_identical_answer)
{
    struct reply first, again;
    struct req r;

    allocate_begin(&r);
    ck_assert_uint_eq(ask(fc, &r, &login, &first), 0);
    world_pass(39);
    req_send(fc, &r, &again);
    ck_assert(again.any);
    ck_assert_uint_eq(first.len, again.len);
    ck_assert_mem_eq(first.buf, again.buf, first.len);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
    ck_assert_uint_eq(w->exit.n_opened, 1);
}
END_TEST

START_TEST(another_allocate_on_the_same_flow_gets_437)
{
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 437);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
}
END_TEST

START_TEST(a_retransmitted_allocate_after_forty_seconds_gets_437)
{
    struct reply reply;
    struct req r;

    allocate_begin(&r);
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 0);
    world_pass(40);
    req_send(fc, &r, &reply);
    ck_assert_uint_eq(reply.code, 437);
}
END_TEST

START_TEST(a_retransmitted_refresh_to_zero_gets_the_identical_answer)
{
    struct reply first, again;
    struct req r;

    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    req_begin(&r, STUN_REFRESH);
    stun_put_u32(&r.b, STUN_LIFETIME, 0);
    ck_assert_uint_eq(ask(fc, &r, &login, &first), 0);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
    req_send(fc, &r, &again);
    ck_assert_uint_eq(first.len, again.len);
    ck_assert_mem_eq(first.buf, again.buf, first.len);
}
END_TEST

START_TEST(another_flow_with_the_same_transaction_id_gets_no_copy)
{
    struct fake_client *other = world_client(w, TRANSPORT_UDP, CLIENT2);
    struct reply reply;
    struct req r;

    allocate_begin(&r);
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 0);
    req_send(other, &r, &reply);
    ck_assert_uint_eq(reply.code, 438);
}
END_TEST

START_TEST(a_stream_has_no_retransmissions)
{
    struct fake_client *tcp = world_client(w, TRANSPORT_TCP, "198.51.100.77:41000");
    struct reply reply;
    struct req r;

    allocate_begin(&r);
    ck_assert_uint_eq(ask(tcp, &r, &login, NULL), 0);
    req_send(tcp, &r, &reply);
    ck_assert_uint_eq(reply.code, 437);
}
END_TEST

/* ---- counting ---- */

START_TEST(errors_are_counted_by_code)
{
    struct fake_client *other = world_client(w, TRANSPORT_UDP, CLIENT2);
    struct login bob = login_old(other, "bob", "builder");

    ck_assert_uint_eq(ask_refresh(other, &bob, 600, NULL), 437);
    ck_assert_uint_eq(w->counters.err_437, 1);
    ck_assert_uint_eq(ask_allocate(other, &bob, NULL), 0);
    bob = login_old(other, "alice", "wonderland");
    ck_assert_uint_eq(ask_refresh(other, &bob, 600, NULL), 441);
    ck_assert_uint_eq(w->counters.err_441, 1);
    ck_assert_uint_eq(w->counters.requests, 6);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/request");
    TCase *t = tcase_create("request");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_is_no_message_is_dropped_and_closes_a_stream);
    tcase_add_test(t, every_truncation_of_a_request_is_dropped_in_silence);
    tcase_add_test(t, every_changed_byte_of_a_request_leaves_the_server_standing);
    tcase_add_test(t, a_malformed_request_gets_400);
    tcase_add_test(t, an_unknown_method_gets_400);
    tcase_add_test(t, answers_and_a_servers_indications_are_dropped);
    tcase_add_test(t, a_binding_indication_is_a_keepalive_and_no_error);
    tcase_add_test(t, an_unknown_required_attribute_gets_420_that_names_it);
    tcase_add_test(t, a_stranger_with_an_unknown_attribute_is_challenged_first);
    tcase_add_test(t, s22_an_access_token_is_an_unknown_attribute);
    tcase_add_test(t, an_unknown_optional_attribute_is_ignored);
    tcase_add_test(t, s38_an_origin_of_a_stranger_changes_nothing);
    tcase_add_test(t, s11_attributes_behind_the_integrity_are_ignored);
    tcase_add_test(t, s11_a_peer_behind_the_integrity_gets_no_permission);
    tcase_add_test(t, a_fingerprint_is_answered_with_one);
    tcase_add_test(t, a_wrong_fingerprint_is_not_stun);
    tcase_add_test(t,
                   a_truncated_sha256_integrity_is_accepted_from_16_bytes_on_and_answered_in_kind);
    tcase_add_test(t, a_retransmitted_allocate_gets_the_identical_answer);
    tcase_add_test(t, another_allocate_on_the_same_flow_gets_437);
    tcase_add_test(t, a_retransmitted_allocate_after_forty_seconds_gets_437);
    tcase_add_test(t, a_retransmitted_refresh_to_zero_gets_the_identical_answer);
    tcase_add_test(t, another_flow_with_the_same_transaction_id_gets_no_copy);
    tcase_add_test(t, a_stream_has_no_retransmissions);
    tcase_add_test(t, errors_are_counted_by_code);
    suite_add_tcase(s, t);
    return suite_run(s);
}
