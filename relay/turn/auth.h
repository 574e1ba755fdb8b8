/*
 * relay/turn/auth.h - the long-term credential mechanism (RFC 8489, section 9.2)
 *
 * Everything here is const after auth_new() and shared by all workers: users, REST
 * secrets, and the key of the nonces. A nonce is stateless: its time and the
 * client's IP under an HMAC whose key lives as long as the process, so that any
 * worker and any listener accepts what another one gave out, also after a reload.
 *
 * Nonce: "obMatJos2" + base64 of the 24 security feature bits + base64 of 3 bytes of
 * time (units of NONCE_UNIT_S), the port it was given to and 7 bytes of HMAC-SHA256
 * over these, the features, the offered algorithms and the IP. The features are under
 * the HMAC: whoever edits them on the way (a bid-down) makes the nonce invalid. It is
 * short because every byte of a 401 is amplification.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"
#include "common/wire/stun.h"
#include "conf/conf.h"

struct auth;

#define AUTH_NONCE_LEN  29 /* characters, without a NUL */
#define AUTH_NAME_MAX   513
#define AUTH_SECRET_LEN 32

/* Who sent a message, once its integrity was verified. */
struct auth_who {
    char name[AUTH_NAME_MAX + 1]; /* as configured or as sent; identifies the owner */
    size_t name_len;
    size_t id_at, id_len; /* the part of name that quotas go by */
    bool listed;          /* one of the configuration's users, who may be taken off the list */
    bool expired; /* ephemeral credentials past their time: no new allocation, but running ones
                     go on (the scheme limits who may start a call, not how long it lasts) */
    enum stun_integrity integrity; /* what the answer must carry */
    uint8_t key[STUN_KEY_MAX];
    size_t key_len;
};

/* `nonce_secret` is the process's; `conf` must outlive the object.
 * Return: NULL when memory is short. */
struct auth *auth_new(const struct conf *conf, const uint8_t nonce_secret[AUTH_SECRET_LEN]);
void auth_free(struct auth *auth);

/* Checks a request's credentials in the order of RFC 8489, section 9.2.4.
 * Return: 0 and *ret_who; else the error code to answer: 401 (no integrity attribute, unknown
 * user, wrong password), 400 (attributes missing or a bid-down), 438 (nonce not ours or old). */
unsigned int auth_check(const struct auth *auth, const struct stun_msg *msg,
                        const struct addr *client, uint64_t now_ns, uint64_t now_real_s,
                        struct auth_who *ret_who);

/* Whether the configuration still lists this user. */
bool auth_lists(const struct auth *auth, const char *name, size_t len);

/* REALM, NONCE and PASSWORD-ALGORITHMS of a 401 or 438. */
void auth_put_challenge(const struct auth *auth, struct stun_builder *b, const struct addr *client,
                        uint64_t now_ns);
