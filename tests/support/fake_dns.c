#include "tests/support/fake_dns.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cursor.h"

/* ---- dial ---- */

static struct fake_dials *dials_of(struct exit *exit)
{
    return (struct fake_dials *)(void *)(uintptr_t)exit->ops;
}

static int fake_dial(struct exit *exit, const struct addr *peer, exit_on_dialed *on_dialed,
                     void *user, struct dial **ret)
{
    struct fake_dials *dials = dials_of(exit);

    if (dials->no_memory)
        return -ENOMEM;
    dials->n_dials++;
    dials->last = calloc(1, sizeof(*dials->last));
    *dials->last =
        (struct dns_dial){.dials = dials, .peer = *peer, .on_dialed = on_dialed, .user = user};
    *ret = (struct dial *)(void *)dials->last;
    return 0;
}

static void fake_hang_up(struct dial *dial)
{
    struct dns_dial *d = (struct dns_dial *)(void *)dial;

    d->dials->n_hung_up++;
    if (d->dials->last == d)
        d->dials->last = NULL;
    free(d);
}

void fake_dials_init(struct fake_dials *dials, struct fake_exit *exit)
{
    *dials = (struct fake_dials){.ops = *exit->exit.ops};
    dials->ops.dial = fake_dial;
    dials->ops.hang_up = fake_hang_up;
    exit->exit.ops = &dials->ops;
}

struct far *fake_dials_answer(struct fake_dials *dials, enum exit_result result)
{
    struct dns_dial *d = dials->last;
    struct dns_dial told = *d;
    struct far *far = result == EXIT_OK ? far_new() : NULL;
    struct addr none = {0};

    dials->last = NULL;
    free(d);
    told.on_dialed(told.user, result, far ? far->stream : NULL, &none);
    return far;
}

/* ---- reading queries ---- */

bool dns_query_read(struct dns_query *q, const uint8_t *data, size_t len)
{
    struct reader r = reader_make(data, len);
    size_t at = 0;
    uint8_t label;
    uint16_t n_questions, n_additional;

    *q = (struct dns_query){.len = len};
    if (len > sizeof(q->data))
        return false;
    memcpy(q->data, data, len);
    q->id = reader_u16(&r);
    reader_u16(&r);
    n_questions = reader_u16(&r);
    reader_u32(&r);
    n_additional = reader_u16(&r);
    while ((label = reader_u8(&r)) > 0 && label < 64) {
        const uint8_t *text = reader_bytes(&r, label);

        if (!text || at + label + 2 > sizeof(q->name))
            return false;
        at += (size_t)snprintf(q->name + at, sizeof(q->name) - at, "%s%.*s", at > 0 ? "." : "",
                               label, (const char *)text);
    }
    q->type = reader_u16(&r);
    reader_u16(&r);
    q->question_end = r.pos;
    if (n_additional == 1)
        q->has_edns = reader_u8(&r) == 0 && reader_u16(&r) == 41;
    return !r.failed && n_questions == 1;
}

bool dns_query_find(const struct fake_exit *exit, const char *name, uint16_t type,
                    struct dns_query *ret)
{
    size_t n = exit->n_sent < FAKE_EXIT_SENT_MAX ? exit->n_sent : FAKE_EXIT_SENT_MAX;

    for (size_t i = n; i-- > 0;) {
        const struct fake_datagram *d = &exit->sent[i];

        if (dns_query_read(ret, d->data, d->len) && strcmp(ret->name, name) == 0 &&
            ret->type == type) {
            ret->server = d->peer;
            return true;
        }
    }
    return false;
}

/* ---- building answers ---- */

static void put(struct dns_answer *a, const void *data, size_t len)
{
    assert(a->len + len <= sizeof(a->data));
    memcpy(a->data + a->len, data, len);
    a->len += len;
}

static void put_number(struct dns_answer *a, uint32_t v, size_t width)
{
    for (size_t i = width; i-- > 0;) {
        uint8_t byte = (uint8_t)(v >> (8 * i));

        put(a, &byte, 1);
    }
}

static size_t name_len(const char *name)
{
    return strlen(name) + 2;
}

static void put_name(struct dns_answer *a, const char *name)
{
    while (*name) {
        size_t len = strcspn(name, ".");

        put_number(a, (uint32_t)len, 1);
        put(a, name, len);
        name += len + (name[len] == '.');
    }
    put_number(a, 0, 1);
}

void dns_begin(struct dns_answer *a, const struct dns_query *q, unsigned int rcode)
{
    a->len = 0;
    put(a, q->data, q->question_end);
    a->data[2] = 0x81; /* an answer, recursion desired */
    a->data[3] = (uint8_t)(0x80 | rcode);
    memset(a->data + 6, 0, 6); /* no records yet */
}

void dns_truncate(struct dns_answer *a)
{
    a->data[2] |= 0x02;
}

static void begin_record(struct dns_answer *a, const char *name, uint16_t type, uint32_t ttl,
                         size_t len)
{
    put_u16(a->data + 6, (uint16_t)((a->data[6] << 8 | a->data[7]) + 1));
    put_name(a, name);
    put_number(a, type, 2);
    put_number(a, 1, 2);
    put_number(a, ttl, 4);
    put_number(a, (uint32_t)len, 2);
}

void dns_add_addr(struct dns_answer *a, const char *name, uint32_t ttl, const char *ip)
{
    struct addr addr;
    bool ok = addr_parse_ip(ip, 0, &addr);

    assert(ok);
    begin_record(a, name, addr.family == ADDR_IPV4 ? DNS_A : DNS_AAAA, ttl, addr_ip_len(&addr));
    put(a, addr.ip, addr_ip_len(&addr));
}

void dns_add_cname(struct dns_answer *a, const char *name, uint32_t ttl, const char *to)
{
    begin_record(a, name, DNS_CNAME, ttl, name_len(to));
    put_name(a, to);
}

void dns_send(struct fake_exit *exit, const struct dns_query *q, const struct dns_answer *a)
{
    char source[ADDR_STRLEN];

    dns_send_from(exit, addr_format(&q->server, source, sizeof(source)), a);
}

void dns_send_from(struct fake_exit *exit, const char *source, const struct dns_answer *a)
{
    fake_exit_datagram(exit->last, source, a->data, a->len);
}

void dns_send_tcp(struct far *far, const struct dns_answer *a)
{
    uint8_t framed[2 + sizeof(a->data)];

    put_u16(framed, (uint16_t)a->len);
    memcpy(framed + 2, a->data, a->len);
    far_write(far, framed, 2 + a->len);
}
