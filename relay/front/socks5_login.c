/*
 * Who may use the proxy (RFC 1929)
 *
 * Every user is compared in full, whatever the others said, so that the time it
 * takes depends on the configuration alone and tells nobody which names exist.
 * Users of whom only keys are stored cannot be checked here: a key is made from
 * the realm of a STUN server, and there is none.
 */
#include <openssl/crypto.h>
#include <stdlib.h>

#include "conf/opaque.h"
#include "relay/front/socks5_impl.h"

#define LOGIN_TEXT_MAX 256

/* As the users' own names and passwords were prepared when they were loaded (conf/opaque.h).
 * Return: false when no user can have it. */
static bool login_prepare(const char *text, size_t len, char ret[LOGIN_TEXT_MAX])
{
    char *prepared = NULL;
    size_t prepared_len = 0;

    memset(ret, 0, LOGIN_TEXT_MAX);
    if (strlen(text) != len || opaque_string(text, &prepared) != 0)
        return false;
    prepared_len = strlen(prepared);
    if (prepared_len < LOGIN_TEXT_MAX)
        memcpy(ret, prepared, prepared_len);
    OPENSSL_cleanse(prepared, prepared_len);
    free(prepared);
    return prepared_len < LOGIN_TEXT_MAX;
}

static bool login_equal(const char *ours, const char given[LOGIN_TEXT_MAX])
{
    char padded[LOGIN_TEXT_MAX] = {0};
    size_t len = strlen(ours);
    bool equal;

    memcpy(padded, ours, len < LOGIN_TEXT_MAX ? len : LOGIN_TEXT_MAX);
    equal = CRYPTO_memcmp(padded, given, LOGIN_TEXT_MAX) == 0;
    OPENSSL_cleanse(padded, sizeof(padded));
    return equal & (len < LOGIN_TEXT_MAX);
}

bool socks5_login_is_users(const struct conf *conf, const struct socks5_login *login)
{
    char name[LOGIN_TEXT_MAX], password[LOGIN_TEXT_MAX];
    bool found = false;
    bool possible = login_prepare(login->name, login->name_len, name);

    possible &= login_prepare(login->password, login->password_len, password);
    for (size_t i = 0; i < conf->n_user; i++) {
        const struct conf_user *user = &conf->user[i];
        bool is_name = login_equal(user->name, name);
        bool is_password = login_equal(user->password ? user->password : "", password);

        found |= is_name & is_password & (user->password != NULL);
    }
    OPENSSL_cleanse(password, sizeof(password));
    return found & possible;
}
