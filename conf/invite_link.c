#include "conf/invite_link.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "conf/opaque.h"
#include "conf/value.h"

#define SCHEME "callveil://"

static const struct {
    const char *name;
    unsigned int protocol;
} transports[] = {
    {"dtls", LISTEN_DTLS},
    {"tls", LISTEN_TLS},
    {"udp", LISTEN_UDP},
    {"tcp", LISTEN_TCP},
};
#define N_TRANSPORTS (sizeof(transports) / sizeof(transports[0]))

/* ---- percent-encoding ---- */

static bool is_unreserved(char c)
{
    return isascii(c) && (isalnum((unsigned char)c) || (c && strchr("-._~", c)));
}

static void put_encoded(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (is_unreserved(*text))
            fputc(*text, out);
        else
            fprintf(out, "%%%02X", (unsigned char)*text);
    }
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef", *at;

    at = c ? strchr(digits, tolower((unsigned char)c)) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* In place. Zero bytes would end the text early, and mean something else than was sent. */
static int decode(char *text, const char *what, char *why)
{
    char *to = text;

    for (; *text; text++) {
        int high, low;

        if (*text != '%') {
            *to++ = *text;
            continue;
        }
        high = hex_digit(text[1]);
        low = high < 0 ? -1 : hex_digit(text[2]);
        if (low < 0)
            return value_bad(why, "%s: '%%' is not followed by two hex digits", what);
        if (high == 0 && low == 0)
            return value_bad(why, "%s contains a zero byte", what);
        *to++ = (char)(high << 4 | low);
        text += 2;
    }
    *to = '\0';
    return 0;
}

/* ---- decoding ---- */

/* What RFC 3986 lets stand in a link, without the '#' of a fragment. */
static int check_characters(const char *text, char *why)
{
    for (; *text; text++)
        if (!isgraph((unsigned char)*text) || !isascii(*text) || strchr("\"#<>\\^`{|}", *text))
            return value_bad(why,
                             "the link contains a character (0x%02x) that no link can: it was "
                             "changed on the way",
                             (unsigned char)*text);
    return 0;
}

static int take_text(char *text, const char *what, size_t max, char **ret, char *why)
{
    int r = decode(text, what, why);

    if (r != 0)
        return r;
    if (strlen(text) > max)
        return value_bad(why, "%s has more than %zu bytes", what, max);
    r = opaque_string(text, ret);
    return r > 0 ? value_bad(why, "%s: %s", what, opaque_reason(r)) : r;
}

static int take_credentials(char *userinfo, struct invite_link *link, char *why)
{
    char *colon = strchr(userinfo, ':');
    int r;

    if (!colon)
        return value_bad(why, "the link has no password");
    *colon++ = '\0';
    if (strchr(colon, ':'))
        return value_bad(why, "a ':' in the user or password must be written %%3A");
    r = take_text(userinfo, "the user", 508, &link->user, why);
    return r ? r : take_text(colon, "the password", 1024, &link->password, why);
}

static int take_host(char *host, struct invite_link *link, char *why)
{
    char *end = host[0] == '[' ? strchr(host, ']') : NULL;

    if (!*host)
        return value_bad(why, "the link has no host");
    if (host[0] == '[' ? !end : strchr(host, ':') && strchr(host, ':') != strrchr(host, ':'))
        return value_bad(why, "an IPv6 address is written [2001:db8::1]");
    if (strchr(end ? end : host, ':'))
        return value_bad(why, "a port stands behind the host; ports belong behind '?'");
    return url_host(host, &link->host, why);
}

static int take_port(unsigned int protocol, const char *value, struct invite_link *link, char *why)
{
    char quote[VALUE_QUOTE_LEN];
    uint64_t port = 0;

    if (!*value || strlen(value) > 5 || strspn(value, "0123456789") != strlen(value) ||
        value_number(value, 1, UINT16_MAX, &port, why) != 0)
        return value_bad(why, "%s is not a port (1 to 65535)", value_quote(value, quote));
    for (size_t i = 0; i < link->n_at; i++)
        if (link->at[i].protocol == protocol && link->at[i].port == port)
            return value_bad(why, "the link has a transport twice");
    if (link->n_at == INVITE_LINK_PORTS)
        return value_bad(why, "the link has more than %d transports", INVITE_LINK_PORTS);
    link->at[link->n_at].protocol = protocol;
    link->at[link->n_at++].port = (uint16_t)port;
    return 0;
}

static int take_pin(const char *value, struct invite_link *link, char *why)
{
    int r;

    if (link->n_pin == INVITE_LINK_PINS)
        return value_bad(why, "the link has more than %d pins", INVITE_LINK_PINS);
    r = url_pin_parse(value, link->pin[link->n_pin], why);
    if (r == 0)
        link->n_pin++;
    return r;
}

static int take_part(char *part, struct invite_link *link, char *why)
{
    char *value = strchr(part, '='), quote[VALUE_QUOTE_LEN];
    int r;

    if (!value || value == part)
        return value_bad(why, "%s is not a part like udp=3478", value_quote(part, quote));
    *value++ = '\0';
    r = decode(value, "the part behind '?'", why);
    if (r != 0)
        return r;
    for (size_t i = 0; i < N_TRANSPORTS; i++)
        if (strcmp(part, transports[i].name) == 0)
            return take_port(transports[i].protocol, value, link, why);
    if (strcmp(part, "pin") == 0)
        return take_pin(value, link, why);
    return value_bad(why, "%s is nothing this version understands", value_quote(part, quote));
}

static int take_parts(char *query, struct invite_link *link, char *why)
{
    unsigned int protocols = 0;
    char *part;
    int r = 0;

    while (r == 0 && (part = strsep(&query, "&")))
        r = take_part(part, link, why);
    for (size_t i = 0; i < link->n_at; i++)
        protocols |= link->at[i].protocol;
    if (r == 0 && !protocols)
        r = value_bad(why, "the link has no transport");
    if (r == 0 && link->n_pin > 0 && !(protocols & (LISTEN_TLS | LISTEN_DTLS)))
        r = value_bad(why, "the link has a pin, but neither tls nor dtls");
    return r;
}

/* `text` is behind the scheme, and is taken apart in place. */
static int take_all(char *text, struct invite_link *link, char *why)
{
    char *query = text + strcspn(text, "/?"), *host = strchr(text, '@');
    int r;

    if (!host || host > query)
        return value_bad(why, "the link has no user and password");
    if (strncmp(query, "/?", 2) != 0)
        return value_bad(why, "behind the host stands /? and the transports");
    *query = '\0';
    query += 2;
    *host++ = '\0';
    if (strchr(host, '@'))
        return value_bad(why, "an '@' in the user or password must be written %%40");
    r = take_credentials(text, link, why);
    if (r == 0)
        r = take_host(host, link, why);
    return r ? r : take_parts(query, link, why);
}

int invite_link_decode(const char *text, struct invite_link *ret, char *why)
{
    struct invite_link link = {0};
    size_t len = strnlen(text, INVITE_LINK_MAX + 1);
    char *copy;
    int r;

    if (len > INVITE_LINK_MAX)
        return value_bad(why, "the link has more than %d bytes", INVITE_LINK_MAX);
    if (strncasecmp(text, SCHEME, strlen(SCHEME)) != 0)
        return value_bad(why, "the link does not start with " SCHEME);
    r = check_characters(text, why);
    if (r != 0)
        return r;
    copy = strdup(text + strlen(SCHEME));
    if (!copy)
        return -ENOMEM;
    r = take_all(copy, &link, why);
    explicit_bzero(copy, len - strlen(SCHEME));
    free(copy);
    if (r == 0)
        *ret = link;
    else
        invite_link_deinit(&link);
    return r;
}

/* ---- encoding ---- */

static void put_parts(FILE *out, const struct invite_link *link)
{
    char text[URL_PIN_TEXT_LEN];
    const char *separator = "";

    for (size_t i = 0; i < link->n_at; i++)
        for (size_t k = 0; k < N_TRANSPORTS; k++)
            if (transports[k].protocol == link->at[i].protocol) {
                fprintf(out, "%s%s=%u", separator, transports[k].name, link->at[i].port);
                separator = "&";
            }
    for (size_t i = 0; i < link->n_pin; i++)
        fprintf(out, "&pin=%s", url_pin_format(link->pin[i], text));
}

char *invite_link_encode(const struct invite_link *link)
{
    const bool brackets = strchr(link->host, ':') != NULL;
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    fputs(SCHEME, out);
    put_encoded(out, link->user);
    fputc(':', out);
    put_encoded(out, link->password);
    fprintf(out, "@%s%s%s/?", brackets ? "[" : "", link->host, brackets ? "]" : "");
    put_parts(out, link);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

char *invite_link_url(const struct invite_link *link, size_t i, char *buf)
{
    const struct conf_url url = {
        .host = link->host, .port = link->at[i].port, .protocol = link->at[i].protocol};

    return url_format(&url, buf);
}

void invite_link_deinit(struct invite_link *link)
{
    if (link->password)
        explicit_bzero(link->password, strlen(link->password));
    free(link->password);
    free(link->user);
    free(link->host);
    explicit_bzero(link, sizeof(*link));
}
