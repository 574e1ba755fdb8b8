#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "relay/exit/upstream/cred.h"
#include "tests/support/session_world.h"

#define COOKIE_ALGORITHMS "obMatJos2gAAA" /* bit 0 */
#define COOKIE_BOTH       "obMatJos2wAAA" /* bits 0 and 1 */
#define COOKIE_ANONYMITY  "obMatJos2QAAA" /* bit 1 */
#define COOKIE_NONE       "obMatJos2AAAA"

static const uint8_t sha256_first[] = {0, 2, 0, 0, 0, 1, 0, 0};
static const uint8_t md5_only[] = {0, 1, 0, 0};
static const uint8_t unknown_only[] = {0, 9, 0, 0};
static const uint8_t overrun[] = {0, 2, 0, 8, 0, 0, 0, 0};
static const uint8_t with_parameters[] = {0, 2, 0, 4, 1, 2, 3, 4, 0, 1, 0, 0};

static struct cred cred;
static struct cred_proof proof;
static uint8_t buf[4096];
static struct stun_msg msg;

static void setup(void)
{
    ck_assert_int_eq(cred_init(&cred, "alice", "wonderland"), 0);
    proof = (struct cred_proof){0};
}

static void teardown(void)
{
    cred_deinit(&cred);
}

static const uint8_t txid[STUN_TXID_LEN] = {1, 2, 3};

static int challenge(const char *realm, const char *nonce, const uint8_t *algorithms, size_t len)
{
    struct stun_builder b;

    stun_begin(&b, buf, sizeof(buf), STUN_ERROR, STUN_ALLOCATE, txid);
    stun_put_error(&b, 401);
    if (realm)
        stun_put_text(&b, STUN_REALM, realm);
    if (nonce)
        stun_put_text(&b, STUN_NONCE, nonce);
    if (algorithms)
        stun_put(&b, STUN_PASSWORD_ALGORITHMS, algorithms, len);
    ck_assert_int_eq(stun_decode(&msg, buf, stun_finish(&b)), 0);
    return cred_take_challenge(&cred, &proof, &msg);
}

static void request(void)
{
    struct stun_builder b;

    stun_begin(&b, buf, sizeof(buf), STUN_REQUEST, STUN_ALLOCATE, txid);
    cred_put(&cred, &proof, &b);
    ck_assert_int_eq(stun_decode(&msg, buf, stun_finish(&b)), 0);
}

static bool is(enum stun_attr attr, const void *value, size_t len)
{
    size_t n = 0;
    const uint8_t *got = stun_get(&msg, attr, &n);

    return got && n == len && memcmp(got, value, len) == 0;
}

START_TEST(an_rfc_5389_relay_gets_md5_and_sha1)
{
    uint8_t key[STUN_KEY_MAX];
    size_t key_len = stun_long_term_key(STUN_PASSWORD_MD5, "alice", "test", "wonderland", key);

    ck_assert_int_eq(challenge("test", "n1", NULL, 0), 0);
    request();
    ck_assert(is(STUN_USERNAME, "alice", 5) && is(STUN_REALM, "test", 4));
    ck_assert(is(STUN_NONCE, "n1", 2));
    ck_assert(!stun_has(&msg, STUN_PASSWORD_ALGORITHM) &&
              !stun_has(&msg, STUN_PASSWORD_ALGORITHMS));
    ck_assert(stun_check_integrity(&msg, STUN_INTEGRITY_SHA1, key, key_len));
    ck_assert(!stun_has(&msg, STUN_MESSAGE_INTEGRITY_SHA256));
}
END_TEST

START_TEST(sha256_is_chosen_where_it_is_offered)
{
    uint8_t key[STUN_KEY_MAX];
    size_t key_len = stun_long_term_key(STUN_PASSWORD_SHA256, "alice", "test", "wonderland", key);

    ck_assert_int_eq(challenge("test", COOKIE_ALGORITHMS "x", sha256_first, 8), 0);
    request();
    ck_assert(is(STUN_PASSWORD_ALGORITHMS, sha256_first, 8));
    ck_assert(is(STUN_PASSWORD_ALGORITHM, sha256_first, 4));
    ck_assert(stun_check_integrity(&msg, STUN_INTEGRITY_SHA256, key, key_len));
    ck_assert(!stun_has(&msg, STUN_MESSAGE_INTEGRITY));
}
END_TEST

START_TEST(a_list_of_md5_alone_is_answered_with_md5_and_the_list)
{
    uint8_t key[STUN_KEY_MAX];
    size_t key_len = stun_long_term_key(STUN_PASSWORD_MD5, "alice", "test", "wonderland", key);

    ck_assert_int_eq(challenge("test", COOKIE_ALGORITHMS "x", md5_only, 4), 0);
    request();
    ck_assert(is(STUN_PASSWORD_ALGORITHMS, md5_only, 4) &&
              is(STUN_PASSWORD_ALGORITHM, md5_only, 4));
    ck_assert(stun_check_integrity(&msg, STUN_INTEGRITY_SHA256, key, key_len));
}
END_TEST

START_TEST(a_list_that_no_nonce_vouches_for_says_nothing)
{
    static const char *const nonces[] = {"plain", COOKIE_NONE, COOKIE_ANONYMITY, "obMatJos2g",
                                         "obMatJos2!AAA"};

    ck_assert_int_eq(challenge("test", nonces[_i], sha256_first, 8), 0);
    ck_assert_int_eq(proof.algorithm, STUN_PASSWORD_MD5);
    ck_assert_uint_eq(proof.algorithms_len, 0);
}
END_TEST

START_TEST(a_list_taken_away_or_unusable_is_no_challenge)
{
    static const struct {
        const uint8_t *list;
        size_t len;
        int result;
    } cases[] = {{NULL, 0, -EBADMSG},
                 {unknown_only, 4, -EBADMSG},
                 {overrun, 8, -EBADMSG},
                 {with_parameters, 12, 0}};

    ck_assert_int_eq(challenge("test", COOKIE_ALGORITHMS, cases[_i].list, cases[_i].len),
                     cases[_i].result);
    ck_assert_uint_eq(proof.key_len, cases[_i].result == 0 ? 16 : 0);
    ck_assert_uint_eq(cred.proof.key_len, proof.key_len);
}
END_TEST

START_TEST(the_user_is_hashed_when_the_nonce_asks_for_it)
{
    uint8_t hash[32];

    ck_assert_int_eq(stun_userhash("alice", "test", hash), 0);
    ck_assert_int_eq(challenge("test", COOKIE_BOTH, sha256_first, 8), 0);
    request();
    ck_assert(is(STUN_USERHASH, hash, sizeof(hash)) && !stun_has(&msg, STUN_USERNAME));
}
END_TEST

START_TEST(without_realm_or_nonce_it_is_no_challenge)
{
    ck_assert_int_eq(challenge(NULL, "n", NULL, 0), -EBADMSG);
    ck_assert_int_eq(challenge("test", NULL, NULL, 0), -EBADMSG);
    ck_assert_int_eq(challenge("", "n", NULL, 0), -EBADMSG);
    ck_assert_int_eq(challenge("test", "", NULL, 0), -EBADMSG);
    ck_assert_uint_eq(proof.key_len, 0);
}
END_TEST

START_TEST(a_nul_in_a_nonce_is_not_sent_back_cut_off)
{
    struct stun_builder b;

    stun_begin(&b, buf, sizeof(buf), STUN_ERROR, STUN_ALLOCATE, txid);
    stun_put_text(&b, STUN_REALM, "test");
    stun_put(&b, STUN_NONCE, "a\0b", 3);
    ck_assert_int_eq(stun_decode(&msg, buf, stun_finish(&b)), 0);
    ck_assert_int_eq(cred_take_challenge(&cred, &proof, &msg), -EBADMSG);
}
END_TEST

START_TEST(the_longest_texts_come_back_whole)
{
    char realm[CRED_TEXT_MAX + 1], nonce[CRED_TEXT_MAX + 1];

    memset(realm, 'r', CRED_TEXT_MAX);
    memset(nonce, 'n', CRED_TEXT_MAX);
    realm[CRED_TEXT_MAX] = nonce[CRED_TEXT_MAX] = '\0';
    ck_assert_int_eq(challenge(realm, nonce, NULL, 0), 0);
    request();
    ck_assert(is(STUN_REALM, realm, CRED_TEXT_MAX) && is(STUN_NONCE, nonce, CRED_TEXT_MAX));
}
END_TEST

START_TEST(what_was_offered_once_may_not_be_withdrawn)
{
    struct cred_proof before;

    ck_assert_int_eq(challenge("test", COOKIE_ALGORITHMS "1", sha256_first, 8), 0);
    before = proof;
    ck_assert_int_eq(challenge("test", "plain", NULL, 0), -EBADMSG);
    ck_assert_int_eq(challenge("test", COOKIE_ALGORITHMS "2", md5_only, 4), -EBADMSG);
    ck_assert_mem_eq(&before, &proof, sizeof(proof));
    ck_assert_int_eq(challenge("test", COOKIE_ALGORITHMS "3", sha256_first, 8), 0);
    ck_assert_str_eq(proof.nonce, COOKIE_ALGORITHMS "3");
    cred_forget(&cred);
    proof = cred.proof;
    ck_assert_int_eq(challenge("test", COOKIE_ALGORITHMS, md5_only, 4), 0);
    ck_assert_int_eq(challenge("test", "plain", NULL, 0), -EBADMSG);
    cred_forget(&cred);
    proof = cred.proof;
    ck_assert_int_eq(challenge("test", "plain", NULL, 0), 0);
}
END_TEST

START_TEST(what_one_request_learns_is_there_for_the_next)
{
    ck_assert_int_eq(challenge("test", "n1", NULL, 0), 0);
    ck_assert_mem_eq(&cred.proof, &proof, sizeof(proof));
}
END_TEST

START_TEST(a_request_that_knows_nothing_carries_nothing)
{
    request();
    ck_assert_uint_eq(msg.len, STUN_HEADER_LEN);
}
END_TEST

START_TEST(another_realm_makes_another_key)
{
    uint8_t key[STUN_KEY_MAX];

    ck_assert_int_eq(challenge("test", "n", NULL, 0), 0);
    memcpy(key, proof.key, sizeof(key));
    ck_assert_int_eq(challenge("test", "m", NULL, 0), 0);
    ck_assert_mem_eq(key, proof.key, 16);
    ck_assert_int_eq(challenge("other", "m", NULL, 0), 0);
    ck_assert_mem_ne(key, proof.key, 16);
}
END_TEST

START_TEST(an_answer_must_prove_the_password_and_by_the_same_means)
{
    struct stun_builder b;
    bool good = _i == 0;

    ck_assert_int_eq(challenge("test", COOKIE_ALGORITHMS, sha256_first, 8), 0);
    stun_begin(&b, buf, sizeof(buf), STUN_SUCCESS, STUN_ALLOCATE, txid);
    stun_put_u32(&b, STUN_LIFETIME, 600);
    if (_i == 2)
        proof.key[0] ^= 1;
    if (_i != 1)
        stun_put_integrity(&b, _i == 3 ? STUN_INTEGRITY_SHA1 : STUN_INTEGRITY_SHA256, proof.key,
                           proof.key_len);
    if (_i == 2)
        proof.key[0] ^= 1;
    if (_i == 4)
        buf[STUN_HEADER_LEN + 7] ^= 1;
    ck_assert_int_eq(stun_decode(&msg, buf, stun_finish(&b)), 0);
    ck_assert_int_eq(cred_verify(&proof, &msg), good);
}
END_TEST

START_TEST(the_password_is_wiped)
{
    struct cred c;

    ck_assert_int_eq(cred_init(&c, "bob", "builder"), 0);
    c.proof.key_len = 3;
    memcpy(c.proof.key, "key", 3);
    cred_deinit(&c);
    for (size_t i = 0; i < sizeof(c); i++)
        ck_assert_uint_eq(((const uint8_t *)&c)[i], 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("cred");
    TCase *t = tcase_create("cred");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, an_rfc_5389_relay_gets_md5_and_sha1);
    tcase_add_test(t, sha256_is_chosen_where_it_is_offered);
    tcase_add_test(t, a_list_of_md5_alone_is_answered_with_md5_and_the_list);
    tcase_add_loop_test(t, a_list_that_no_nonce_vouches_for_says_nothing, 0, 5);
    tcase_add_loop_test(t, a_list_taken_away_or_unusable_is_no_challenge, 0, 4);
    tcase_add_test(t, the_user_is_hashed_when_the_nonce_asks_for_it);
    tcase_add_test(t, without_realm_or_nonce_it_is_no_challenge);
    tcase_add_test(t, a_nul_in_a_nonce_is_not_sent_back_cut_off);
    tcase_add_test(t, the_longest_texts_come_back_whole);
    tcase_add_test(t, what_was_offered_once_may_not_be_withdrawn);
    tcase_add_test(t, what_one_request_learns_is_there_for_the_next);
    tcase_add_test(t, a_request_that_knows_nothing_carries_nothing);
    tcase_add_test(t, another_realm_makes_another_key);
    tcase_add_loop_test(t, an_answer_must_prove_the_password_and_by_the_same_means, 0, 5);
    tcase_add_test(t, the_password_is_wiped);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
