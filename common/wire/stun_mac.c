/*
 * HMAC and keys, with OpenSSL 3's providers.
 *
 * Fetching an algorithm by name takes locks and compares strings, so it happens
 * once per process; and setting up a context allocates, so each thread keeps one
 * context per algorithm and only gives it a new key. The HMAC of a message then
 * costs its hashing and no allocation of ours.
 *
 * The header's length field is hashed as if the message ended with the integrity
 * attribute (RFC 8489, section 14.5): those two bytes come from a copy of the
 * header, the rest from the message itself, which is not modified.
 */
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <string.h>

#include "common/base/cursor.h"
#include "common/wire/stun.h"

#define ATTR_HEADER_LEN 4
#define SHA1_LEN        20
#define SHA256_LEN      32

enum mac_digest {
    MAC_SHA1,
    MAC_SHA256,
    MAC_N_DIGESTS,
};

static const char *const mac_digest_names[MAC_N_DIGESTS] = {"SHA1", "SHA256"};

struct mac_contexts {
    EVP_MAC_CTX *hmac[MAC_N_DIGESTS];
};

/* Const after mac_once; a NULL (no memory, or a provider that lacks it) fails what needs it. */
static EVP_MAC *mac_hmac;
static EVP_MD *mac_md5, *mac_sha256;
static pthread_key_t mac_thread_end;
static bool mac_thread_end_made;
static pthread_once_t mac_once = PTHREAD_ONCE_INIT;

static _Thread_local struct mac_contexts mac_mine;

static void mac_contexts_deinit(void *contexts)
{
    struct mac_contexts *mine = contexts;

    for (int i = 0; i < MAC_N_DIGESTS; i++)
        EVP_MAC_CTX_free(mine->hmac[i]);
    *mine = (struct mac_contexts){0};
}

/* MD5 derives keys here because RFC 8489 says so; it protects nothing. A machine in FIPS mode
 * hides it, so it is asked for without that property, and then from a library context of our own,
 * which the machine's openssl.cnf does not reach. */
static EVP_MD *mac_fetch_md5(void)
{
    EVP_MD *md5 = EVP_MD_fetch(NULL, "MD5", "-fips");
    OSSL_LIB_CTX *own = md5 ? NULL : OSSL_LIB_CTX_new();

    return own ? EVP_MD_fetch(own, "MD5", NULL) : md5;
}

static void mac_init(void)
{
    mac_hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    mac_md5 = mac_fetch_md5();
    mac_sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    mac_thread_end_made = pthread_key_create(&mac_thread_end, mac_contexts_deinit) == 0;
}

static EVP_MAC_CTX *mac_context_new(enum mac_digest digest)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)mac_digest_names[digest],
                                         0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC_CTX *ctx = mac_hmac ? EVP_MAC_CTX_new(mac_hmac) : NULL;

    if (ctx && EVP_MAC_CTX_set_params(ctx, params) != 1) {
        EVP_MAC_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

/* This thread's context, or NULL when OpenSSL is out of memory. */
static EVP_MAC_CTX *mac_context_get(enum mac_digest digest)
{
    EVP_MAC_CTX **ctx = &mac_mine.hmac[digest];

    if (!*ctx) {
        pthread_once(&mac_once, mac_init);
        *ctx = mac_context_new(digest);
        if (mac_thread_end_made)
            pthread_setspecific(mac_thread_end, &mac_mine);
    }
    return *ctx;
}

/* The HMAC of the message's first `covered` bytes, its length field saying that an integrity
 * attribute of `mac_len` bytes ends it. `ret_mac` holds SHA256_LEN bytes. */
static bool mac_message(enum mac_digest digest, const uint8_t *key, size_t key_len,
                        const uint8_t *msg, size_t covered, size_t mac_len, uint8_t *ret_mac)
{
    uint8_t head[STUN_HEADER_LEN];
    EVP_MAC_CTX *ctx;
    size_t len;

    /* With no key, EVP_MAC_init() goes on with the one it was given before: another user's. */
    if (!key || key_len == 0)
        return false;
    ctx = mac_context_get(digest);
    if (!ctx)
        return false;
    memcpy(head, msg, sizeof(head));
    put_u16(head + 2, (uint16_t)(covered + ATTR_HEADER_LEN + mac_len - STUN_HEADER_LEN));
    return EVP_MAC_init(ctx, key, key_len, NULL) == 1 &&
           EVP_MAC_update(ctx, head, sizeof(head)) == 1 &&
           EVP_MAC_update(ctx, msg + sizeof(head), covered - sizeof(head)) == 1 &&
           EVP_MAC_final(ctx, ret_mac, &len, SHA256_LEN) == 1;
}

static enum stun_attr mac_attr(enum stun_integrity kind)
{
    return kind == STUN_INTEGRITY_SHA256 ? STUN_MESSAGE_INTEGRITY_SHA256 : STUN_MESSAGE_INTEGRITY;
}

static enum mac_digest mac_digest_of(enum stun_integrity kind)
{
    return kind == STUN_INTEGRITY_SHA256 ? MAC_SHA256 : MAC_SHA1;
}

bool stun_check_integrity(const struct stun_msg *m, enum stun_integrity kind, const uint8_t *key,
                          size_t key_len)
{
    struct stun_value value = m->value[mac_attr(kind)];
    uint8_t expected[SHA256_LEN];

    if (kind == STUN_INTEGRITY_NONE || value.offset == 0)
        return false;
    if (!mac_message(mac_digest_of(kind), key, key_len, m->raw,
                     value.offset - (size_t)ATTR_HEADER_LEN, value.len, expected))
        return false;
    return CRYPTO_memcmp(expected, m->raw + value.offset, value.len) == 0;
}

void stun_put_integrity(struct stun_builder *b, enum stun_integrity kind, const uint8_t *key,
                        size_t key_len)
{
    size_t mac_len = kind == STUN_INTEGRITY_SHA256 ? SHA256_LEN : SHA1_LEN;
    uint8_t mac[SHA256_LEN];

    if (kind == STUN_INTEGRITY_NONE || b->failed)
        return;
    if (!mac_message(mac_digest_of(kind), key, key_len, b->buf, b->len, mac_len, mac)) {
        b->failed = true;
        return;
    }
    stun_put(b, mac_attr(kind), mac, mac_len);
}

/* The digest of `n` texts with a colon between each two. */
static bool mac_digest_texts(const EVP_MD *md, const char *const *texts, size_t n, uint8_t *ret)
{
    EVP_MD_CTX *ctx = md ? EVP_MD_CTX_new() : NULL;
    bool ok = ctx && EVP_DigestInit_ex2(ctx, md, NULL) == 1;

    for (size_t i = 0; ok && i < n; i++)
        ok = (i == 0 || EVP_DigestUpdate(ctx, ":", 1) == 1) &&
             EVP_DigestUpdate(ctx, texts[i], strlen(texts[i])) == 1;
    ok = ok && EVP_DigestFinal_ex(ctx, ret, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

size_t stun_long_term_key(enum stun_password_algorithm algorithm, const char *user,
                          const char *realm, const char *password, uint8_t *ret_key)
{
    const char *texts[] = {user, realm, password};
    const EVP_MD *md;

    pthread_once(&mac_once, mac_init);
    md = algorithm == STUN_PASSWORD_SHA256 ? mac_sha256 : mac_md5;
    if (!mac_digest_texts(md, texts, 3, ret_key))
        return 0;
    return (size_t)EVP_MD_get_size(md);
}

int stun_userhash(const char *user, const char *realm, uint8_t ret_hash[32])
{
    const char *texts[] = {user, realm};

    pthread_once(&mac_once, mac_init);
    return mac_digest_texts(mac_sha256, texts, 2, ret_hash) ? 0 : -ENOMEM;
}
