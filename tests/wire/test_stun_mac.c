/* Integrity and keys (RFC 8489, sections 9.2.2, 14.4-14.6, 18.5.1). */
#include <check.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdlib.h>

#include "samples.h"
#include "tests/support/suite.h"

static uint8_t buf[1024];
static struct stun_builder b;
static struct stun_msg m;

START_TEST(rfc5769_short_term_integrity_checks_out)
{
    static const uint8_t key[] = RFC5769_PASSWORD;
    size_t key_len = sizeof(key) - 1;

    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(stun_decode(&m, samples[i].bytes, samples[i].len), 0);
        ck_assert(stun_check_integrity(&m, STUN_INTEGRITY_SHA1, key, key_len));
        ck_assert(!stun_check_integrity(&m, STUN_INTEGRITY_SHA1, key, key_len - 1));
        ck_assert(!stun_check_integrity(&m, STUN_INTEGRITY_SHA256, key, key_len));
        ck_assert(!stun_check_integrity(&m, STUN_INTEGRITY_NONE, key, key_len));
    }
}
END_TEST

START_TEST(rfc5769_long_term_integrity_checks_out)
{
    uint8_t key[STUN_KEY_MAX];
    size_t key_len = stun_long_term_key(STUN_PASSWORD_MD5, RFC_USER, RFC_REALM, RFC_PASSWORD, key);

    ck_assert_uint_eq(key_len, 16);
    ck_assert_int_eq(stun_decode(&m, rfc5769_long_term, sizeof(rfc5769_long_term)), 0);
    ck_assert(stun_check_integrity(&m, STUN_INTEGRITY_SHA1, key, key_len));
}
END_TEST

START_TEST(rfc8489_b1_integrity_and_userhash_check_out)
{
    uint8_t key[STUN_KEY_MAX], hash[32];
    size_t key_len, len;

    key_len = stun_long_term_key(STUN_PASSWORD_SHA256, RFC_USER, RFC_REALM, RFC_PASSWORD, key);
    ck_assert_uint_eq(key_len, 32);
    ck_assert_int_eq(stun_decode(&m, rfc8489_b1, sizeof(rfc8489_b1)), 0);
    ck_assert(stun_check_integrity(&m, STUN_INTEGRITY_SHA256, key, key_len));
    ck_assert(!stun_check_integrity(&m, STUN_INTEGRITY_SHA1, key, key_len));
    ck_assert_int_eq(stun_userhash(RFC_USER, RFC_REALM, hash), 0);
    ck_assert_mem_eq(stun_get(&m, STUN_USERHASH, &len), hash, sizeof(hash));
}
END_TEST

/* RFC 5389, section 15.4, gives this key for user "user", realm "realm", password "pass". */
START_TEST(rfc_md5_key_example)
{
    static const uint8_t expected[] = {0x84, 0x93, 0xfb, 0xc5, 0x3b, 0xa5, 0x82, 0xfb,
                                       0x4c, 0x04, 0x4c, 0x45, 0x6b, 0xdc, 0x40, 0xeb};
    uint8_t key[STUN_KEY_MAX];

    ck_assert_uint_eq(stun_long_term_key(STUN_PASSWORD_MD5, "user", "realm", "pass", key), 16);
    ck_assert_mem_eq(key, expected, sizeof(expected));
}
END_TEST

static void build(enum stun_integrity kind, const uint8_t *key, size_t key_len, bool fingerprint)
{
    stun_begin(&b, buf, sizeof(buf), STUN_REQUEST, STUN_ALLOCATE, sample_txid);
    stun_put_text(&b, STUN_USERNAME, "alice");
    stun_put_text(&b, STUN_NONCE, "0123456");
    stun_put_integrity(&b, kind, key, key_len);
    if (fingerprint)
        stun_put_fingerprint(&b);
    ck_assert_uint_gt(stun_finish(&b), 0);
}

START_TEST(what_we_sign_we_accept_and_no_changed_bit_of_it)
{
    static const uint8_t key[] = "key";

    for (int kind = STUN_INTEGRITY_SHA1; kind <= STUN_INTEGRITY_SHA256; kind++) {
        build((enum stun_integrity)kind, key, 3, false);
        ck_assert_int_eq(stun_decode(&m, buf, b.len), 0);
        ck_assert(stun_check_integrity(&m, (enum stun_integrity)kind, key, 3));
        for (size_t i = 0; i < b.len * 8; i++) {
            buf[i / 8] ^= (uint8_t)(1 << i % 8);
            ck_assert(stun_decode(&m, buf, b.len) != 0 ||
                      !stun_check_integrity(&m, (enum stun_integrity)kind, key, 3));
            buf[i / 8] ^= (uint8_t)(1 << i % 8);
        }
    }
}
END_TEST

START_TEST(the_length_field_ends_at_the_integrity_attribute)
{
    static const uint8_t key[] = "key";
    uint8_t before[sizeof(buf)];

    build(STUN_INTEGRITY_SHA256, key, 3, true);
    ck_assert_int_eq(stun_decode(&m, buf, b.len), 0);
    memcpy(before, buf, b.len);
    ck_assert(stun_check_integrity(&m, STUN_INTEGRITY_SHA256, key, 3));
    ck_assert_mem_eq(before, buf, b.len); /* checking does not touch the caller's message */
}
END_TEST

/* The HMAC counts the truncated length (RFC 8489, section 14.6). It is computed here with OpenSSL's
 * one-shot HMAC, since the encoder never truncates. */
START_TEST(truncated_sha256_is_accepted_from_16_bytes)
{
    static const uint8_t key[] = "key";
    uint8_t mac[32];

    for (size_t len = 16; len <= 32; len += 4) {
        size_t end;

        build(STUN_INTEGRITY_NONE, NULL, 0, false);
        end = b.len;
        fix_length(buf, end + 4 + len);
        ck_assert_ptr_nonnull(HMAC(EVP_sha256(), key, 3, buf, end, mac, NULL));
        put_u16(buf + end, 0x001C);
        put_u16(buf + end + 2, (uint16_t)len);
        memcpy(buf + end + 4, mac, len);
        ck_assert_int_eq(stun_decode(&m, buf, end + 4 + len), 0);
        ck_assert(stun_check_integrity(&m, STUN_INTEGRITY_SHA256, key, 3));
        buf[end + 4 + len - 1] ^= 1;
        ck_assert(!stun_check_integrity(&m, STUN_INTEGRITY_SHA256, key, 3));
    }
}
END_TEST

START_TEST(no_key_authenticates_nothing)
{
    static const uint8_t key[] = "key";

    build(STUN_INTEGRITY_SHA1, key, 3, false);
    ck_assert_int_eq(stun_decode(&m, buf, b.len), 0);
    ck_assert(stun_check_integrity(&m, STUN_INTEGRITY_SHA1, key, 3));
    /* OpenSSL would go on with the key it was given last: the right one. */
    ck_assert(!stun_check_integrity(&m, STUN_INTEGRITY_SHA1, NULL, 0));
    ck_assert(!stun_check_integrity(&m, STUN_INTEGRITY_SHA1, key, 0));
    stun_begin(&b, buf, sizeof(buf), STUN_REQUEST, STUN_ALLOCATE, sample_txid);
    stun_put_integrity(&b, STUN_INTEGRITY_SHA1, key, 0);
    ck_assert_uint_eq(stun_finish(&b), 0);
}
END_TEST

START_TEST(absent_integrity_is_not_valid)
{
    static const uint8_t key[] = "key";

    build(STUN_INTEGRITY_NONE, key, 3, true);
    ck_assert_int_eq(stun_decode(&m, buf, b.len), 0);
    ck_assert(!stun_check_integrity(&m, STUN_INTEGRITY_SHA1, key, 3));
    ck_assert(!stun_check_integrity(&m, STUN_INTEGRITY_SHA256, key, 3));
}
END_TEST

static void *check_many(void *ret_n_wrong)
{
    static const uint8_t key[] = RFC5769_PASSWORD;
    int *n_wrong = ret_n_wrong;

    for (int i = 0; i < 2000; i++) {
        struct stun_msg mine;
        bool right = i % 2 == 0;

        if (stun_decode(&mine, rfc5769_request, sizeof(rfc5769_request)) != 0 ||
            stun_check_integrity(&mine, STUN_INTEGRITY_SHA1, right ? key : key + 1,
                                 sizeof(key) - (right ? 1 : 2)) != right)
            ++*n_wrong;
    }
    return NULL;
}

START_TEST(threads_do_not_mix_their_keys)
{
    pthread_t threads[4];
    int n_wrong[4] = {0};

    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, check_many, &n_wrong[i]), 0);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_int_eq(n_wrong[i], 0);
    }
}
END_TEST

static Suite *stun_mac_suite(void)
{
    Suite *s = suite_create("wire/stun_mac");
    TCase *t = tcase_create("mac");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, rfc5769_short_term_integrity_checks_out);
    tcase_add_test(t, rfc5769_long_term_integrity_checks_out);
    tcase_add_test(t, rfc8489_b1_integrity_and_userhash_check_out);
    tcase_add_test(t, rfc_md5_key_example);
    tcase_add_test(t, what_we_sign_we_accept_and_no_changed_bit_of_it);
    tcase_add_test(t, the_length_field_ends_at_the_integrity_attribute);
    tcase_add_test(t, truncated_sha256_is_accepted_from_16_bytes);
    tcase_add_test(t, no_key_authenticates_nothing);
    tcase_add_test(t, absent_integrity_is_not_valid);
    tcase_add_test(t, threads_do_not_mix_their_keys);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(stun_mac_suite());
}
