/*
 * relay/seal/place.h - what the inside of a sealed namespace looks like
 *
 * The same everywhere and for everybody, so that an address that an app tells its peer
 * tells them nothing. The IPv4 network is the one for documentation (RFC 5737): it means
 * no host anywhere, and programs take it for a public one. The IPv6 network is a unique
 * local one (RFC 4193), which programs use after IPv4 (RFC 6724, section 6, rule 5) when a
 * name has addresses of both kinds: more relays have IPv4 than IPv6.
 *
 * The far end of the link has no address. Packets that the rules do not catch would arrive
 * there, in the same namespace, and be nobody's.
 */
#pragma once

#define PLACE_NEAR      "eth0" /* a name that programs take for a wire */
#define PLACE_FAR       "far0"
#define PLACE_NEAR_V4   "192.0.2.2"
#define PLACE_BITS_V4   30
#define PLACE_ROUTER_V4 "192.0.2.1" /* also what resolv.conf names; the gate answers */
#define PLACE_NEAR_V6   "fd63:616c:6c76::2"
#define PLACE_BITS_V6   64
#define PLACE_ROUTER_V6 "fd63:616c:6c76::1"

/* The least that IPv6 works with. What an app may put into one packet must fit into one to the
 * relay with what is put around it: at most 89 bytes more (40 IPv6, 8 UDP, 37 DTLS, 4 ChannelData)
 * than the 28 of IPv4 and UDP that it loses. 1280 becomes 1341, which goes through PPPoE (1492),
 * a WireGuard tunnel (1420) and the like unfragmented; and at the relay's side, to the peer, it is
 * 1280 again, which any path carries. TCP is not concerned: its segments end at the gate. */
#define PLACE_MTU 1280

/* Port of the gate's catching sockets on the namespace's loopback. A privileged one: the keeper may
 * bind it, and no app can want it. */
#define PLACE_PORT  1
#define PLACE_MARK  1   /* on packets that are turned round to the gate */
#define PLACE_TABLE 100 /* the routes that these take */
