#include "relay/turn/auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/cursor.h"
#include "common/base/hash.h"
#include "relay/turn/rest.h"

#define NONCE_COOKIE     "obMatJos2"
#define NONCE_COOKIE_LEN 9
#define NONCE_UNIT_S     4
#define NONCE_TIME_MASK  0xFFFFFFu
#define NONCE_PORT_LEN   2
#define NONCE_MAC_LEN    7
#define NONCE_PACKED_LEN (3 + NONCE_PORT_LEN + NONCE_MAC_LEN)

/* Security features, RFC 8489, section 18.1: bit 0 is the leftmost of the 24. */
#define FEATURE_PASSWORD_ALGORITHMS 0x800000u
#define FEATURE_USERNAME_ANONYMITY  0x400000u

struct auth_user {
    struct hash_node by_name;
    struct hash_node by_userhash;
    const char *name;
    uint8_t userhash[32];
    uint8_t key_md5[16];
    uint8_t key_sha256[32];
    bool has_md5, has_sha256;
};

struct auth {
    const struct conf *conf;
    uint8_t nonce_secret[AUTH_SECRET_LEN];
    struct auth_user *users;
    struct hash_table names;
    struct hash_table userhashes;
    uint32_t features;
    uint8_t algorithms[8]; /* the PASSWORD-ALGORITHMS value we send, and expect back */
    size_t algorithms_len;
};

/* Return: false when memory is short: a key that could not be made must not be used. */
static bool auth_add_user(struct auth *auth, struct auth_user *user, const struct conf_user *from)
{
    const char *realm = auth->conf->realm;

    user->name = from->name;
    user->has_md5 = from->has_md5;
    user->has_sha256 = from->has_sha256;
    memcpy(user->key_md5, from->key_md5, sizeof(user->key_md5));
    memcpy(user->key_sha256, from->key_sha256, sizeof(user->key_sha256));
    if (from->password) {
        uint8_t key[STUN_KEY_MAX];

        user->has_md5 =
            stun_long_term_key(STUN_PASSWORD_MD5, from->name, realm, from->password, key) > 0;
        memcpy(user->key_md5, key, sizeof(user->key_md5));
        OPENSSL_cleanse(key, sizeof(key));
        user->has_sha256 = stun_long_term_key(STUN_PASSWORD_SHA256, from->name, realm,
                                              from->password, user->key_sha256) > 0;
        if (!user->has_md5 || !user->has_sha256)
            return false;
    }
    if (stun_userhash(from->name, realm, user->userhash) < 0)
        return false;
    hash_insert(&auth->names, &user->by_name, hash_bytes(from->name, strlen(from->name)));
    hash_insert(&auth->userhashes, &user->by_userhash, hash_bytes(user->userhash, 32));
    return true;
}

/* Only what every user can do is offered: a client that picked SHA-256 for a user of whom we have
 * but the MD5 key could never log in. */
static void auth_choose_algorithms(struct auth *auth)
{
    struct writer w = writer_make(auth->algorithms, sizeof(auth->algorithms));
    bool md5 = true, sha256 = true;

    for (size_t i = 0; i < auth->conf->n_user; i++) {
        md5 = md5 && auth->users[i].has_md5;
        sha256 = sha256 && auth->users[i].has_sha256;
    }
    if (sha256)
        writer_u32(&w, (uint32_t)STUN_PASSWORD_SHA256 << 16);
    if (md5 || !sha256)
        writer_u32(&w, (uint32_t)STUN_PASSWORD_MD5 << 16);
    auth->algorithms_len = w.len;
    auth->features = FEATURE_PASSWORD_ALGORITHMS;
    /* Where the bit is set, clients MUST send USERHASH (RFC 8489, section 9.2.5), and an ephemeral
     * name cannot be found from its hash. Without the bit a listed user's hash still works. */
    if (auth->conf->n_user > 0 && auth->conf->n_secret == 0)
        auth->features |= FEATURE_USERNAME_ANONYMITY;
}

struct auth *auth_new(const struct conf *conf, const uint8_t nonce_secret[AUTH_SECRET_LEN])
{
    struct auth *auth = calloc(1, sizeof(*auth));

    if (!auth)
        return NULL;
    auth->conf = conf;
    memcpy(auth->nonce_secret, nonce_secret, AUTH_SECRET_LEN);
    auth->users = calloc(conf->n_user + 1, sizeof(*auth->users));
    if (!auth->users || hash_init(&auth->names, conf->n_user) < 0 ||
        hash_init(&auth->userhashes, conf->n_user) < 0)
        goto out;
    for (size_t i = 0; i < conf->n_user; i++)
        if (!auth_add_user(auth, &auth->users[i], &conf->user[i]))
            goto out;
    auth_choose_algorithms(auth);
    return auth;
out:
    auth_free(auth);
    return NULL;
}

void auth_free(struct auth *auth)
{
    if (!auth)
        return;
    hash_deinit(&auth->names);
    hash_deinit(&auth->userhashes);
    if (auth->users)
        OPENSSL_cleanse(auth->users, (auth->conf->n_user + 1) * sizeof(*auth->users));
    free(auth->users);
    OPENSSL_cleanse(auth, sizeof(*auth));
    free(auth);
}

static const struct auth_user *auth_find_name(const struct auth *auth, const uint8_t *name,
                                              size_t len)
{
    uint64_t hash = hash_bytes(name, len);

    for (struct hash_node *n = hash_first(&auth->names, hash); n; n = hash_next(n, hash)) {
        const struct auth_user *user = hash_entry(n, struct auth_user, by_name);

        if (strlen(user->name) == len && memcmp(user->name, name, len) == 0)
            return user;
    }
    return NULL;
}

bool auth_lists(const struct auth *auth, const char *name, size_t len)
{
    return auth_find_name(auth, (const uint8_t *)name, len) != NULL;
}

static const struct auth_user *auth_find_userhash(const struct auth *auth, const uint8_t *digest)
{
    uint64_t hash = hash_bytes(digest, 32);

    for (struct hash_node *n = hash_first(&auth->userhashes, hash); n; n = hash_next(n, hash)) {
        const struct auth_user *user = hash_entry(n, struct auth_user, by_userhash);

        if (memcmp(user->userhash, digest, 32) == 0)
            return user;
    }
    return NULL;
}

/* `port` makes the nonces of two flows of one host differ, as RFC 8489, section 9.2.4 demands. It
 * is read back from the nonce and not compared with the sender's: a host's nonce also serves its
 * data connections (RFC 6062), which come from other ports. */
static void auth_nonce_make(const struct auth *auth, const struct addr *client, uint16_t port,
                            uint32_t time, char ret_nonce[AUTH_NONCE_LEN + 1])
{
    uint8_t in[3 + 3 + NONCE_PORT_LEN + 16 + 1 + sizeof(auth->algorithms)];
    uint8_t mac[EVP_MAX_MD_SIZE], packed[NONCE_PACKED_LEN];
    struct writer w = writer_make(in, sizeof(in));
    unsigned int mac_len;

    writer_u8(&w, (uint8_t)(time >> 16));
    writer_u16(&w, (uint16_t)time);
    writer_u16(&w, port);
    memcpy(packed, in, w.len);
    writer_u8(&w, (uint8_t)(auth->features >> 16));
    writer_u16(&w, (uint16_t)auth->features);
    writer_bytes(&w, client->ip, sizeof(client->ip));
    writer_u8(&w, client->family);
    /* After a reload that changes the list, a client that echoes the old one must hear "stale"
     * and learn the new one, not "bad request": its call goes on. */
    writer_bytes(&w, auth->algorithms, auth->algorithms_len);
    HMAC(EVP_sha256(), auth->nonce_secret, AUTH_SECRET_LEN, in, w.len, mac, &mac_len);
    memcpy(packed + 3 + NONCE_PORT_LEN, mac, NONCE_MAC_LEN);
    memcpy(ret_nonce, NONCE_COOKIE, NONCE_COOKIE_LEN);
    EVP_EncodeBlock((unsigned char *)ret_nonce + NONCE_COOKIE_LEN, in + 3 + NONCE_PORT_LEN, 3);
    EVP_EncodeBlock((unsigned char *)ret_nonce + NONCE_COOKIE_LEN + 4, packed, sizeof(packed));
}

static uint32_t auth_nonce_time(uint64_t now_ns)
{
    return (uint32_t)(now_ns / (NONCE_UNIT_S * NS_PER_S)) & NONCE_TIME_MASK;
}

static bool auth_nonce_ok(const struct auth *auth, const uint8_t *nonce, size_t len,
                          const struct addr *client, uint64_t now_ns)
{
    char expected[AUTH_NONCE_LEN + 1];
    uint8_t packed[NONCE_PACKED_LEN + 3];
    uint32_t time, age;
    uint16_t port;

    if (len != AUTH_NONCE_LEN ||
        EVP_DecodeBlock(packed, nonce + NONCE_COOKIE_LEN + 4, 16) != NONCE_PACKED_LEN)
        return false;
    time = (uint32_t)packed[0] << 16 | (uint32_t)packed[1] << 8 | packed[2];
    port = (uint16_t)(packed[3] << 8 | packed[4]);
    auth_nonce_make(auth, client, port, time, expected);
    if (CRYPTO_memcmp(expected, nonce, AUTH_NONCE_LEN) != 0)
        return false;
    age = (auth_nonce_time(now_ns) - time) & NONCE_TIME_MASK;
    return (uint64_t)age * NONCE_UNIT_S <= auth->conf->nonce_lifetime_s;
}

void auth_put_challenge(const struct auth *auth, struct stun_builder *b, const struct addr *client,
                        uint64_t now_ns)
{
    char nonce[AUTH_NONCE_LEN + 1];

    auth_nonce_make(auth, client, client->port, auth_nonce_time(now_ns), nonce);
    stun_put_text(b, STUN_REALM, auth->conf->realm);
    stun_put(b, STUN_NONCE, nonce, AUTH_NONCE_LEN);
    stun_put(b, STUN_PASSWORD_ALGORITHMS, auth->algorithms, auth->algorithms_len);
}

/* RFC 8489, section 9.2.4: a client that read the nonce cookie sends our list back with its choice;
 * one without both attributes is an RFC 5389 client and means MD5. */
static unsigned int auth_algorithm(const struct auth *auth, const struct stun_msg *msg,
                                   enum stun_password_algorithm *ret)
{
    size_t list_len = 0, choice_len = 0;
    const uint8_t *list = stun_get(msg, STUN_PASSWORD_ALGORITHMS, &list_len);
    const uint8_t *choice = stun_get(msg, STUN_PASSWORD_ALGORITHM, &choice_len);

    if (!list && !choice) {
        *ret = STUN_PASSWORD_MD5;
        return 0;
    }
    if (!list || !choice || list_len != auth->algorithms_len ||
        memcmp(list, auth->algorithms, list_len) != 0)
        return 400;
    for (size_t i = 0; i + 4 <= auth->algorithms_len; i += 4) {
        if (choice_len >= 4 && memcmp(choice, auth->algorithms + i, 4) == 0) {
            *ret = (enum stun_password_algorithm)auth->algorithms[i + 1];
            return 0;
        }
    }
    return 400;
}

static bool auth_try_key(const struct stun_msg *msg, struct auth_who *who)
{
    return stun_check_integrity(msg, who->integrity, who->key, who->key_len);
}

static bool auth_has_key(const struct auth_user *user, enum stun_password_algorithm algorithm)
{
    return algorithm == STUN_PASSWORD_SHA256 ? user->has_sha256 : user->has_md5;
}

static bool auth_check_user(const struct stun_msg *msg, const struct auth_user *user,
                            enum stun_password_algorithm algorithm, struct auth_who *who)
{
    bool sha256 = algorithm == STUN_PASSWORD_SHA256;

    who->key_len = sha256 ? sizeof(user->key_sha256) : sizeof(user->key_md5);
    memcpy(who->key, sha256 ? user->key_sha256 : user->key_md5, who->key_len);
    who->name_len = strlen(user->name);
    memcpy(who->name, user->name, who->name_len + 1);
    who->id_at = 0;
    who->id_len = who->name_len;
    who->listed = true;
    return auth_try_key(msg, who);
}

static bool auth_check_rest(const struct auth *auth, const struct stun_msg *msg,
                            enum stun_password_algorithm algorithm, uint64_t now_real_s,
                            struct auth_who *who)
{
    char password[REST_PASSWORD_LEN + 1];
    struct rest_name rest;

    if (!rest_parse(who->name, who->name_len, &rest))
        return false;
    for (size_t i = 0; i < auth->conf->n_secret; i++) {
        rest_password(auth->conf->secret[i], who->name, who->name_len, password);
        who->key_len =
            stun_long_term_key(algorithm, who->name, auth->conf->realm, password, who->key);
        if (auth_try_key(msg, who)) {
            /* Without an id, all such names are one party: its quota must not be evaded by
             * asking for a new expiry. */
            who->id_at = rest.id_len > 0 ? (size_t)(rest.id - who->name) : 0;
            who->id_len = rest.id_len;
            who->expired = rest.expiry_s <= now_real_s;
            return true;
        }
    }
    return false;
}

/* The work of a wrong password, so that the time taken does not tell which users exist. */
static void auth_waste(const struct stun_msg *msg, struct auth_who *who)
{
    memset(who->key, 0, sizeof(who->key));
    who->key_len = 16;
    (void)auth_try_key(msg, who);
}

static unsigned int auth_check_credentials(const struct auth *auth, const struct stun_msg *msg,
                                           enum stun_password_algorithm algorithm,
                                           uint64_t now_real_s, struct auth_who *who)
{
    const struct auth_user *user;
    const uint8_t *value;
    size_t len = 0;

    value = stun_get(msg, STUN_USERHASH, &len);
    if (value) {
        user = auth_find_userhash(auth, value);
    } else {
        value = stun_get(msg, STUN_USERNAME, &len);
        if (len > AUTH_NAME_MAX || memchr(value, 0, len))
            return 401;
        memcpy(who->name, value, len);
        who->name[len] = '\0';
        who->name_len = len;
        user = auth_find_name(auth, value, len);
        if (!user && auth_check_rest(auth, msg, algorithm, now_real_s, who))
            return 0;
    }
    if (!user || !auth_has_key(user, algorithm)) {
        auth_waste(msg, who);
        return 401;
    }
    return auth_check_user(msg, user, algorithm, who) ? 0 : 401;
}

unsigned int auth_check(const struct auth *auth, const struct stun_msg *msg,
                        const struct addr *client, uint64_t now_ns, uint64_t now_real_s,
                        struct auth_who *ret_who)
{
    enum stun_password_algorithm algorithm;
    const uint8_t *nonce, *realm;
    size_t nonce_len, realm_len;
    unsigned int code;

    memset(ret_who, 0, sizeof(*ret_who));
    if (stun_has(msg, STUN_MESSAGE_INTEGRITY_SHA256))
        ret_who->integrity = STUN_INTEGRITY_SHA256;
    else if (stun_has(msg, STUN_MESSAGE_INTEGRITY))
        ret_who->integrity = STUN_INTEGRITY_SHA1;
    else
        return 401;
    nonce = stun_get(msg, STUN_NONCE, &nonce_len);
    realm = stun_get(msg, STUN_REALM, &realm_len);
    if (!nonce || !realm || (!stun_has(msg, STUN_USERNAME) && !stun_has(msg, STUN_USERHASH)))
        return 400;
    if (!auth_nonce_ok(auth, nonce, nonce_len, client, now_ns))
        return 438;
    code = auth_algorithm(auth, msg, &algorithm);
    if (code != 0)
        return code;
    /* The key is derived with our realm, so another realm fails here like a wrong password. */
    return auth_check_credentials(auth, msg, algorithm, now_real_s, ret_who);
}
