#include "common/wire/socks5.h"

#include <errno.h>

enum {
    SOCKS5_ATYP_IPV4 = 1,
    SOCKS5_ATYP_NAME = 3,
    SOCKS5_ATYP_IPV6 = 4,
};

#define SOCKS5_LOGIN_VERSION 1 /* RFC 1929, section 2 */

/* ---- targets ---- */

/* No host name has them, and what resolves or logs a name must never meet them. */
static bool socks5_is_name_byte(uint8_t c)
{
    return c > ' ' && c != 0x7F;
}

bool socks5_target_of(const char *text, size_t len, uint16_t port, struct socks5_target *ret)
{
    struct socks5_target target = {.addr = {.port = port}};

    if (len == 0 || len > SOCKS5_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!socks5_is_name_byte((uint8_t)text[i]))
            return false;
    memcpy(target.name, text, len);
    if (addr_parse_ip(target.name, port, &target.addr))
        memset(target.name, 0, sizeof(target.name));
    *ret = target;
    return true;
}

/* Return: SOCKS5_SUCCEEDED and *ret unless `r` has failed; or why it cannot be. */
static enum socks5_rep socks5_read_target(struct reader *r, struct socks5_target *ret)
{
    uint8_t type = reader_u8(r);
    size_t len = 0;
    const uint8_t *at;
    uint16_t port;

    if (r->failed)
        return SOCKS5_SUCCEEDED;
    if (type == SOCKS5_ATYP_IPV4)
        len = 4;
    else if (type == SOCKS5_ATYP_IPV6)
        len = 16;
    else if (type == SOCKS5_ATYP_NAME)
        len = reader_u8(r);
    else
        return SOCKS5_BAD_ADDRESS_TYPE;
    at = reader_bytes(r, len);
    port = reader_u16(r);
    if (r->failed)
        return SOCKS5_SUCCEEDED;
    if (type == SOCKS5_ATYP_NAME)
        return socks5_target_of((const char *)at, len, port, ret) ? SOCKS5_SUCCEEDED
                                                                  : SOCKS5_FAILED;
    *ret = (struct socks5_target){
        .addr = addr_make(type == SOCKS5_ATYP_IPV4 ? ADDR_IPV4 : ADDR_IPV6, at, port)};
    return SOCKS5_SUCCEEDED;
}

void socks5_put_target(struct writer *w, const struct socks5_target *target)
{
    const struct addr *addr = &target->addr;
    size_t len = addr->family == ADDR_NONE ? strlen(target->name) : addr_ip_len(addr);

    if (addr->family == ADDR_NONE) {
        writer_u8(w, SOCKS5_ATYP_NAME);
        writer_u8(w, (uint8_t)len);
        writer_bytes(w, target->name, len);
    } else {
        writer_u8(w, addr->family == ADDR_IPV6 ? SOCKS5_ATYP_IPV6 : SOCKS5_ATYP_IPV4);
        writer_bytes(w, addr->ip, len);
    }
    writer_u16(w, addr->port);
}

/* ---- on the stream ---- */

static ptrdiff_t socks5_read_len(const struct reader *r)
{
    return r->failed ? 0 : (ptrdiff_t)r->pos;
}

ptrdiff_t socks5_read_methods(const uint8_t *data, size_t len, struct socks5_methods *ret)
{
    struct reader r = reader_make(data, len);
    struct socks5_methods methods = {0};
    const uint8_t *offered;
    uint8_t version = reader_u8(&r);
    size_t n = reader_u8(&r);

    if (len > 0 && version != SOCKS5_VERSION)
        return -EPROTO;
    offered = reader_bytes(&r, n);
    if (r.failed)
        return 0;
    for (size_t i = 0; i < n; i++) {
        methods.none |= offered[i] == SOCKS5_METHOD_NONE;
        methods.login |= offered[i] == SOCKS5_METHOD_LOGIN;
    }
    *ret = methods;
    return socks5_read_len(&r);
}

ptrdiff_t socks5_read_login(const uint8_t *data, size_t len, struct socks5_login *ret)
{
    struct reader r = reader_make(data, len);
    uint8_t version = reader_u8(&r);
    size_t name_len = reader_u8(&r), password_len;
    const uint8_t *name, *password;

    if (len > 0 && version != SOCKS5_LOGIN_VERSION)
        return -EPROTO;
    if (len > 1 && name_len == 0)
        return -EPROTO;
    name = reader_bytes(&r, name_len);
    password_len = reader_u8(&r);
    password = reader_bytes(&r, password_len);
    if (r.failed)
        return 0;
    memset(ret, 0, sizeof(*ret));
    ret->name_len = name_len;
    ret->password_len = password_len;
    memcpy(ret->name, name, name_len);
    memcpy(ret->password, password, password_len);
    return socks5_read_len(&r);
}

static bool socks5_is_command(uint8_t command)
{
    return command >= SOCKS5_CONNECT && command <= SOCKS5_ASSOCIATE;
}

ptrdiff_t socks5_read_request(const uint8_t *data, size_t len, struct socks5_request *ret)
{
    struct reader r = reader_make(data, len);
    struct socks5_request request = {0};
    uint8_t version = reader_u8(&r), reserved;

    if (len > 0 && version != SOCKS5_VERSION)
        return -EPROTO;
    request.command = reader_u8(&r);
    reserved = reader_u8(&r);
    if (r.failed)
        return 0;
    if (reserved != 0)
        request.refusal = SOCKS5_FAILED;
    else if (!socks5_is_command(request.command))
        request.refusal = SOCKS5_BAD_COMMAND;
    else
        request.refusal = socks5_read_target(&r, &request.target);
    if (r.failed)
        return 0;
    *ret = request;
    return socks5_read_len(&r);
}

size_t socks5_put_reply(uint8_t buf[SOCKS5_REPLY_MAX], enum socks5_rep rep,
                        const struct addr *bound)
{
    struct socks5_target target = {.addr = *bound};
    struct writer w = writer_make(buf, SOCKS5_REPLY_MAX);

    if (bound->family == ADDR_NONE)
        target.addr = addr_make_v4(0, 0);
    writer_u8(&w, SOCKS5_VERSION);
    writer_u8(&w, (uint8_t)rep);
    writer_u8(&w, 0);
    socks5_put_target(&w, &target);
    return w.len;
}

/* ---- datagrams ---- */

bool socks5_read_datagram(const uint8_t *data, size_t len, struct socks5_datagram *ret)
{
    struct reader r = reader_make(data, len);
    uint16_t reserved = reader_u16(&r);

    *ret = (struct socks5_datagram){.fragment = reader_u8(&r)};
    if (r.failed || reserved != 0)
        return false;
    if (ret->fragment != 0)
        return true;
    if (socks5_read_target(&r, &ret->target) != SOCKS5_SUCCEEDED || r.failed)
        return false;
    ret->payload_len = reader_left(&r);
    ret->payload = reader_bytes(&r, ret->payload_len);
    return true;
}

size_t socks5_put_header(uint8_t buf[SOCKS5_HEADER_MAX], const struct addr *from)
{
    struct socks5_target target = {.addr = *from};
    struct writer w = writer_make(buf, SOCKS5_HEADER_MAX);

    writer_zeros(&w, 3);
    socks5_put_target(&w, &target);
    return w.len;
}
