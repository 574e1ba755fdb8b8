/*
 * What a DNS server says, through the resolver's sockets into c-ares and back
 *
 * The first byte of an input chooses: bit 0 UDP or TCP, bit 1 the question it answers
 * (A or AAAA), the rest, by TCP, how many bytes come at a time. What follows is the
 * message (by TCP with its length in front), whose id is replaced by the query's: nobody
 * guesses that. The resolver must say something sensible, and resolve the next name.
 */
#include <string.h>

#include "relay/exit/resolve.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/fake_dns.h"

#define NAME "www.example.org"
#define NEXT "next.example.org"

static struct event_base *base;
static struct fake_exit fake;
static struct fake_dials dials;
static unsigned int n_resolved, n_next;

static void check_addrs(enum exit_result result, const struct addr *addrs, size_t n)
{
    fuzz_check((result == EXIT_OK) == (n > 0) && n <= RESOLVE_ADDRS_MAX);
    fuzz_check(result == EXIT_OK || result == EXIT_E_NAME || result == EXIT_E_TIMEOUT);
    for (size_t i = 0; i < n; i++)
        fuzz_check(addrs[i].port == 0 && addr_ip_len(&addrs[i]) > 0);
}

static void on_resolved(void *user, enum exit_result result, const struct addr *addrs, size_t n)
{
    n_resolved++;
    check_addrs(result, addrs, n);
}

static void on_next(void *user, enum exit_result result, const struct addr *addrs, size_t n)
{
    n_next++;
    check_addrs(result, addrs, n);
    fuzz_check(n > 0);
}

static void turn(void)
{
    for (int i = 0; i < 3; i++) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        fake_streams_turn();
    }
}

static void set_id(uint8_t *message, size_t len, const struct dns_query *q)
{
    if (len >= 2)
        memcpy(message, q->data, 2);
}

static void say_by_tcp(const struct dns_query *q, uint8_t *bytes, size_t len, size_t step)
{
    struct dns_answer a;
    struct far *far;

    dns_begin(&a, q, DNS_NOERROR);
    dns_truncate(&a);
    dns_send(&fake, q, &a);
    turn();
    fuzz_check(dials.last);
    far = fake_dials_answer(&dials, EXIT_OK);
    turn();
    if (len > 2)
        set_id(bytes + 2, len - 2, q);
    for (size_t at = 0; at < len; at += step)
        far_write(far, bytes + at, len - at < step ? len - at : step);
}

/* The other family's question: there is nothing, so that the answer under test decides. */
static void say_nothing(uint16_t type)
{
    struct dns_query q;
    struct dns_answer a;

    fuzz_check(dns_query_find(&fake, NAME, type, &q));
    dns_begin(&a, &q, DNS_NOERROR);
    dns_send(&fake, &q, &a);
}

static void say(uint8_t mode, uint8_t *bytes, size_t len)
{
    struct dns_query q;

    fuzz_check(dns_query_find(&fake, NAME, mode & 2 ? DNS_AAAA : DNS_A, &q));
    if (mode & 1) {
        say_by_tcp(&q, bytes, len, 1 + (mode >> 2));
        return;
    }
    set_id(bytes, len, &q);
    fake_exit_datagram(fake.last, "203.0.113.53:53", bytes, len);
}

static void answer_next(uint16_t type, const char *ip)
{
    struct dns_query q;
    struct dns_answer a;

    fuzz_check(dns_query_find(&fake, NEXT, type, &q));
    dns_begin(&a, &q, DNS_NOERROR);
    dns_add_addr(&a, NEXT, 60, ip);
    dns_send(&fake, &q, &a);
}

static void run(uint8_t mode, uint8_t *bytes, size_t len)
{
    struct addr server = at("203.0.113.53:53");
    struct resolver_params params = {
        .base = base, .exit = &fake.exit, .servers = &server, .n_servers = 1};
    struct resolver *resolver;
    struct lookup *l;

    fuzz_check(resolver_new(&params, &resolver) == 0);
    fuzz_check(resolver_lookup(resolver, NAME, on_resolved, NULL, &l) == 0);
    turn();
    say_nothing(mode & 2 ? DNS_A : DNS_AAAA);
    say(mode, bytes, len);
    turn();
    fuzz_check(n_resolved <= 1);
    fake.n_sent = 0;
    fuzz_check(resolver_lookup(resolver, NEXT, on_next, NULL, &l) == 0);
    turn();
    answer_next(DNS_A, "198.51.100.7");
    answer_next(DNS_AAAA, "2001:db8::7");
    turn();
    fuzz_check(n_next == 1);
    resolver_free(resolver);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes;

    if (size < 1 || size > 65536)
        return 0;
    bytes = malloc(size);
    fuzz_check(bytes);
    memcpy(bytes, data + 1, size - 1);
    n_resolved = n_next = 0;
    base = event_base_new();
    fake_exit_init(&fake);
    fake_dials_init(&dials, &fake);
    run(data[0], bytes, size - 1);
    fuzz_check(fake_streams_count() == 0 && !dials.last);
    fake_exit_deinit(&fake);
    far_free_all();
    event_base_free(base);
    free(bytes);
    return 0;
}
