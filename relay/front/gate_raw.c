/*
 * Whole packets: ICMP for what could not be relayed, and datagrams of peers that have no
 * socket of their own (gate_keeper.c)
 *
 * The kernel fills in an IPv4 packet's length, identification and checksum (raw(7)).
 * UDP goes without a checksum over IPv4, which may be; over IPv6 it may not (RFC 8200,
 * section 8.1), nor may ICMP ever. Nothing here is on a call's usual way.
 */
#include <assert.h>
#include <netinet/in.h>
#include <string.h>

#include "common/base/cursor.h"
#include "relay/front/gate_impl.h"

#define IPV4_LEN 20
#define IPV6_LEN 40
#define UDP_LEN  8
#define ICMP_LEN 8
#define RAW_TTL  64

/* The longest: ICMPv6 about an IPv6 datagram. */
#define RAW_ICMP_MAX (IPV6_LEN + ICMP_LEN + IPV6_LEN + UDP_LEN)

static_assert(IPV6_LEN + UDP_LEN + GATE_HEADER_MAX <= TX_HEADER_MAX, "one header must hold all");

struct raw_error {
    uint8_t type, code;
    uint32_t data;
};

/* ---- checksums (RFC 1071) ---- */

/* `at` is where in its message `data` begins: its parity counts. */
static uint32_t sum_add(uint32_t sum, const void *data, size_t len, size_t at)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++)
        sum += (at + i) % 2 ? p[i] : (uint32_t)p[i] << 8;
    return (sum >> 16) + (sum & 0xffff);
}

static uint16_t sum_end(uint32_t sum)
{
    sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t) ~((sum >> 16) + sum);
}

/* RFC 8200, section 8.1 */
static uint32_t sum_pseudo_v6(const struct addr *from, const struct addr *to, uint8_t protocol,
                              size_t len)
{
    uint8_t rest[8] = {0};
    uint32_t sum;

    put_u32(rest, (uint32_t)len);
    rest[7] = protocol;
    sum = sum_add(0, from->ip, 16, 0);
    sum = sum_add(sum, to->ip, 16, 0);
    return sum_add(sum, rest, sizeof(rest), 0);
}

/* ---- headers ---- */

static void put_ip(struct writer *w, const struct addr *from, const struct addr *to,
                   uint8_t protocol, size_t len)
{
    if (from->family == ADDR_IPV4) {
        writer_u16(w, 0x4500);
        writer_u16(w, (uint16_t)(IPV4_LEN + len));
        writer_zeros(w, 4);
        writer_u8(w, RAW_TTL);
        writer_u8(w, protocol);
        writer_u16(w, 0);
        writer_bytes(w, from->ip, 4);
        writer_bytes(w, to->ip, 4);
    } else {
        writer_u32(w, 0x60000000);
        writer_u16(w, (uint16_t)len);
        writer_u8(w, protocol);
        writer_u8(w, RAW_TTL);
        writer_bytes(w, from->ip, 16);
        writer_bytes(w, to->ip, 16);
    }
}

static void put_udp(struct writer *w, const struct addr *from, const struct addr *to, size_t len)
{
    writer_u16(w, from->port);
    writer_u16(w, to->port);
    writer_u16(w, (uint16_t)(UDP_LEN + len));
    writer_u16(w, 0);
}

static int raw_socket(const struct gate *g, const struct addr *addr)
{
    return addr->family == ADDR_IPV6 ? g->keeper.raw_v6 : g->keeper.raw_v4;
}

/* IPv6 takes a port for a protocol and refuses it (raw(7)). */
static struct addr raw_destination(const struct addr *to)
{
    struct addr ip = *to;

    ip.port = 0;
    return ip;
}

/* ---- datagrams ---- */

void gate_raw_answer(struct gate *g, const struct addr *from, const struct addr *to,
                     const void *header, size_t header_len, const uint8_t *data, size_t len)
{
    size_t udp_len = UDP_LEN + header_len + len;
    struct addr ip = raw_destination(to);
    int fd = raw_socket(g, from);
    uint8_t buf[TX_HEADER_MAX];
    struct writer w = writer_make(buf, sizeof(buf));
    uint8_t *udp;

    if (fd < 0 || from->family != to->family || udp_len + IPV4_LEN > UINT16_MAX) {
        counter_add(&g->params.counters->drop_send, 1);
        return;
    }
    put_ip(&w, from, to, IPPROTO_UDP, udp_len);
    udp = buf + w.len;
    put_udp(&w, from, to, header_len + len);
    writer_bytes(&w, header, header_len);
    if (from->family == ADDR_IPV6) {
        uint32_t sum = sum_pseudo_v6(from, to, IPPROTO_UDP, udp_len);
        uint16_t checksum;

        sum = sum_add(sum, udp, UDP_LEN + header_len, 0);
        checksum = sum_end(sum_add(sum, data, len, UDP_LEN + header_len));
        put_u16(udp + 6, checksum ? checksum : 0xffff);
    }
    tx_push(g->params.tx, fd, &ip, NULL, buf, w.len, data, len);
}

/* ---- ICMP ---- */

static void raw_send_error(struct gate *g, const struct addr *app, const struct addr *peer,
                           size_t len, const struct raw_error *error)
{
    bool is_v6 = peer->family == ADDR_IPV6;
    uint8_t protocol = is_v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, buf[RAW_ICMP_MAX];
    size_t icmp_len = ICMP_LEN + (is_v6 ? IPV6_LEN : IPV4_LEN) + UDP_LEN;
    struct writer w = writer_make(buf, sizeof(buf));
    struct addr ip = raw_destination(app);
    int fd = raw_socket(g, peer);
    uint32_t sum = 0;
    uint8_t *icmp;

    if (fd < 0 || app->family != peer->family)
        return;
    put_ip(&w, peer, app, protocol, icmp_len);
    icmp = buf + w.len;
    writer_u8(&w, error->type);
    writer_u8(&w, error->code);
    writer_u16(&w, 0);
    writer_u32(&w, error->data);
    /* What was sent, as far as it says whose it was. */
    put_ip(&w, app, peer, IPPROTO_UDP, UDP_LEN + len);
    put_udp(&w, app, peer, len);
    if (is_v6)
        sum = sum_pseudo_v6(peer, app, protocol, icmp_len);
    put_u16(icmp + 2, sum_end(sum_add(sum, icmp, icmp_len, 0)));
    tx_push_copy(g->params.tx, fd, &ip, NULL, buf, w.len);
}

void gate_refuse(struct gate *g, const struct addr *app, const struct addr *peer, size_t len)
{
    static const struct raw_error v4 = {.type = 3, .code = 3}, v6 = {.type = 1, .code = 4};

    /* Nobody answers for a group (RFC 1122, section 3.2.2). */
    if (gate_is_multicast(peer))
        return;
    counter_add(&g->params.counters->gate_refused, 1);
    raw_send_error(g, app, peer, len, peer->family == ADDR_IPV6 ? &v6 : &v4);
}

/* Errors about a datagram, and nothing that would ask or advertise. */
static bool raw_is_error(const struct assoc_icmp *icmp)
{
    if (icmp->peer.family == ADDR_IPV6)
        return icmp->type >= 1 && icmp->type <= 4;
    return icmp->type == 3 || icmp->type == 11 || icmp->type == 12;
}

void gate_raw_icmp(struct gate *g, const struct addr *app, const struct assoc_icmp *icmp)
{
    /* In an IPv4 "fragmentation needed" the next hop's MTU is the lower half (RFC 1191); in IPv6
     * it is all of it. */
    struct raw_error error = {.type = icmp->type, .code = icmp->code, .data = icmp->data};

    if (raw_is_error(icmp))
        raw_send_error(g, app, &icmp->peer, 0, &error);
}
