/*
 * relay/turn/rest.h - ephemeral credentials (the "TURN REST API" scheme)
 *
 * The user name is "EXPIRY[:ID]", EXPIRY in seconds since 1970; the password is
 * base64(HMAC-SHA1(secret, user name)). Whoever holds the secret can issue
 * credentials without telling the relay (draft-uberti-behave-turn-rest).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REST_PASSWORD_LEN 28 /* base64 of 20 bytes */

struct rest_name {
    uint64_t expiry_s;
    const char *id; /* points into the user name; the part that quotas and stats go by */
    size_t id_len;  /* 0 when there is no ":ID" */
};

/* Whether `user` has this form: digits (at most 12), then the end or ":" and an id, which may be
 * empty and may hold further colons. */
bool rest_parse(const char *user, size_t len, struct rest_name *ret);

/* Writes the password and a NUL. Return: 0; or -ENOMEM when OpenSSL has no memory, and then the
 * password is random: it authenticates nobody. */
int rest_password(const char *secret, const char *user, size_t user_len,
                  char ret_password[REST_PASSWORD_LEN + 1]);

/* `callveil credential [-c FILE] NAME [--ttl 1h]`: argv[0] is "credential". */
int rest_command(int argc, char **argv);
