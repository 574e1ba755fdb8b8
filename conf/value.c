#include "conf/value.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistr.h>

#include "conf/opaque.h"

int value_bad(char *why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why, VALUE_WHY_LEN, format, args);
    va_end(args);
    return VALUE_E_BAD;
}

const char *value_quote(const char *text, char *buf)
{
    /* Room for the longest escape, dots, the closing quote and the end. */
    const size_t limit = VALUE_QUOTE_LEN - 4 - 3 - 2;
    size_t n = 0;

    buf[n++] = '"';
    for (; *text && n < limit; text++) {
        unsigned char c = (unsigned char)*text;

        if (c >= 0x20 && c < 0x7f)
            buf[n++] = (char)c;
        else
            n += (size_t)snprintf(buf + n, VALUE_QUOTE_LEN - n, "\\x%02x", c);
    }
    snprintf(buf + n, VALUE_QUOTE_LEN - n, "%s\"", *text ? "..." : "");
    return buf;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static char *trim(char *text)
{
    size_t len;

    while (is_blank(*text))
        text++;
    len = strlen(text);
    while (len > 0 && is_blank(text[len - 1]))
        text[--len] = '\0';
    return text;
}

/* `text` is behind an opening quote. */
static int unwrap_quoted(char *text, char *to, char *why)
{
    while (*text && *text != '"') {
        if (*text == '\\' && text[1] != '"' && text[1] != '\\')
            return value_bad(why, "in double quotes, a backslash stands before \" or \\ only");
        if (*text == '\\')
            text++;
        *to++ = *text++;
    }
    if (*text != '"')
        return value_bad(why, "the closing double quote is missing");
    text++;
    if (*text && !is_blank(*text))
        return value_bad(why, "text behind the closing double quote");
    text = trim(text);
    if (*text && *text != '#' && *text != ';')
        return value_bad(why, "text behind the closing double quote");
    *to = '\0';
    return 0;
}

/* The '#' or ';' that starts a comment, or NULL. The text's start counts as behind a blank: the
 * caller has removed those in front. */
static char *find_comment(char *text)
{
    for (char *at = text; *at; at++)
        if ((*at == '#' || *at == ';') && (at == text || is_blank(at[-1])))
            return at;
    return NULL;
}

int value_unwrap(char *text, bool secret, bool *ret_quoted, char *why)
{
    char *start = trim(text), *comment;
    bool plain_comment;

    if (*start == '"') {
        *ret_quoted = true;
        return unwrap_quoted(start + 1, text, why);
    }
    comment = find_comment(start);
    plain_comment = comment && (is_blank(comment[1]) || !comment[1]);
    if (comment)
        *comment = '\0';
    start = trim(start);
    if (comment && secret && (!plain_comment || strpbrk(start, " \t")))
        return value_bad(why, "is '#' or ';' part of it, or a comment? Put the value in double "
                              "quotes, or the comment on a line of its own");
    memmove(text, start, strlen(start) + 1);
    *ret_quoted = false;
    return 0;
}

char *value_next_item(char **rest)
{
    char *item = *rest, *comma;

    if (!item)
        return NULL;
    comma = strchr(item, ',');
    *rest = comma ? comma + 1 : NULL;
    if (comma)
        *comma = '\0';
    return trim(item);
}

int value_yesno(const char *text, bool *ret, char *why)
{
    static const char *const yes[] = {"yes", "true", "on", "1"};
    static const char *const no[] = {"no", "false", "off", "0"};
    char quote[VALUE_QUOTE_LEN];

    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *ret = strcasecmp(text, yes[i]) == 0;
            return 0;
        }
    }
    return value_bad(why, "%s is neither yes nor no", value_quote(text, quote));
}

struct unit {
    char name;
    uint64_t factor;
};

/* Digits, then nothing or one of `units`. `what` completes "is not ". */
static int number_with_unit(const char *text, const struct unit *units, const char *what,
                            uint64_t *ret, char *why)
{
    const bool negative = text[0] == '-';
    const char *digits = text + negative;
    size_t n = strspn(digits, "0123456789");
    char quote[VALUE_QUOTE_LEN];
    uint64_t factor = 1;

    if (n > 0 && digits[n]) {
        while (units->name && units->name != digits[n])
            units++;
        factor = units->factor;
    }
    if (n == 0 || (digits[n] && (factor == 0 || digits[n + 1])))
        return value_bad(why, "%s is not %s", value_quote(text, quote), what);
    errno = 0;
    *ret = strtoull(digits, NULL, 10);
    /* Out of any range: the caller's bounds say so in their own words. */
    if (negative || errno == ERANGE || __builtin_mul_overflow(*ret, factor, ret))
        *ret = UINT64_MAX;
    return 0;
}

static int in_range(const char *text, uint64_t value, uint64_t min, uint64_t max, char *why)
{
    char quote[VALUE_QUOTE_LEN];

    if (value >= min && value <= max && text[0] != '-')
        return 0;
    return value_bad(why, "%s is out of range (%llu to %llu)", value_quote(text, quote),
                     (unsigned long long)min, (unsigned long long)max);
}

static int bounded_number(const char *text, const struct unit *units, const char *what,
                          uint64_t min, uint64_t max, uint64_t *ret, char *why)
{
    uint64_t value = 0;
    int r = number_with_unit(text, units, what, &value, why);

    if (r == 0)
        r = in_range(text, value, min, max, why);
    if (r == 0)
        *ret = value;
    return r;
}

int value_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret, char *why)
{
    static const struct unit none[] = {{0}};

    return bounded_number(text, none, "a number", min, max, ret, why);
}

int value_size(const char *text, uint64_t min, uint64_t max, uint64_t *ret, char *why)
{
    static const struct unit units[] = {{'k', 1000}, {'M', 1000000}, {'G', 1000000000}, {0}};

    return bounded_number(text, units, "a number of bytes (500000, 500k, 2M, 1G)", min, max, ret,
                          why);
}

int value_duration(const char *text, uint64_t min, uint64_t max, uint64_t *ret, char *why)
{
    static const struct unit units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {0}};
    char quote[VALUE_QUOTE_LEN];
    uint64_t value = 0;
    int r = number_with_unit(text, units, "a duration (90, 90s, 10m, 1h)", &value, why);

    if (r == 0 && in_range(text, value, min, max, why) != 0)
        r = value_bad(why, "%s is out of range (%llu to %llu seconds)", value_quote(text, quote),
                      (unsigned long long)min, (unsigned long long)max);
    if (r == 0)
        *ret = value;
    return r;
}

int value_ports(const char *text, uint16_t min, uint16_t max, uint16_t *ret_min, uint16_t *ret_max,
                char *why)
{
    char low_text[24], quote[VALUE_QUOTE_LEN];
    const char *dash = strchr(text, '-');
    size_t len = dash ? (size_t)(dash - text) : 0;
    uint64_t low, high;
    int r;

    if (len == 0 || len >= sizeof(low_text))
        return value_bad(why, "%s is not a range of ports (49152-65535)", value_quote(text, quote));
    snprintf(low_text, sizeof(low_text), "%.*s", (int)len, text);
    r = value_number(trim(low_text), min, max, &low, why);
    while (is_blank(*++dash))
        ;
    if (r == 0)
        r = value_number(dash, min, max, &high, why);
    if (r == 0 && low > high)
        r = value_bad(why, "%s is the wrong way round", value_quote(text, quote));
    if (r == 0) {
        *ret_min = (uint16_t)low;
        *ret_max = (uint16_t)high;
    }
    return r;
}

int value_log_level(const char *text, enum log_level *ret, char *why)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    char quote[VALUE_QUOTE_LEN];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcasecmp(text, names[i]) == 0) {
            *ret = (enum log_level)i;
            return 0;
        }
    }
    return value_bad(why, "%s is none of error, warning, info, debug", value_quote(text, quote));
}

int value_ip(const char *text, struct addr *ret, char *why)
{
    char quote[VALUE_QUOTE_LEN];
    struct addr addr;

    if (!addr_parse_ip(text, 0, &addr))
        return value_bad(why, "%s is not an IP address (192.0.2.1 or 2001:db8::1)",
                         value_quote(text, quote));
    if (addr_is_any(&addr))
        return value_bad(why, "%s stands for any address; name one", value_quote(text, quote));
    *ret = addr;
    return 0;
}

int value_addr(const char *text, struct addr *ret, char *why)
{
    char quote[VALUE_QUOTE_LEN];

    if (addr_parse(text, ret))
        return 0;
    return value_bad(why, "%s is not an IP address with a port (192.0.2.1:80 or [2001:db8::1]:80)",
                     value_quote(text, quote));
}

int value_range(const char *text, struct addr_range *ret, char *why)
{
    char quote[VALUE_QUOTE_LEN], address[ADDR_STRLEN];
    const char *slash = strchr(text, '/');
    struct addr addr;

    if (addr_range_parse(text, ret))
        return 0;
    /* Told apart because the remedy differs: the address is fine, the rule is not. */
    if (slash && (size_t)(slash - text) < sizeof(address) && slash[1] &&
        strspn(slash + 1, "0123456789") == strlen(slash + 1)) {
        snprintf(address, sizeof(address), "%.*s", (int)(slash - text), text);
        if (addr_parse_ip(address, 0, &addr)) {
            if (addr.family == ADDR_IPV4 && strchr(address, ':'))
                return value_bad(why, "%s: write the IPv4 prefix itself", value_quote(text, quote));
            if (strlen(slash + 1) > 3 || strtoul(slash + 1, NULL, 10) > addr_ip_len(&addr) * 8)
                return value_bad(why, "%s: the prefix is longer than the address",
                                 value_quote(text, quote));
            return value_bad(why, "%s has bits set behind its prefix", value_quote(text, quote));
        }
    }
    return value_bad(why, "%s is not an address or prefix (192.0.2.0/24 or 2001:db8::/32)",
                     value_quote(text, quote));
}

int value_listen(const char *text, struct conf_listen *ret, char *why)
{
    static const struct {
        const char *scheme;
        unsigned int protocol;
    } schemes[] = {
        {"udp://", LISTEN_UDP},
        {"dtls://", LISTEN_DTLS},
        {"tcp://", LISTEN_TCP},
        {"tls://", LISTEN_TLS},
    };
    char quote[VALUE_QUOTE_LEN];
    struct addr addr;

    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t len = strlen(schemes[i].scheme);

        if (strncasecmp(text, schemes[i].scheme, len) != 0)
            continue;
        if (!addr_parse(text + len, &addr))
            return value_bad(why, "%s needs an IP address and a port behind %s",
                             value_quote(text, quote), schemes[i].scheme);
        *ret = (struct conf_listen){.addr = addr, .protocols = schemes[i].protocol};
        return 0;
    }
    return value_bad(why, "%s starts with none of udp://, dtls://, tcp://, tls://",
                     value_quote(text, quote));
}

int value_realm(const char *text, char **ret, char *why)
{
    char *realm;
    int r = opaque_string(text, &realm);

    if (r > 0)
        return value_bad(why, "%s", opaque_reason(r));
    if (r < 0)
        return r;
    if (strpbrk(realm, "\"\\"))
        r = value_bad(why, "a realm cannot contain \" or \\");
    else if (u8_mbsnlen((const uint8_t *)realm, strlen(realm)) > 127)
        r = value_bad(why, "a realm has at most 127 characters");
    if (r != 0) {
        free(realm);
        return r;
    }
    *ret = realm;
    return 0;
}
