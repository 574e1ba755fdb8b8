/*
 * catch    TCP and UDP that leave: a mark, by which they are routed back to loopback
 * refuse   what has no mark and is not for the namespace itself. TCP by a reset: the kernel
 *          ignores ICMP for a socket that is in the middle of connect(2)
 * hand     what comes round, to the catching sockets; the packet keeps its addresses
 * arrive   nothing comes by any interface but loopback
 *
 * A sender that is not the near end's own address (IPV6_FREEBIND lets any program choose one) is
 * refused: the gate would answer to that address, and catch its own answers. What the gate sends
 * in the name of peers is addressed to the namespace itself, so nothing here is about it.
 *
 * The port of the catching sockets is closed to those who knock directly.
 */
#include "relay/seal/rules.h"

#include <nftables/libnftables.h>
#include <stdio.h>
#include <string.h>

#include "relay/seal/place.h"

#define STR_(x) #x
#define STR(x)  STR_(x)

#define OWN_V4 "{ 127.0.0.0/8, " PLACE_NEAR_V4 " }"
#define OWN_V6 "{ ::1, " PLACE_NEAR_V6 " }"
/* "This network", multicast, reserved and broadcast, and the link's own. */
#define NOBODY_V4 "{ 0.0.0.0/8, 192.0.2.0, 192.0.2.3, 224.0.0.0/3 }"
#define NOBODY_V6 "{ ::, fe80::/10, ff00::/8 }"
#define MARK      STR(PLACE_MARK)
#define PORT      STR(PLACE_PORT)

/* The first two lines are for when they are loaded again: at once, or not at all. */
static const char rules[] =
    "table inet callveil {\n}\n"
    "flush table inet callveil\n"
    "table inet callveil {\n"
    "  chain catch {\n"
    "    type route hook output priority mangle; policy accept;\n"
    "    ip daddr 127.0.0.0/8 meta l4proto { tcp, udp } th dport 53 meta mark set " MARK " return\n"
    "    ip6 daddr ::1 meta l4proto { tcp, udp } th dport 53 meta mark set " MARK " return\n"
    "    ip daddr " OWN_V4 " return\n"
    "    ip6 daddr " OWN_V6 " return\n"
    "    ip daddr " NOBODY_V4 " return\n"
    "    ip6 daddr " NOBODY_V6 " return\n"
    "    ip saddr != " PLACE_NEAR_V4 " return\n"
    "    ip6 saddr != " PLACE_NEAR_V6 " return\n"
    "    meta l4proto { tcp, udp } meta mark set " MARK "\n"
    "  }\n"
    "  chain refuse {\n"
    "    type filter hook output priority filter; policy drop;\n"
    "    meta mark " MARK " accept\n"
    "    ip daddr 127.0.0.0/8 tcp dport " PORT " reject with tcp reset\n"
    "    ip daddr 127.0.0.0/8 udp dport " PORT " reject\n"
    "    ip6 daddr ::1 tcp dport " PORT " reject with tcp reset\n"
    "    ip6 daddr ::1 udp dport " PORT " reject\n"
    "    ip daddr " OWN_V4 " accept\n"
    "    ip6 daddr " OWN_V6 " accept\n"
    "    meta l4proto tcp reject with tcp reset\n"
    "    reject with icmpx type admin-prohibited\n"
    "  }\n"
    "  chain hand {\n"
    "    type filter hook prerouting priority mangle; policy accept;\n"
    "    iif lo meta mark " MARK " meta nfproto ipv4 meta l4proto { tcp, udp }"
    " tproxy ip to 127.0.0.1:" PORT " accept\n"
    "    iif lo meta mark " MARK " meta nfproto ipv6 meta l4proto { tcp, udp }"
    " tproxy ip6 to [::1]:" PORT " accept\n"
    "  }\n"
    "  chain arrive {\n"
    "    type filter hook input priority filter; policy drop;\n"
    "    iif lo accept\n"
    "  }\n"
    "  chain pass {\n"
    "    type filter hook forward priority filter; policy drop;\n"
    "  }\n"
    "}\n";

static int rules_run(const char *commands, char why[SEAL_WHY_LEN])
{
    struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
    const char *said;
    int r = 0;

    if (!nft)
        return seal_fail(why, "libnftables does not start");
    if (nft_ctx_buffer_error(nft) != 0 || nft_run_cmd_from_buffer(nft, commands) != 0) {
        said = nft_ctx_get_error_buffer(nft);
        r = seal_fail(why,
                      "the kernel refuses the rules (%.*s); it needs nf_tables, nft_tproxy and "
                      "nft_reject_inet: try \"modprobe -a nf_tables nft_tproxy nft_reject_inet\" "
                      "as root",
                      said ? (int)strcspn(said, "\n") : 0, said ? said : "");
    }
    nft_ctx_free(nft);
    return r;
}

int rules_load(char why[SEAL_WHY_LEN])
{
    return rules_run(rules, why);
}

/* What has no mark is refused. With the mark and without a catching socket it would be dropped in
 * silence: a reset or an ICMP error in the name of an address that the namespace does not have
 * finds no route. */
int rules_refuse_all(char why[SEAL_WHY_LEN])
{
    return rules_run("flush chain inet callveil catch", why);
}
