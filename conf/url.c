#include "conf/url.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "conf/value.h"

#define LABEL_MAX     63
#define PORT_TURN     3478
#define PORT_TURNS    5349
#define PIN_PREFIX    "sha256/"
#define PIN_BASE64    44 /* characters for 32 bytes, with padding */
#define TRANSPORT_ARG "transport="

static bool is_letter_or_digit(char c)
{
    return isascii(c) && isalnum((unsigned char)c);
}

/* RFC 1123, section 2.1: letters, digits and inner hyphens. */
static bool is_label(const char *label, size_t len)
{
    if (len == 0 || len > LABEL_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_letter_or_digit(label[i]) && (label[i] != '-' || i == 0 || i == len - 1))
            return false;
    return true;
}

static int check_name(const char *host, char *why)
{
    char quote[VALUE_QUOTE_LEN];
    const char *label = host;
    size_t len;

    if (strlen(host) > URL_HOST_MAX)
        return value_bad(why, "the host name has more than %d bytes", URL_HOST_MAX);
    for (const char *c = host; *c; c++)
        if (!isascii(*c))
            return value_bad(why, "%s: write the host name in its ASCII form (xn--...)",
                             value_quote(host, quote));
    for (;; label += len + 1) {
        len = strcspn(label, ".");
        if (!is_label(label, len))
            return value_bad(why, "%s is neither a host name nor an IP address",
                             value_quote(host, quote));
        if (!label[len])
            break;
    }
    /* Resolvers disagree on whether "10.1" or "0x7f.1" is an address: no name ends that way. */
    if (isdigit((unsigned char)*label))
        return value_bad(why, "%s is neither a host name nor an IP address",
                         value_quote(host, quote));
    return 0;
}

int url_host(const char *host, char **ret, char *why)
{
    char text[ADDR_STRLEN], quote[VALUE_QUOTE_LEN];
    struct addr addr;
    int r = 0;

    if (addr_parse_ip(host, 0, &addr)) {
        if (addr_is_any(&addr))
            return value_bad(why, "%s stands for any address; name one", value_quote(host, quote));
        host = addr_format_ip(&addr, text, sizeof(text));
    } else {
        r = check_name(host, why);
    }
    if (r != 0)
        return r;
    *ret = strdup(host);
    return *ret ? 0 : -ENOMEM;
}

uint16_t url_default_port(unsigned int protocol)
{
    return protocol & (LISTEN_TLS | LISTEN_DTLS) ? PORT_TURNS : PORT_TURN;
}

/* Cuts "?transport=..." off. Return: 0 and *ret_tcp, if there was one. */
static int take_transport(char *rest, bool *ret_tcp, char *why)
{
    char *query = strchr(rest, '?'), quote[VALUE_QUOTE_LEN];

    if (!query)
        return 0;
    *query++ = '\0';
    if (strncasecmp(query, TRANSPORT_ARG, strlen(TRANSPORT_ARG)) == 0) {
        const char *transport = query + strlen(TRANSPORT_ARG);

        *ret_tcp = strcasecmp(transport, "tcp") == 0;
        if (*ret_tcp || strcasecmp(transport, "udp") == 0)
            return 0;
    }
    return value_bad(why, "%s: behind '?' stands transport=udp or transport=tcp",
                     value_quote(query, quote));
}

/* The ':' in front of the port; NULL without one. The colons of an IPv6 literal are in brackets. */
static int find_port(char *rest, char **ret, char *why)
{
    char *end = strchr(rest, ']'), quote[VALUE_QUOTE_LEN];

    if (rest[0] == '[') {
        if (!end || (end[1] && end[1] != ':'))
            return value_bad(why, "%s: an IPv6 address is written [2001:db8::1]",
                             value_quote(rest, quote));
        *ret = end[1] ? end + 1 : NULL;
        return 0;
    }
    *ret = strchr(rest, ':');
    if (*ret && strchr(*ret + 1, ':'))
        return value_bad(why, "%s: an IPv6 address stands in brackets", value_quote(rest, quote));
    return 0;
}

static int take_port(char *rest, uint16_t *ret_port, char *why)
{
    char *colon = NULL, quote[VALUE_QUOTE_LEN];
    uint64_t port = 0;
    int r = find_port(rest, &colon, why);

    if (r != 0 || !colon)
        return r;
    *colon++ = '\0';
    if (strlen(colon) > 5 || strspn(colon, "0123456789") != strlen(colon) ||
        value_number(colon, 1, UINT16_MAX, &port, why) != 0)
        return value_bad(why, "%s is not a port (1 to 65535)", value_quote(colon, quote));
    *ret_port = (uint16_t)port;
    return 0;
}

static int parse(const char *text, char *rest, bool secure, struct conf_url *ret, char *why)
{
    char quote[VALUE_QUOTE_LEN];
    bool tcp = secure; /* RFC 7065, section 3.2: TLS unless told otherwise */
    struct conf_url url = {0};
    int r;

    if (strncmp(rest, "//", 2) == 0)
        return value_bad(why, "%s: the host follows the colon, without //",
                         value_quote(text, quote));
    if (strpbrk(rest, "@/#"))
        return value_bad(why, "%s: nothing but a host, a port and ?transport= belongs here",
                         value_quote(text, quote));
    r = take_transport(rest, &tcp, why);
    url.protocol = secure ? (tcp ? LISTEN_TLS : LISTEN_DTLS) : (tcp ? LISTEN_TCP : LISTEN_UDP);
    url.port = url_default_port(url.protocol);
    if (r == 0)
        r = take_port(rest, &url.port, why);
    if (r == 0 && !*rest)
        r = value_bad(why, "%s: the host is missing", value_quote(text, quote));
    if (r == 0)
        r = url_host(rest, &url.host, why);
    if (r == 0)
        *ret = url;
    return r;
}

int url_parse(const char *text, struct conf_url *ret, char *why)
{
    char quote[VALUE_QUOTE_LEN], *copy;
    const char *rest = NULL;
    int r;

    if (strncasecmp(text, "turn:", 5) == 0)
        rest = text + 5;
    else if (strncasecmp(text, "turns:", 6) == 0)
        rest = text + 6;
    else
        return value_bad(why, "%s starts with neither turn: nor turns:", value_quote(text, quote));
    copy = strdup(rest);
    if (!copy)
        return -ENOMEM;
    r = parse(text, copy, rest == text + 6, ret, why);
    free(copy);
    return r;
}

void url_deinit(struct conf_url *url)
{
    free(url->host);
    url->host = NULL;
}

char *url_format(const struct conf_url *url, char *buf)
{
    const bool brackets = strchr(url->host, ':') != NULL;

    snprintf(buf, URL_TEXT_LEN, "%s:%s%s%s:%u?transport=%s",
             url->protocol & (LISTEN_TLS | LISTEN_DTLS) ? "turns" : "turn", brackets ? "[" : "",
             url->host, brackets ? "]" : "", url->port,
             url->protocol & (LISTEN_UDP | LISTEN_DTLS) ? "udp" : "tcp");
    return buf;
}

int url_pin_parse(const char *text, uint8_t ret[URL_PIN_LEN], char *why)
{
    uint8_t bytes[PIN_BASE64 / 4 * 3 + 1];
    char quote[VALUE_QUOTE_LEN], again[PIN_BASE64 + 1];

    if (strncasecmp(text, PIN_PREFIX, strlen(PIN_PREFIX)) != 0)
        return value_bad(why, "%s does not start with " PIN_PREFIX, value_quote(text, quote));
    text += strlen(PIN_PREFIX);
    if (strlen(text) != PIN_BASE64)
        return value_bad(why,
                         "a pin has %d characters of base64 behind " PIN_PREFIX ", this one %zu",
                         PIN_BASE64, strlen(text));
    /* OpenSSL skips what it takes for white space and stray bits: only what it writes itself is
     * a pin. */
    if (EVP_DecodeBlock(bytes, (const uint8_t *)text, PIN_BASE64) < URL_PIN_LEN)
        return value_bad(why, "%s is not base64", value_quote(text, quote));
    EVP_EncodeBlock((uint8_t *)again, bytes, URL_PIN_LEN);
    if (strcmp(again, text) != 0)
        return value_bad(why, "%s is not the base64 of 32 bytes", value_quote(text, quote));
    memcpy(ret, bytes, URL_PIN_LEN);
    return 0;
}

char *url_pin_format(const uint8_t pin[URL_PIN_LEN], char *buf)
{
    memcpy(buf, PIN_PREFIX, strlen(PIN_PREFIX));
    EVP_EncodeBlock((uint8_t *)buf + strlen(PIN_PREFIX), pin, URL_PIN_LEN);
    return buf;
}
