/* SOCKS5 messages and datagrams; the first byte says which reader gets the rest. */
#include <errno.h>
#include <string.h>

#include "common/wire/socks5.h"
#include "tests/fuzz/fuzz.h"

static bool same_target(const struct socks5_target *a, const struct socks5_target *b)
{
    return addr_equal(&a->addr, &b->addr) && memcmp(a->name, b->name, sizeof(a->name)) == 0;
}

static void check_target(const struct socks5_target *t)
{
    struct addr ip;

    fuzz_check((t->addr.family == ADDR_NONE) == (t->name[0] != '\0'));
    fuzz_check(memchr(t->name, '\0', sizeof(t->name)));
    for (const char *c = t->name; *c; c++)
        fuzz_check((uint8_t)*c > ' ' && *c != 0x7F);
    fuzz_check(!addr_parse_ip(t->name, 0, &ip));
}

/* Writes a header of `skip` bytes and the target, for a reader to read again. */
static size_t rewrite(uint8_t *buf, size_t cap, const uint8_t *head, const struct socks5_target *t)
{
    struct writer w = writer_make(buf, cap);

    writer_bytes(&w, head, 3);
    socks5_put_target(&w, t);
    fuzz_check(!w.failed);
    return w.len;
}

static void check_methods(const uint8_t *data, size_t size)
{
    struct socks5_methods m;
    ptrdiff_t n = socks5_read_methods(data, size, &m), said = 0;

    fuzz_check(n == 0 || n == -EPROTO || (n >= 2 && (size_t)n <= size));
    for (size_t i = 0; i <= size && i < 300; i++) {
        ptrdiff_t r = socks5_read_methods(data, i, &m);

        fuzz_check(said == 0 || r == said);
        said = r;
    }
}

static void check_login(const uint8_t *data, size_t size)
{
    struct socks5_login l;
    ptrdiff_t n = socks5_read_login(data, size, &l);

    fuzz_check(n == 0 || n == -EPROTO || (n >= 3 && (size_t)n <= size));
    if (n <= 0)
        return;
    fuzz_check(l.name_len >= 1 && l.name_len < sizeof(l.name));
    fuzz_check(l.password_len < sizeof(l.password));
    fuzz_check((size_t)n == 3 + l.name_len + l.password_len);
    fuzz_check(memcmp(l.name, data + 2, l.name_len) == 0);
    fuzz_check(l.name[l.name_len] == '\0' && l.password[l.password_len] == '\0');
}

static void check_request(const uint8_t *data, size_t size)
{
    struct socks5_request r, again;
    uint8_t buf[300];
    ptrdiff_t n = socks5_read_request(data, size, &r);
    size_t len;

    fuzz_check(n == 0 || n == -EPROTO || (n >= 3 && (size_t)n <= size));
    if (n <= 0 || r.refusal != SOCKS5_SUCCEEDED)
        return;
    check_target(&r.target);
    len = rewrite(buf, sizeof(buf), data, &r.target);
    fuzz_check(socks5_read_request(buf, len, &again) == (ptrdiff_t)len);
    fuzz_check(again.command == r.command && same_target(&r.target, &again.target));
}

static void check_datagram(const uint8_t *data, size_t size)
{
    static const uint8_t head[3];
    struct socks5_datagram d, again;
    uint8_t buf[300];
    size_t len;

    if (!socks5_read_datagram(data, size, &d) || d.fragment != 0)
        return;
    check_target(&d.target);
    fuzz_check(d.payload >= data && d.payload + d.payload_len == data + size);
    len = rewrite(buf, sizeof(buf), head, &d.target);
    fuzz_check(socks5_read_datagram(buf, len, &again));
    fuzz_check(same_target(&d.target, &again.target) && again.payload_len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const checks[])(const uint8_t *, size_t) = {check_methods, check_login,
                                                              check_request, check_datagram};
    uint8_t *rest;

    if (size == 0)
        return 0;
    rest = malloc(size - 1);
    if (size > 1)
        memcpy(rest, data + 1, size - 1);
    checks[data[0] % 4](rest, size - 1);
    free(rest);
    return 0;
}
