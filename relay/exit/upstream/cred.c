#include "relay/exit/upstream/cred.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cursor.h"

#define NONCE_COOKIE     "obMatJos2" /* RFC 8489, section 9.2 */
#define NONCE_COOKIE_LEN 9
#define NONCE_BITS_LEN   4 /* 24 security features in base64 */

/* RFC 8489, section 18.1: bit 0 is the leftmost of the 24. */
#define FEATURE_PASSWORD_ALGORITHMS 0x800000u
#define FEATURE_USERNAME_ANONYMITY  0x400000u

int cred_init(struct cred *c, const char *user, const char *password)
{
    *c = (struct cred){.user = strdup(user), .password = strdup(password)};
    if (c->user && c->password)
        return 0;
    cred_deinit(c);
    return -ENOMEM;
}

void cred_deinit(struct cred *c)
{
    if (c->password)
        OPENSSL_cleanse(c->password, strlen(c->password));
    free(c->user);
    free(c->password);
    OPENSSL_cleanse(c, sizeof(*c));
}

/* ---- sending ---- */

static void cred_put_user(const struct cred *c, const struct cred_proof *proof,
                          struct stun_builder *b)
{
    uint8_t hash[32];

    if (!proof->userhash) {
        stun_put_text(b, STUN_USERNAME, c->user);
        return;
    }
    if (stun_userhash(c->user, proof->realm, hash) < 0)
        b->failed = true;
    else
        stun_put(b, STUN_USERHASH, hash, sizeof(hash));
}

void cred_put(const struct cred *c, const struct cred_proof *proof, struct stun_builder *b)
{
    if (proof->key_len == 0)
        return;
    cred_put_user(c, proof, b);
    stun_put_text(b, STUN_REALM, proof->realm);
    stun_put_text(b, STUN_NONCE, proof->nonce);
    if (proof->algorithms_len > 0) {
        stun_put(b, STUN_PASSWORD_ALGORITHMS, proof->algorithms, proof->algorithms_len);
        stun_put_u32(b, STUN_PASSWORD_ALGORITHM, (uint32_t)proof->algorithm << 16);
    }
    stun_put_integrity(b, proof->integrity, proof->key, proof->key_len);
}

/* ---- challenges ---- */

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* The security features a nonce announces; 0 without a cookie. */
static uint32_t nonce_features(const char *nonce)
{
    uint32_t bits = 0;

    if (strncmp(nonce, NONCE_COOKIE, NONCE_COOKIE_LEN) != 0)
        return 0;
    for (int i = 0; i < NONCE_BITS_LEN; i++) {
        int digit = base64_digit(nonce[NONCE_COOKIE_LEN + i]); /* -1 at the nonce's end */

        if (digit < 0)
            return 0;
        bits = bits << 6 | (uint32_t)digit;
    }
    return bits;
}

/* A text attribute as a string. Return: false when it is absent, empty or holds a NUL, which a
 * string could not give back. */
static bool cred_text(const struct stun_msg *msg, enum stun_attr attr, char ret[CRED_TEXT_MAX + 1])
{
    size_t len = 0;
    const uint8_t *value = stun_get(msg, attr, &len);

    if (!value || len == 0 || len > CRED_TEXT_MAX || memchr(value, 0, len))
        return false;
    memcpy(ret, value, len);
    ret[len] = '\0';
    return true;
}

/* The best algorithm of a PASSWORD-ALGORITHMS value that we know. Return: 0, or -EBADMSG when there
 * is none: then nothing may be sent that a password was used for (RFC 8489, section 9.2.5). */
static int cred_choose(struct cred_proof *p)
{
    struct reader r = reader_make(p->algorithms, p->algorithms_len);
    int best = 0;

    while (reader_left(&r) > 0) {
        uint16_t algorithm = reader_u16(&r);
        uint16_t len = reader_u16(&r);

        reader_bytes(&r, len);
        reader_bytes(&r, stun_padding(len));
        if (r.failed)
            return -EBADMSG;
        /* Both of those we know have no parameters. */
        if (len == 0 && algorithm > best && algorithm <= STUN_PASSWORD_SHA256)
            best = algorithm;
    }
    if (best == 0)
        return -EBADMSG;
    p->algorithm = (enum stun_password_algorithm)best;
    p->integrity = STUN_INTEGRITY_SHA256;
    return 0;
}

static int cred_read_algorithms(struct cred_proof *p, const struct stun_msg *msg)
{
    uint32_t features = nonce_features(p->nonce);
    size_t len = 0;
    const uint8_t *list = stun_get(msg, STUN_PASSWORD_ALGORITHMS, &len);

    p->algorithm = STUN_PASSWORD_MD5;
    p->integrity = STUN_INTEGRITY_SHA1;
    p->userhash = features & FEATURE_USERNAME_ANONYMITY;
    if (!(features & FEATURE_PASSWORD_ALGORITHMS))
        return 0; /* an RFC 5389 relay; a list that no nonce vouches for says nothing */
    if (!list || len > sizeof(p->algorithms))
        return -EBADMSG; /* somebody took the list away on its way here */
    memcpy(p->algorithms, list, len);
    p->algorithms_len = len;
    return cred_choose(p);
}

/* The realm, the user and the algorithm make the key; a challenge that changes but the nonce, as
 * nearly all do, leaves it. */
static int cred_make_key(const struct cred *c, const struct cred_proof *old, struct cred_proof *p)
{
    if (old->key_len > 0 && old->algorithm == p->algorithm && strcmp(old->realm, p->realm) == 0) {
        memcpy(p->key, old->key, sizeof(p->key));
        p->key_len = old->key_len;
        return 0;
    }
    p->key_len = stun_long_term_key(p->algorithm, c->user, p->realm, c->password, p->key);
    return p->key_len > 0 ? 0 : -ENOMEM;
}

int cred_take_challenge(struct cred *c, struct cred_proof *proof, const struct stun_msg *msg)
{
    struct cred_proof p = {0};
    int r = -EBADMSG;

    if (!cred_text(msg, STUN_REALM, p.realm) || !cred_text(msg, STUN_NONCE, p.nonce))
        return -EBADMSG;
    r = cred_read_algorithms(&p, msg);
    if (r == 0 && proof->key_len > 0 && proof->integrity == STUN_INTEGRITY_SHA256 &&
        p.integrity != STUN_INTEGRITY_SHA256)
        r = -EBADMSG;
    if (r == 0 && proof->key_len > 0 && p.algorithm < proof->algorithm)
        r = -EBADMSG;
    if (r == 0)
        r = cred_make_key(c, proof, &p);
    if (r == 0) {
        *proof = p;
        c->proof = p;
    }
    OPENSSL_cleanse(&p, sizeof(p));
    return r;
}

void cred_forget(struct cred *c)
{
    OPENSSL_cleanse(&c->proof, sizeof(c->proof));
}

bool cred_verify(const struct cred_proof *proof, const struct stun_msg *msg)
{
    return stun_check_integrity(msg, proof->integrity, proof->key, proof->key_len);
}
