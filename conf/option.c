/*
 * A kind is a pair: how an option's text is stored, and how that is put in words. Kinds only move
 * values into place; conf/value.c reads them.
 */
#include "conf/option.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "conf/opaque.h"
#include "conf/url.h"
#include "conf/value.h"

struct option_kind {
    int (*store)(const struct conf_option *o, const char *text, struct conf *conf, char *why);
    const char *words; /* what to write */
    const char *unit;  /* behind the range; NULL: no range is shown */
    bool list;         /* comma separated, store() is called per item */
    bool secret;
    bool repeats;
};

static void *field(const struct conf_option *o, struct conf *conf)
{
    return (char *)conf + o->field;
}

static void *field2(const struct conf_option *o, struct conf *conf)
{
    return (char *)conf + o->field2;
}

/* Room for one more element of a list whose pointer and count are the option's two fields. The
 * pointer's own type is unknown here, hence the memcpy. */
static void *list_grow(const struct conf_option *o, struct conf *conf, size_t size)
{
    size_t *n = field2(o, conf);
    void *list;

    memcpy(&list, field(o, conf), sizeof(list));
    list = reallocarray(list, *n + 1, size);
    if (!list)
        return NULL;
    memcpy(field(o, conf), &list, sizeof(list));
    return (char *)list + size * (*n)++;
}

static int store_yesno(const struct conf_option *o, const char *text, struct conf *conf, char *why)
{
    return value_yesno(text, field(o, conf), why);
}

static int store_count(const struct conf_option *o, const char *text, struct conf *conf, char *why)
{
    uint64_t value;
    int r = value_number(text, o->min, o->max, &value, why);

    if (r == 0)
        *(unsigned int *)field(o, conf) = (unsigned int)value;
    return r;
}

static int store_size(const struct conf_option *o, const char *text, struct conf *conf, char *why)
{
    return value_size(text, o->min, o->max, field(o, conf), why);
}

static int store_duration(const struct conf_option *o, const char *text, struct conf *conf,
                          char *why)
{
    uint64_t value;
    int r = value_duration(text, o->min, o->max, &value, why);

    if (r == 0)
        *(unsigned int *)field(o, conf) = (unsigned int)value;
    return r;
}

/* The cores this process may use, which in a container are fewer than the machine has. */
static unsigned int usable_cores(unsigned int max)
{
    cpu_set_t set;
    unsigned int n = 1;

    /* Fails on machines with over 1024 processors: these get the most that is allowed. */
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return max;
    n = (unsigned int)CPU_COUNT(&set);
    return n < 1 ? 1 : n > max ? max : n;
}

static int store_workers(const struct conf_option *o, const char *text, struct conf *conf,
                         char *why)
{
    if (strcmp(text, "auto") != 0)
        return store_count(o, text, conf, why);
    *(unsigned int *)field(o, conf) = usable_cores((unsigned int)o->max);
    return 0;
}

static int store_ports(const struct conf_option *o, const char *text, struct conf *conf, char *why)
{
    return value_ports(text, (uint16_t)o->min, (uint16_t)o->max, field(o, conf), field2(o, conf),
                       why);
}

static int store_auto_or_no(const struct conf_option *o, const char *text, struct conf *conf,
                            char *why)
{
    char quote[VALUE_QUOTE_LEN];
    bool is_auto = strcasecmp(text, "auto") == 0;

    if (!is_auto && strcasecmp(text, "no") != 0)
        return value_bad(why, "%s is neither auto nor no", value_quote(text, quote));
    *(bool *)field(o, conf) = is_auto;
    return 0;
}

static int store_log_level(const struct conf_option *o, const char *text, struct conf *conf,
                           char *why)
{
    return value_log_level(text, field(o, conf), why);
}

static int copy_text(char **to, const char *text)
{
    *to = strdup(text);
    return *to ? 0 : -ENOMEM;
}

static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    return false;
}

/* No reason given here repeats the text: secrets pass this way. */
static int check_text(const struct conf_option *o, const char *text, char *why)
{
    size_t len = strlen(text);

    if (len < o->min || len > o->max)
        return value_bad(why, "has %zu bytes; %llu to %llu are allowed", len,
                         (unsigned long long)o->min, (unsigned long long)o->max);
    if (has_control(text))
        return value_bad(why, "contains a control character");
    return 0;
}

static int store_path(const struct conf_option *o, const char *text, struct conf *conf, char *why)
{
    int r = check_text(o, text, why);

    return r ? r : copy_text(field(o, conf), text);
}

/* A bearer token travels in an HTTP header, which cannot carry just any byte (RFC 6750, section
 * 2.1, is narrower still). */
static int store_token(const struct conf_option *o, const char *text, struct conf *conf, char *why)
{
    int r = check_text(o, text, why);

    for (const char *at = text; r == 0 && *at; at++)
        if (*at <= 0x20 || *at >= 0x7f)
            r = value_bad(why, "may contain visible ASCII characters only, and no space");
    return r ? r : copy_text(field(o, conf), text);
}

/* The bytes as they stand are the HMAC key: what issues credentials knows no other form. */
static int store_secret(const struct conf_option *o, const char *text, struct conf *conf, char *why)
{
    int r = check_text(o, text, why);
    char **item, *copy;

    if (r == 0)
        r = copy_text(&copy, text);
    if (r != 0)
        return r;
    item = list_grow(o, conf, sizeof(*item));
    if (!item) {
        free(copy);
        return -ENOMEM;
    }
    *item = copy;
    return 0;
}

static int store_realm(const struct conf_option *o, const char *text, struct conf *conf, char *why)
{
    return value_realm(text, field(o, conf), why);
}

/* tcp and tls on one address are one socket, udp and dtls likewise (conf/conf.h). */
static unsigned int socket_kind(unsigned int protocol)
{
    return protocol & (LISTEN_UDP | LISTEN_DTLS) ? LISTEN_UDP | LISTEN_DTLS
                                                 : LISTEN_TCP | LISTEN_TLS;
}

static int store_listen(const struct conf_option *o, const char *text, struct conf *conf, char *why)
{
    struct conf_listen listener, *at;
    char quote[VALUE_QUOTE_LEN];
    int r = value_listen(text, &listener, why);

    if (r != 0)
        return r;
    for (size_t i = 0; i < conf->n_listen; i++) {
        at = &conf->listen[i];
        if (!addr_equal(&at->addr, &listener.addr) ||
            !(at->protocols & socket_kind(listener.protocols)))
            continue;
        /* Port 0 is another free port each time. */
        if (at->protocols & listener.protocols && listener.addr.port != 0)
            return value_bad(why, "%s is listed twice", value_quote(text, quote));
        if (at->protocols & listener.protocols)
            continue;
        at->protocols |= listener.protocols;
        return 0;
    }
    at = list_grow(o, conf, sizeof(*at));
    if (!at)
        return -ENOMEM;
    *at = listener;
    return 0;
}

static int store_range(const struct conf_option *o, const char *text, struct conf *conf, char *why)
{
    struct addr_range range, *at;
    int r = value_range(text, &range, why);

    if (r != 0)
        return r;
    at = list_grow(o, conf, sizeof(*at));
    if (!at)
        return -ENOMEM;
    *at = range;
    return 0;
}

static int store_addresses(const struct conf_option *o, const char *text, struct conf *conf,
                           char *why)
{
    struct addr addr, *to;
    int r = value_ip(text, &addr, why);

    if (r != 0)
        return r;
    to = addr.family == ADDR_IPV4 ? field(o, conf) : field2(o, conf);
    if (to->family != ADDR_NONE)
        return value_bad(why, "a second IPv%d address; one is allowed", addr.family);
    *to = addr;
    return 0;
}

static int store_address(const struct conf_option *o, const char *text, struct conf *conf,
                         char *why)
{
    char quote[VALUE_QUOTE_LEN];
    struct addr addr;
    int r = value_addr(text, &addr, why);

    if (r == 0 && (addr_is_any(&addr) || addr.port == 0))
        r = value_bad(why, "%s cannot be reached; name an address and a port",
                      value_quote(text, quote));
    if (r == 0)
        *(struct addr *)field(o, conf) = addr;
    return r;
}

static int store_listen_or_off(const struct conf_option *o, const char *text, struct conf *conf,
                               char *why)
{
    if (strcmp(text, "off") == 0) {
        *(struct addr *)field(o, conf) = (struct addr){0};
        return 0;
    }
    return value_addr(text, field(o, conf), why);
}

/* Programs of this machine only: whoever else could ask would be relayed without a password. */
static int store_loopback_or_off(const struct conf_option *o, const char *text, struct conf *conf,
                                 char *why)
{
    char quote[VALUE_QUOTE_LEN];
    struct addr addr = {0};
    int r = 0;

    if (strcmp(text, "off") != 0)
        r = value_addr(text, &addr, why);
    if (r == 0 && addr.family != ADDR_NONE && !addr_is_loopback(&addr))
        r = value_bad(why, "%s is not a loopback address", value_quote(text, quote));
    if (r == 0)
        *(struct addr *)field(o, conf) = addr;
    return r;
}

static bool url_equal(const struct conf_url *a, const struct conf_url *b)
{
    return a->port == b->port && a->protocol == b->protocol && strcasecmp(a->host, b->host) == 0;
}

static int store_url(const struct conf_option *o, const char *text, struct conf *conf, char *why)
{
    char quote[VALUE_QUOTE_LEN];
    struct conf_url url, *at;
    int r = url_parse(text, &url, why);

    if (r != 0)
        return r;
    for (size_t i = 0; i < conf->n_url && r == 0; i++)
        if (url_equal(&conf->url[i], &url))
            r = value_bad(why, "%s is listed twice", value_quote(text, quote));
    at = r == 0 ? list_grow(o, conf, sizeof(*at)) : NULL;
    if (at)
        *at = url;
    else
        url_deinit(&url);
    return r == 0 && !at ? -ENOMEM : r;
}

static int store_pin(const struct conf_option *o, const char *text, struct conf *conf, char *why)
{
    uint8_t pin[URL_PIN_LEN], *at;
    int r = url_pin_parse(text, pin, why);

    if (r != 0)
        return r;
    at = list_grow(o, conf, sizeof(pin));
    if (!at)
        return -ENOMEM;
    memcpy(at, pin, sizeof(pin));
    return 0;
}

static int store_nameserver(const struct conf_option *o, const char *text, struct conf *conf,
                            char *why)
{
    char quote[VALUE_QUOTE_LEN];
    struct addr addr, *at;

    if (!addr_parse_ip(text, 53, &addr) && !addr_parse(text, &addr))
        return value_bad(why, "%s is not an IP address, nor one with a port",
                         value_quote(text, quote));
    if (addr_is_any(&addr) || addr.port == 0)
        return value_bad(why, "%s cannot be asked", value_quote(text, quote));
    at = list_grow(o, conf, sizeof(*at));
    if (!at)
        return -ENOMEM;
    *at = addr;
    return 0;
}

/* As the relay's own [users] reads them: both ends hash the same bytes. */
static int store_opaque(const struct conf_option *o, const char *text, struct conf *conf, char *why)
{
    int r = check_text(o, text, why);

    if (r != 0)
        return r;
    r = opaque_string(text, field(o, conf));
    return r > 0 ? value_bad(why, "%s", opaque_reason(r)) : r;
}

static const struct option_kind
    kind_YESNO = {store_yesno, "yes or no", NULL},
    kind_AUTO_OR_NO = {store_auto_or_no, "auto or no", NULL},
    kind_COUNT = {store_count, "a number", ""},
    kind_SIZE = {store_size, "bytes per second, with k, M or G for powers of 1000", ""},
    kind_DURATION = {store_duration, "seconds, or a number with s, m, h or d", " seconds"},
    kind_WORKERS = {store_workers, "auto or a number", ""},
    kind_PORTS = {store_ports, "low-high", ""},
    kind_LOG_LEVEL = {store_log_level, "error, warning, info or debug", NULL},
    kind_PATH = {store_path, "a file name", NULL},
    kind_REALM = {store_realm, "a text without \" and \\", " characters"},
    kind_TOKEN = {store_token, "visible ASCII characters", " of them", .secret = true},
    kind_SECRETS = {store_secret, "a text, taken byte for byte", " bytes", .secret = true,
                    .repeats = true},
    kind_LISTEN = {store_listen,
                   "a comma separated list of udp://, dtls://, tcp:// or tls://IP:PORT", NULL,
                   .list = true},
    kind_RANGES = {store_range, "a comma separated list of addresses and prefixes (10.0.0.0/8)",
                   NULL, .list = true},
    kind_ADDRESSES = {store_addresses, "one IP address, or an IPv4 and an IPv6 one", NULL,
                      .list = true},
    kind_ADDRESS = {store_address, "IP:PORT", NULL},
    kind_LISTEN_OR_OFF = {store_listen_or_off, "IP:PORT or off", NULL},
    kind_LOOPBACK_OR_OFF = {store_loopback_or_off, "a loopback IP:PORT, or off", NULL},
    kind_URLS = {store_url, "a comma separated list of turn: and turns: URLs", NULL, .list = true},
    kind_PINS = {store_pin, "a comma separated list of sha256/BASE64", NULL, .list = true},
    kind_NAMESERVERS = {store_nameserver, "a comma separated list of IP or IP:PORT", NULL,
                        .list = true},
    kind_USERNAME = {store_opaque, "a text", " bytes"},
    kind_PASSWORD = {store_opaque, "a text", " bytes", .secret = true};

const struct conf_option options[N_OPTIONS] = {
#define OPTION(role, section, name, kind, field, field2, min, max, def, help)                      \
    [OPT_##role##_##field] = {ROLE_##role,                                                         \
                              SECTION_##section,                                                   \
                              name,                                                                \
                              &kind_##kind,                                                        \
                              offsetof(struct conf, field),                                        \
                              offsetof(struct conf, field2),                                       \
                              min,                                                                 \
                              max,                                                                 \
                              def,                                                                 \
                              help},
#include "conf/options.def"
#undef OPTION
};

const struct section sections[N_SECTIONS] = {
    [SECTION_relay] = {"relay", "The relay itself.", ROLE_relay},
    [SECTION_local] = {"local", "Where programs of this machine are served.", ROLE_local},
    [SECTION_upstream] = {"upstream", "The relay that everything goes through.", ROLE_local},
    [SECTION_users] = {"users",
                       "Who may use it: name = password. A relay also takes the stored key in the "
                       "password's place, name = key:0x... (32 hex digits: MD5, 64: SHA-256, or "
                       "both with a comma between them).",
                       ROLE_both},
    [SECTION_peers] = {"peers",
                       "Whom the relay may talk to on a client's behalf. Special-purpose "
                       "addresses (loopback, private, link-local, multicast, cloud metadata) are "
                       "denied unless allowed here.",
                       ROLE_relay},
    [SECTION_limits] = {"limits", "How much anybody may take.", ROLE_relay},
    [SECTION_stats] = {"stats", "Statistics over HTTP.", ROLE_both},
};

unsigned int role_find(const char *name)
{
    return strcmp(name, "relay") == 0 ? ROLE_relay : strcmp(name, "local") == 0 ? ROLE_local : 0;
}

bool option_same_field(const struct conf_option *a, const struct conf_option *b)
{
    return a->field == b->field;
}

int option_find(unsigned int role, enum section_id section, const char *name)
{
    for (int i = 0; i < N_OPTIONS; i++)
        if (options[i].roles & role && options[i].section == section &&
            strcmp(options[i].name, name) == 0)
            return i;
    return -1;
}

int option_store(const struct conf_option *option, const char *text, struct conf *conf, char *why)
{
    if (!*text)
        return value_bad(why, "the value is missing");
    return option->kind->store(option, text, conf, why);
}

bool option_is_list(const struct conf_option *option)
{
    return option->kind->list;
}

bool option_is_secret(const struct conf_option *option)
{
    return option->kind->secret;
}

bool option_repeats(const struct conf_option *option)
{
    return option->kind->repeats;
}

const char *option_type(const struct conf_option *option, char *buf)
{
    if (!option->kind->unit)
        snprintf(buf, OPTION_TYPE_LEN, "%s", option->kind->words);
    else
        snprintf(buf, OPTION_TYPE_LEN, "%s, %llu to %llu%s", option->kind->words,
                 (unsigned long long)option->min, (unsigned long long)option->max,
                 option->kind->unit);
    return buf;
}
