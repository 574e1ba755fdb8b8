#include "conf/user.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "conf/opaque.h"
#include "conf/value.h"

#define KEY_PREFIX "key:0x"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool parse_hex(const char *text, uint8_t *to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(text[2 * i]), low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);

        if (low < 0)
            return false;
        to[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* Either item may repeat "key:", so that both forms of writing two keys work. */
static int parse_key(const char *item, struct conf_user *user, char *why)
{
    const char *hex;
    size_t len;
    bool md5;

    if (strncasecmp(item, "key:", 4) == 0)
        item += 4;
    if (strncasecmp(item, "0x", 2) != 0)
        return value_bad(why, "a key starts with 0x");
    hex = item + 2;
    len = strlen(hex);
    md5 = len == 2 * sizeof(user->key_md5);
    if (!md5 && len != 2 * sizeof(user->key_sha256))
        return value_bad(why, "a key has 32 hex digits (MD5) or 64 (SHA-256), this one has %zu",
                         len);
    if (md5 ? user->has_md5 : user->has_sha256)
        return value_bad(why, "two keys of the same kind");
    if (!parse_hex(hex, md5 ? user->key_md5 : user->key_sha256, len / 2))
        return value_bad(why, "a key consists of hex digits");
    *(md5 ? &user->has_md5 : &user->has_sha256) = true;
    return 0;
}

static int parse_keys(const char *value, struct conf_user *user, char *why)
{
    char *copy = strdup(value), *rest = copy, *item;
    int r = 0;

    if (!copy)
        return -ENOMEM;
    while (r == 0 && (item = value_next_item(&rest)))
        r = parse_key(item, user, why);
    explicit_bzero(copy, strlen(value));
    free(copy);
    return r;
}

static int parse_name(const char *name, char **ret, char *why)
{
    int r;

    /* The key of a user is a digest of name ":" realm ":" password, and in ephemeral credentials
     * the text before ':' is an expiry: a name with one could pass for another. */
    if (strchr(name, ':'))
        return value_bad(why, "a user name cannot contain ':'");
    if (name[0] == '"')
        return value_bad(why, "a user name is not put in quotes (and cannot contain '=')");
    if (strlen(name) > USER_NAME_MAX)
        return value_bad(why, "a user name has at most %d bytes", USER_NAME_MAX);
    r = opaque_string(name, ret);
    return r > 0 ? value_bad(why, "a bad user name: %s", opaque_reason(r)) : r;
}

static int parse_password(const char *value, char **ret, char *why)
{
    int r = opaque_string(value, ret);

    return r > 0 ? value_bad(why, "a bad password: %s", opaque_reason(r)) : r;
}

int user_parse(const char *name, const char *value, bool quoted, struct conf_user *ret, char *why)
{
    struct conf_user user = {0};
    int r = parse_name(name, &user.name, why);

    if (r == 0 && !quoted && strncasecmp(value, KEY_PREFIX, strlen(KEY_PREFIX)) == 0)
        r = parse_keys(value, &user, why);
    else if (r == 0)
        r = parse_password(value, &user.password, why);
    if (r != 0)
        user_deinit(&user);
    else
        *ret = user;
    return r;
}

void user_deinit(struct conf_user *user)
{
    if (user->password)
        explicit_bzero(user->password, strlen(user->password));
    free(user->password);
    free(user->name);
    explicit_bzero(user, sizeof(*user));
}
