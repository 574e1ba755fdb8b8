#include "relay/turn/rest.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <string.h>

/* Twelve digits last for 30000 years and cannot overflow. */
#define REST_EXPIRY_DIGITS 12

bool rest_parse(const char *user, size_t len, struct rest_name *ret)
{
    uint64_t expiry_s = 0;
    size_t n = 0;

    for (; n < len && user[n] >= '0' && user[n] <= '9'; n++) {
        if (n == REST_EXPIRY_DIGITS)
            return false;
        expiry_s = expiry_s * 10 + (uint64_t)(user[n] - '0');
    }
    if (n == 0 || (n < len && user[n] != ':'))
        return false;
    /* Issuers without a notion of users send "EXPIRY" or "EXPIRY:": both name nobody. */
    ret->expiry_s = expiry_s;
    ret->id = n < len ? user + n + 1 : user + n;
    ret->id_len = n < len ? len - n - 1 : 0;
    return true;
}

int rest_password(const char *secret, const char *user, size_t user_len,
                  char ret_password[REST_PASSWORD_LEN + 1])
{
    unsigned char digest[SHA_DIGEST_LENGTH];
    size_t secret_len = strlen(secret);
    int r = 0;

    if (secret_len > INT_MAX || !HMAC(EVP_sha1(), secret, (int)secret_len,
                                      (const unsigned char *)user, user_len, digest, NULL)) {
        /* A caller that looks away must still not be left with a password that can be guessed. */
        (void)RAND_bytes(digest, sizeof(digest));
        r = -ENOMEM;
    }
    EVP_EncodeBlock((unsigned char *)ret_password, digest, sizeof(digest));
    return r;
}
