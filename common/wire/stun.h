/*
 * common/wire/stun.h - STUN messages: bytes to struct and back
 *
 * Decoding indexes the attributes of one message and checks everything that can
 * be checked without a key: framing, each attribute's length against the table
 * in stun.c, FINGERPRINT. It keeps pointers into the caller's buffer and copies
 * nothing; a decoded message lives as long as the buffer.
 *
 * Encoding appends attributes to a caller's buffer; an attribute that does not
 * fit marks the builder failed. Padding is always zero.
 *
 * Source: RFC 8489 (section 5 header, 14 attributes), RFC 8656 (18), RFC 6062,
 * RFC 5780, RFC 8016. No I/O, no clock, no heap of our own.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"

#define STUN_HEADER_LEN   20
#define STUN_TXID_LEN     12
#define STUN_MAGIC_COOKIE 0x2112A442u
/* The longest message, header included: one that a stun_value's 16-bit offset can index and that
 * fills the largest datagram. The header's length field could say up to 20 bytes more. */
#define STUN_MAX_LEN 65532u

enum stun_class {
    STUN_REQUEST = 0,
    STUN_INDICATION = 1,
    STUN_SUCCESS = 2,
    STUN_ERROR = 3,
};

enum stun_method {
    STUN_BINDING = 0x001,
    STUN_ALLOCATE = 0x003,
    STUN_REFRESH = 0x004,
    STUN_SEND = 0x006,
    STUN_DATA = 0x007,
    STUN_CREATE_PERMISSION = 0x008,
    STUN_CHANNEL_BIND = 0x009,
    STUN_CONNECT = 0x00A,
    STUN_CONNECTION_BIND = 0x00B,
    STUN_CONNECTION_ATTEMPT = 0x00C,
};

/* Attributes by index (dense, so that a message's index is an array). The wire type, the name,
 * the kind and the length bounds of each stand in one table, stun_attrs[], in stun.c. */
enum stun_attr {
    STUN_MAPPED_ADDRESS,
    STUN_USERNAME,
    STUN_MESSAGE_INTEGRITY,
    STUN_ERROR_CODE,
    STUN_UNKNOWN_ATTRIBUTES,
    STUN_REALM,
    STUN_NONCE,
    STUN_XOR_MAPPED_ADDRESS,
    STUN_MESSAGE_INTEGRITY_SHA256,
    STUN_PASSWORD_ALGORITHM,
    STUN_USERHASH,
    STUN_PASSWORD_ALGORITHMS,
    STUN_ALTERNATE_DOMAIN,
    STUN_SOFTWARE,
    STUN_ALTERNATE_SERVER,
    STUN_FINGERPRINT,
    /* RFC 8656 */
    STUN_CHANNEL_NUMBER,
    STUN_LIFETIME,
    STUN_XOR_PEER_ADDRESS,
    STUN_DATA_ATTR,
    STUN_XOR_RELAYED_ADDRESS,
    STUN_REQUESTED_ADDRESS_FAMILY,
    STUN_EVEN_PORT,
    STUN_REQUESTED_TRANSPORT,
    STUN_DONT_FRAGMENT,
    STUN_RESERVATION_TOKEN,
    STUN_ADDITIONAL_ADDRESS_FAMILY,
    STUN_ADDRESS_ERROR_CODE,
    STUN_ICMP,
    /* RFC 6062 */
    STUN_CONNECTION_ID,
    /* RFC 8016 */
    STUN_MOBILITY_TICKET,
    /* RFC 5780 */
    STUN_CHANGE_REQUEST,
    STUN_PADDING,
    STUN_RESPONSE_PORT,
    STUN_RESPONSE_ORIGIN,
    STUN_OTHER_ADDRESS,
    /* RFC 8445, seen in Binding requests of ICE agents and ignored by a server */
    STUN_PRIORITY,
    STUN_USE_CANDIDATE,
    STUN_ICE_CONTROLLED,
    STUN_ICE_CONTROLLING,
    STUN_N_ATTRS,
};

/* What a value is made of, where that says more than its length bounds. */
enum stun_kind {
    STUN_KIND_BYTES,    /* anything within the bounds */
    STUN_KIND_WORDS,    /* a multiple of four bytes */
    STUN_KIND_TYPES,    /* 16-bit attribute types */
    STUN_KIND_ADDR,     /* an address: 8 bytes or 20 */
    STUN_KIND_XOR_ADDR, /* the same, XORed with cookie and transaction id */
};

struct stun_attr_info {
    uint16_t type;
    uint16_t min_len, max_len; /* bytes of the value, bounds included */
    enum stun_kind kind;
    const char *name; /* the RFC's, upper case with hyphens */
};

extern const struct stun_attr_info stun_attrs[STUN_N_ATTRS];

#define STUN_MAX_UNKNOWN 16 /* reported in UNKNOWN-ATTRIBUTES; further ones go unlisted */
#define STUN_MAX_PEERS   16 /* XOR-PEER-ADDRESS values kept from one request */

struct stun_value {
    uint16_t offset; /* of the value in the message; 0 when the attribute is absent */
    uint16_t len;
};

struct stun_msg {
    const uint8_t *raw;
    size_t len; /* header and attributes */
    enum stun_class class;
    uint16_t method;
    uint8_t txid[STUN_TXID_LEN];
    struct stun_value value[STUN_N_ATTRS]; /* the first of each (RFC 8489, section 14) */
    struct stun_value peer[STUN_MAX_PEERS];
    uint8_t n_peers;                    /* kept in peer[] */
    bool too_many_peers;                /* more than STUN_MAX_PEERS were present */
    uint16_t unknown[STUN_MAX_UNKNOWN]; /* unknown comprehension-required types */
    uint8_t n_unknown;                  /* kept in unknown[] */
};

/* Documented answers of stun_decode(). */
enum {
    STUN_E_NOT_STUN = 1,  /* no STUN header, wrong cookie, length not that of the datagram, or a
                             FINGERPRINT that does not match: drop in silence */
    STUN_E_MALFORMED = 2, /* a STUN header, but an attribute that overruns the message or whose
                             length its definition forbids, one behind FINGERPRINT, or more than
                             STUN_MAX_LEN bytes: 400 if it was a request. The header fields of
                             *ret are valid; no attribute is present. */
};

/* Decodes exactly one message of `len` bytes. Attributes after MESSAGE-INTEGRITY are ignored
 * except MESSAGE-INTEGRITY-SHA256 and FINGERPRINT; after MESSAGE-INTEGRITY-SHA256, except
 * FINGERPRINT; FINGERPRINT must be last (RFC 8489, sections 14.5-14.7).
 * Return: 0, STUN_E_NOT_STUN or STUN_E_MALFORMED. */
int stun_decode(struct stun_msg *ret, const uint8_t *buf, size_t len);

static inline bool stun_has(const struct stun_msg *m, enum stun_attr attr)
{
    return m->value[attr].offset != 0;
}

/* The value's bytes, or NULL when absent. */
const uint8_t *stun_get(const struct stun_msg *m, enum stun_attr attr, size_t *ret_len);

/* Fixed-size values; false when absent. A u16/u8 is the value's leading bytes. */
bool stun_get_u8(const struct stun_msg *m, enum stun_attr attr, uint8_t *ret);
bool stun_get_u16(const struct stun_msg *m, enum stun_attr attr, uint16_t *ret);
bool stun_get_u32(const struct stun_msg *m, enum stun_attr attr, uint32_t *ret);

/* An address attribute, XORed or plain by the attribute's kind; normalised. False when absent or
 * of a family other than 0x01/0x02, or with a length that does not fit its family. */
bool stun_get_addr(const struct stun_msg *m, enum stun_attr attr, struct addr *ret);
/* The same, of the nth (from 0) of several attributes of one type: an Allocate answer has an
 * XOR-RELAYED-ADDRESS for each family (RFC 8656, section 7.3). Walks the message. */
bool stun_get_addr_nth(const struct stun_msg *m, enum stun_attr attr, unsigned int nth,
                       struct addr *ret);
/* The i-th XOR-PEER-ADDRESS, i < n_peers. */
bool stun_get_peer(const struct stun_msg *m, unsigned int i, struct addr *ret);
/* The family byte (0x01, 0x02 or another) a peer address has on the wire, before normalising. */
uint8_t stun_get_peer_family(const struct stun_msg *m, unsigned int i);
/* ERROR-CODE: class * 100 + number; false when absent or out of 300..699. */
bool stun_get_error(const struct stun_msg *m, unsigned int *ret_code);

/* ---- integrity (stun_mac.c): HMAC over a message, RFC 8489, sections 14.5 and 14.6 ---- */

enum stun_integrity {
    STUN_INTEGRITY_NONE,
    STUN_INTEGRITY_SHA1,   /* MESSAGE-INTEGRITY, 20 bytes */
    STUN_INTEGRITY_SHA256, /* MESSAGE-INTEGRITY-SHA256, 32 bytes (16..32 by 4 accepted) */
};

/* Password algorithms, RFC 8489, section 18.5.1. */
enum stun_password_algorithm {
    STUN_PASSWORD_MD5 = 1,
    STUN_PASSWORD_SHA256 = 2,
};

#define STUN_KEY_MAX 32

/* Constant-time check of the attribute named by `kind`; false when it is absent. */
bool stun_check_integrity(const struct stun_msg *m, enum stun_integrity kind, const uint8_t *key,
                          size_t key_len);

/* The long-term key: MD5 (16 bytes) or SHA-256 (32) of user ":" realm ":" password
 * (RFC 8489, section 18.5.1). `ret_key` holds STUN_KEY_MAX. Return: the key's length; 0 when
 * OpenSSL failed (no memory): no key of that length authenticates anyone. */
size_t stun_long_term_key(enum stun_password_algorithm algorithm, const char *user,
                          const char *realm, const char *password, uint8_t *ret_key);

/* SHA-256 of user ":" realm, the USERHASH value (RFC 8489, section 14.4).
 * Return: 0, or -ENOMEM with `ret_hash` untouched. */
int stun_userhash(const char *user, const char *realm, uint8_t ret_hash[32]);

/* ---- encoding ---- */

struct stun_builder {
    uint8_t *buf;
    size_t cap, len;
    bool failed;
};

/* Starts a message in `buf` of `cap` bytes. */
void stun_begin(struct stun_builder *b, void *buf, size_t cap, enum stun_class class,
                uint16_t method, const uint8_t txid[STUN_TXID_LEN]);
/* A value whose length the table forbids fails the builder: we do not send what we would refuse. */
void stun_put(struct stun_builder *b, enum stun_attr attr, const void *value, size_t len);
void stun_put_text(struct stun_builder *b, enum stun_attr attr, const char *text);
/* A 32-bit value; attributes whose value is one or two bytes and "reserved for future use" get
 * it in their leading bytes: pass e.g. 17u << 24 for REQUESTED-TRANSPORT UDP. EVEN-PORT, whose
 * value is one byte, gets the topmost one. */
void stun_put_u32(struct stun_builder *b, enum stun_attr attr, uint32_t value);
/* Plain or XORed by the attribute's kind. */
void stun_put_addr(struct stun_builder *b, enum stun_attr attr, const struct addr *addr);
/* ERROR-CODE with an empty reason phrase: it would only amplify (S20). */
void stun_put_error(struct stun_builder *b, unsigned int code);
void stun_put_unknown(struct stun_builder *b, const uint16_t *types, size_t n);
/* MESSAGE-INTEGRITY(-SHA256) over what is there so far; nothing but FINGERPRINT may follow.
 * STUN_INTEGRITY_NONE writes nothing; an empty key fails the builder. */
void stun_put_integrity(struct stun_builder *b, enum stun_integrity kind, const uint8_t *key,
                        size_t key_len);
void stun_put_fingerprint(struct stun_builder *b);
/* Return: the message's length, or 0 when something did not fit. */
size_t stun_finish(struct stun_builder *b);

/* The answer to a Binding request: `mapped` in XOR-MAPPED-ADDRESS (RFC 8489, section 7.3.1), or
 * 420 when it has unknown comprehension-required attributes; those of ICE are ignored. `buf` holds
 * STUN_BINDING_ANSWER_MAX. Return: its length; 0 when the message is no such request. */
#define STUN_BINDING_ANSWER_MAX (STUN_HEADER_LEN + 8 + 4 + 2 * STUN_MAX_UNKNOWN + 8)
size_t stun_answer_binding(uint8_t *buf, const uint8_t *request, size_t len,
                           const struct addr *mapped);

/* A Data indication's bytes up to the start of DATA's value: header, XOR-PEER-ADDRESS and the
 * DATA attribute's type and length, for a payload of `data_len` bytes that the caller sends
 * behind it, padded to four bytes (RFC 8656, section 11.4). `buf` holds STUN_DATA_PREFIX_MAX.
 * Return: the prefix's length; 0 when the payload is too long for a STUN message, or without an
 * address. */
#define STUN_DATA_PREFIX_MAX (STUN_HEADER_LEN + 24 + 4)
size_t stun_data_prefix(uint8_t *buf, const uint8_t txid[STUN_TXID_LEN], const struct addr *peer,
                        size_t data_len);

/* The same for a Send indication, with DONT-FRAGMENT if asked for (RFC 8656, section 11.1). `buf`
 * holds STUN_SEND_PREFIX_MAX. */
#define STUN_SEND_PREFIX_MAX (STUN_DATA_PREFIX_MAX + 4)
size_t stun_send_prefix(uint8_t *buf, const uint8_t txid[STUN_TXID_LEN], const struct addr *peer,
                        bool dont_fragment, size_t data_len);

/* Bytes of padding that follow a value of `len` bytes. */
static inline size_t stun_padding(size_t len)
{
    return (4 - len % 4) % 4;
}
