/*
 * One row per attribute in STUN_ATTR_TABLE feeds the index, the length checks of
 * both directions, the names and the fuzz dictionary. The index from a wire type
 * to its row is an array: all types we know lie in 0x0000-0x003F (comprehension
 * required) and 0x8000-0x803F (optional), so six bits and the top one tell them
 * apart, and two rows that met in one slot would not compile (-Woverride-init).
 *
 * Decoding walks the attributes once. What counts is decided by how far the walk
 * has come: everything is open until MESSAGE-INTEGRITY closes it for all but
 * MESSAGE-INTEGRITY-SHA256, that one for all but FINGERPRINT, and FINGERPRINT
 * ends the message (RFC 8489, sections 14.5-14.7). Whoever appends attributes to
 * an authenticated message gains nothing by it (coturn ab762f33).
 */
#include "common/wire/stun.h"

#include <string.h>
#include <zlib.h>

#include "common/base/cursor.h"

#define ATTR_HEADER_LEN 4
#define FAMILY_IPV4     0x01
#define FAMILY_IPV6     0x02
#define ADDR_LEN_IPV4   8
#define ADDR_LEN_IPV6   20
#define FINGERPRINT_XOR 0x5354554Eu /* "STUN", RFC 8489, section 14.7 */
#define ANY             UINT16_MAX

/* RFC 8489 keeps SOFTWARE, REALM, NONCE and reason phrases under 128 characters, at most 763
 * bytes; USERNAME under 509 bytes, but RFC 5389 allowed 513 and such clients exist. RFC 5780's
 * RESPONSE-PORT is two bytes whose padding some count and some do not. */
#define STUN_ATTR_TABLE(X)                                                                         \
    X(STUN_MAPPED_ADDRESS, 0x0001, ADDR, 8, 20, "MAPPED-ADDRESS")                                  \
    X(STUN_USERNAME, 0x0006, BYTES, 0, 513, "USERNAME")                                            \
    X(STUN_MESSAGE_INTEGRITY, 0x0008, BYTES, 20, 20, "MESSAGE-INTEGRITY")                          \
    X(STUN_ERROR_CODE, 0x0009, BYTES, 4, 4 + 763, "ERROR-CODE")                                    \
    X(STUN_UNKNOWN_ATTRIBUTES, 0x000A, TYPES, 0, ANY, "UNKNOWN-ATTRIBUTES")                        \
    X(STUN_REALM, 0x0014, BYTES, 0, 763, "REALM")                                                  \
    X(STUN_NONCE, 0x0015, BYTES, 0, 763, "NONCE")                                                  \
    X(STUN_XOR_MAPPED_ADDRESS, 0x0020, XOR_ADDR, 8, 20, "XOR-MAPPED-ADDRESS")                      \
    X(STUN_MESSAGE_INTEGRITY_SHA256, 0x001C, WORDS, 16, 32, "MESSAGE-INTEGRITY-SHA256")            \
    X(STUN_PASSWORD_ALGORITHM, 0x001D, BYTES, 4, ANY, "PASSWORD-ALGORITHM")                        \
    X(STUN_USERHASH, 0x001E, BYTES, 32, 32, "USERHASH")                                            \
    X(STUN_PASSWORD_ALGORITHMS, 0x8002, BYTES, 4, ANY, "PASSWORD-ALGORITHMS")                      \
    X(STUN_ALTERNATE_DOMAIN, 0x8003, BYTES, 0, 255, "ALTERNATE-DOMAIN")                            \
    X(STUN_SOFTWARE, 0x8022, BYTES, 0, 763, "SOFTWARE")                                            \
    X(STUN_ALTERNATE_SERVER, 0x8023, ADDR, 8, 20, "ALTERNATE-SERVER")                              \
    X(STUN_FINGERPRINT, 0x8028, BYTES, 4, 4, "FINGERPRINT")                                        \
    X(STUN_CHANNEL_NUMBER, 0x000C, BYTES, 4, 4, "CHANNEL-NUMBER")                                  \
    X(STUN_LIFETIME, 0x000D, BYTES, 4, 4, "LIFETIME")                                              \
    X(STUN_XOR_PEER_ADDRESS, 0x0012, XOR_ADDR, 8, 20, "XOR-PEER-ADDRESS")                          \
    X(STUN_DATA_ATTR, 0x0013, BYTES, 0, ANY, "DATA")                                               \
    X(STUN_XOR_RELAYED_ADDRESS, 0x0016, XOR_ADDR, 8, 20, "XOR-RELAYED-ADDRESS")                    \
    X(STUN_REQUESTED_ADDRESS_FAMILY, 0x0017, BYTES, 4, 4, "REQUESTED-ADDRESS-FAMILY")              \
    X(STUN_EVEN_PORT, 0x0018, BYTES, 1, 1, "EVEN-PORT")                                            \
    X(STUN_REQUESTED_TRANSPORT, 0x0019, BYTES, 4, 4, "REQUESTED-TRANSPORT")                        \
    X(STUN_DONT_FRAGMENT, 0x001A, BYTES, 0, 0, "DONT-FRAGMENT")                                    \
    X(STUN_RESERVATION_TOKEN, 0x0022, BYTES, 8, 8, "RESERVATION-TOKEN")                            \
    X(STUN_ADDITIONAL_ADDRESS_FAMILY, 0x8000, BYTES, 4, 4, "ADDITIONAL-ADDRESS-FAMILY")            \
    X(STUN_ADDRESS_ERROR_CODE, 0x8001, BYTES, 4, 4 + 763, "ADDRESS-ERROR-CODE")                    \
    X(STUN_ICMP, 0x8004, BYTES, 8, 8, "ICMP")                                                      \
    X(STUN_CONNECTION_ID, 0x002A, BYTES, 4, 4, "CONNECTION-ID")                                    \
    X(STUN_MOBILITY_TICKET, 0x8030, BYTES, 0, ANY, "MOBILITY-TICKET")                              \
    X(STUN_CHANGE_REQUEST, 0x0003, BYTES, 4, 4, "CHANGE-REQUEST")                                  \
    X(STUN_PADDING, 0x0026, BYTES, 0, ANY, "PADDING")                                              \
    X(STUN_RESPONSE_PORT, 0x0027, BYTES, 2, 4, "RESPONSE-PORT")                                    \
    X(STUN_RESPONSE_ORIGIN, 0x802B, ADDR, 8, 20, "RESPONSE-ORIGIN")                                \
    X(STUN_OTHER_ADDRESS, 0x802C, ADDR, 8, 20, "OTHER-ADDRESS")                                    \
    X(STUN_PRIORITY, 0x0024, BYTES, 4, 4, "PRIORITY")                                              \
    X(STUN_USE_CANDIDATE, 0x0025, BYTES, 0, 0, "USE-CANDIDATE")                                    \
    X(STUN_ICE_CONTROLLED, 0x8029, BYTES, 8, 8, "ICE-CONTROLLED")                                  \
    X(STUN_ICE_CONTROLLING, 0x802A, BYTES, 8, 8, "ICE-CONTROLLING")

#define ATTR_ROW(attr, type, kind, min, max, name)                                                 \
    [attr] = {type, min, max, STUN_KIND_##kind, name},

const struct stun_attr_info stun_attrs[STUN_N_ATTRS] = {STUN_ATTR_TABLE(ATTR_ROW)};

#define ATTR_SLOT(type)                              (((type)&0x3F) | ((type) >> 9 & 0x40))
#define ATTR_INDEX(attr, type, kind, min, max, name) [ATTR_SLOT(type)] = (attr),

/* Empty slots name attribute 0, whose type then does not match. */
static const uint8_t attr_by_slot[128] = {STUN_ATTR_TABLE(ATTR_INDEX)};

/* Return: the attribute, or STUN_N_ATTRS when its type is not in the table. */
static enum stun_attr attr_find(uint16_t type)
{
    unsigned int attr = attr_by_slot[ATTR_SLOT(type)];

    return stun_attrs[attr].type == type ? (enum stun_attr)attr : STUN_N_ATTRS;
}

static bool attr_len_allowed(enum stun_attr attr, size_t len)
{
    const struct stun_attr_info *info = &stun_attrs[attr];

    if (len < info->min_len || len > info->max_len)
        return false;
    switch (info->kind) {
    case STUN_KIND_WORDS:
        return len % 4 == 0;
    case STUN_KIND_TYPES:
        return len % 2 == 0;
    case STUN_KIND_ADDR:
    case STUN_KIND_XOR_ADDR:
        return len == ADDR_LEN_IPV4 || len == ADDR_LEN_IPV6;
    case STUN_KIND_BYTES:
        break;
    }
    return true;
}

static uint32_t fingerprint_of(const uint8_t *buf, size_t len)
{
    return (uint32_t)crc32(0, buf, (uInt)len) ^ FINGERPRINT_XOR;
}

/* ---- decoding ---- */

/* How far the walk over the attributes has come, and so what still counts. */
enum decode_stage {
    STAGE_OPEN,         /* everything */
    STAGE_AFTER_MI,     /* MESSAGE-INTEGRITY-SHA256 and FINGERPRINT */
    STAGE_AFTER_SHA256, /* FINGERPRINT */
    STAGE_END,          /* nothing may follow at all */
};

/* The method's bits stand around the class's two (RFC 8489, section 5). */
static void decode_type(struct stun_msg *m, uint16_t type)
{
    m->class = (enum stun_class)((type >> 4 & 1) | (type >> 7 & 2));
    m->method = (uint16_t)((type & 0x000F) | (type & 0x00E0) >> 1 | (type & 0x3E00) >> 2);
}

static int decode_header(struct stun_msg *m, const uint8_t *buf, size_t len)
{
    struct reader r = reader_make(buf, len);
    uint16_t type = reader_u16(&r);
    uint16_t attrs_len = reader_u16(&r);
    uint32_t cookie = reader_u32(&r);
    const uint8_t *txid = reader_bytes(&r, STUN_TXID_LEN);

    if (!txid || type > 0x3FFF || cookie != STUN_MAGIC_COOKIE || attrs_len % 4 != 0 ||
        attrs_len != reader_left(&r))
        return STUN_E_NOT_STUN;
    *m = (struct stun_msg){.raw = buf, .len = len};
    decode_type(m, type);
    memcpy(m->txid, txid, STUN_TXID_LEN);
    return 0;
}

static bool stage_admits(enum decode_stage stage, enum stun_attr attr)
{
    if (attr == STUN_FINGERPRINT)
        return true;
    return stage == STAGE_OPEN ||
           (stage == STAGE_AFTER_MI && attr == STUN_MESSAGE_INTEGRITY_SHA256);
}

static enum decode_stage stage_after(enum decode_stage stage, enum stun_attr attr)
{
    switch (attr) {
    case STUN_MESSAGE_INTEGRITY:
        return STAGE_AFTER_MI;
    case STUN_MESSAGE_INTEGRITY_SHA256:
        return STAGE_AFTER_SHA256;
    case STUN_FINGERPRINT:
        return STAGE_END;
    default:
        return stage;
    }
}

static void keep_unknown(struct stun_msg *m, uint16_t type)
{
    bool comprehension_required = type < 0x8000;

    if (comprehension_required && m->n_unknown < STUN_MAX_UNKNOWN)
        m->unknown[m->n_unknown++] = type;
}

static void keep_value(struct stun_msg *m, enum stun_attr attr, struct stun_value value)
{
    if (!stun_has(m, attr))
        m->value[attr] = value;
    if (attr != STUN_XOR_PEER_ADDRESS)
        return;
    if (m->n_peers < STUN_MAX_PEERS)
        m->peer[m->n_peers++] = value;
    else
        m->too_many_peers = true;
}

static int decode_attrs(struct stun_msg *m)
{
    struct reader r = reader_make(m->raw, m->len);
    enum decode_stage stage = STAGE_OPEN;

    reader_bytes(&r, STUN_HEADER_LEN);
    while (reader_left(&r) > 0) {
        uint16_t type = reader_u16(&r);
        uint16_t len = reader_u16(&r);
        struct stun_value value = {.offset = (uint16_t)r.pos, .len = len};
        enum stun_attr attr = attr_find(type);

        reader_bytes(&r, len);
        reader_bytes(&r, stun_padding(len));
        if (r.failed || stage == STAGE_END)
            return STUN_E_MALFORMED;
        if (!stage_admits(stage, attr))
            continue;
        if (attr == STUN_N_ATTRS) {
            keep_unknown(m, type);
            continue;
        }
        if (!attr_len_allowed(attr, len))
            return STUN_E_MALFORMED;
        keep_value(m, attr, value);
        stage = stage_after(stage, attr);
    }
    return 0;
}

static bool fingerprint_matches(const struct stun_msg *m)
{
    size_t covered = m->value[STUN_FINGERPRINT].offset - (size_t)ATTR_HEADER_LEN;
    uint32_t claimed;

    return stun_get_u32(m, STUN_FINGERPRINT, &claimed) &&
           claimed == fingerprint_of(m->raw, covered);
}

static void forget_attrs(struct stun_msg *m)
{
    memset(m->value, 0, sizeof(m->value));
    m->n_peers = 0;
    m->too_many_peers = false;
    m->n_unknown = 0;
}

int stun_decode(struct stun_msg *ret, const uint8_t *buf, size_t len)
{
    int r = decode_header(ret, buf, len);

    if (r != 0)
        return r;
    r = len > STUN_MAX_LEN ? STUN_E_MALFORMED : decode_attrs(ret);
    if (r != 0)
        forget_attrs(ret);
    else if (stun_has(ret, STUN_FINGERPRINT) && !fingerprint_matches(ret))
        r = STUN_E_NOT_STUN;
    return r;
}

/* ---- reading values ---- */

static struct reader value_reader(const struct stun_msg *m, struct stun_value value)
{
    return reader_make(m->raw + value.offset, value.len);
}

const uint8_t *stun_get(const struct stun_msg *m, enum stun_attr attr, size_t *ret_len)
{
    if (!stun_has(m, attr))
        return NULL;
    *ret_len = m->value[attr].len;
    return m->raw + m->value[attr].offset;
}

bool stun_get_u8(const struct stun_msg *m, enum stun_attr attr, uint8_t *ret)
{
    if (!stun_has(m, attr) || m->value[attr].len < sizeof(*ret))
        return false;
    *ret = m->raw[m->value[attr].offset];
    return true;
}

bool stun_get_u16(const struct stun_msg *m, enum stun_attr attr, uint16_t *ret)
{
    struct reader r = value_reader(m, m->value[attr]);

    if (!stun_has(m, attr) || m->value[attr].len < sizeof(*ret))
        return false;
    *ret = reader_u16(&r);
    return true;
}

bool stun_get_u32(const struct stun_msg *m, enum stun_attr attr, uint32_t *ret)
{
    struct reader r = value_reader(m, m->value[attr]);

    if (!stun_has(m, attr) || m->value[attr].len < sizeof(*ret))
        return false;
    *ret = reader_u32(&r);
    return true;
}

/* XORs an address's bytes with the cookie and the transaction id, which the header holds in this
 * order; `header` is a message's start. It is its own inverse. */
static void xor_ip(uint8_t *ip, size_t len, const uint8_t *header)
{
    for (size_t i = 0; i < len; i++)
        ip[i] ^= header[4 + i];
}

static bool value_addr(const struct stun_msg *m, struct stun_value value, bool xored,
                       struct addr *ret)
{
    struct reader r = value_reader(m, value);
    uint16_t family = reader_u16(&r) & 0xFF; /* behind a byte to ignore */
    uint16_t port = reader_u16(&r);
    size_t ip_len = reader_left(&r);
    uint8_t ip[16];

    if (!(family == FAMILY_IPV4 && ip_len == 4) && !(family == FAMILY_IPV6 && ip_len == 16))
        return false;
    memcpy(ip, reader_bytes(&r, ip_len), ip_len);
    if (xored) {
        port ^= (uint16_t)(STUN_MAGIC_COOKIE >> 16);
        xor_ip(ip, ip_len, m->raw);
    }
    *ret = addr_make(family == FAMILY_IPV4 ? ADDR_IPV4 : ADDR_IPV6, ip, port);
    return true;
}

bool stun_get_addr(const struct stun_msg *m, enum stun_attr attr, struct addr *ret)
{
    enum stun_kind kind = stun_attrs[attr].kind;

    if (!stun_has(m, attr) || (kind != STUN_KIND_ADDR && kind != STUN_KIND_XOR_ADDR))
        return false;
    return value_addr(m, m->value[attr], kind == STUN_KIND_XOR_ADDR, ret);
}

/* What stands behind an integrity attribute does not count. */
static bool is_integrity(uint16_t type)
{
    return type == stun_attrs[STUN_MESSAGE_INTEGRITY].type ||
           type == stun_attrs[STUN_MESSAGE_INTEGRITY_SHA256].type;
}

bool stun_get_addr_nth(const struct stun_msg *m, enum stun_attr attr, unsigned int nth,
                       struct addr *ret)
{
    enum stun_kind kind = stun_attrs[attr].kind;
    struct reader r = reader_make(m->raw, m->len);

    if (!stun_has(m, attr) || (kind != STUN_KIND_ADDR && kind != STUN_KIND_XOR_ADDR))
        return false;
    reader_bytes(&r, m->value[attr].offset - (size_t)ATTR_HEADER_LEN);
    while (reader_left(&r) > 0) {
        uint16_t type = reader_u16(&r);
        struct stun_value value = {.len = reader_u16(&r)};

        value.offset = (uint16_t)r.pos;
        reader_bytes(&r, value.len);
        reader_bytes(&r, stun_padding(value.len));
        if (r.failed || is_integrity(type))
            return false;
        if (type == stun_attrs[attr].type && nth-- == 0)
            return value_addr(m, value, kind == STUN_KIND_XOR_ADDR, ret);
    }
    return false;
}

bool stun_get_peer(const struct stun_msg *m, unsigned int i, struct addr *ret)
{
    return i < m->n_peers && value_addr(m, m->peer[i], true, ret);
}

uint8_t stun_get_peer_family(const struct stun_msg *m, unsigned int i)
{
    return i < m->n_peers ? m->raw[m->peer[i].offset + 1u] : 0;
}

bool stun_get_error(const struct stun_msg *m, unsigned int *ret_code)
{
    uint32_t value;
    unsigned int class, number;

    if (!stun_get_u32(m, STUN_ERROR_CODE, &value))
        return false;
    class = value >> 8 & 7; /* the bits before it are reserved */
    number = value & 0xFF;
    if (class < 3 || class > 6 || number > 99)
        return false;
    *ret_code = class * 100 + number;
    return true;
}

/* ---- encoding ---- */

static uint16_t encode_type(enum stun_class class, uint16_t method)
{
    unsigned int c = (unsigned int)class;

    return (uint16_t)((method & 0x000F) | (method & 0x0070) << 1 | (method & 0x0F80) << 2 |
                      (c & 1) << 4 | (c & 2) << 7);
}

static void encode_header(uint8_t *buf, uint16_t type, size_t attrs_len,
                          const uint8_t txid[STUN_TXID_LEN])
{
    put_u16(buf, type);
    put_u16(buf + 2, (uint16_t)attrs_len);
    put_u32(buf + 4, STUN_MAGIC_COOKIE);
    memcpy(buf + 8, txid, STUN_TXID_LEN);
}

/* Writes an address value. `header` is the message's own, to XOR with, or NULL for a plain one.
 * Return: its length, 0 for ADDR_NONE. */
static size_t encode_addr(uint8_t *value, const struct addr *addr, const uint8_t *header)
{
    size_t ip_len = addr_ip_len(addr);

    if (ip_len == 0)
        return 0;
    value[0] = 0;
    value[1] = addr->family == ADDR_IPV4 ? FAMILY_IPV4 : FAMILY_IPV6;
    put_u16(value + 2, header ? addr->port ^ (uint16_t)(STUN_MAGIC_COOKIE >> 16) : addr->port);
    memcpy(value + 4, addr->ip, ip_len);
    if (header)
        xor_ip(value + 4, ip_len, header);
    return 4 + ip_len;
}

static void set_length(struct stun_builder *b)
{
    put_u16(b->buf + 2, (uint16_t)(b->len - STUN_HEADER_LEN));
}

void stun_begin(struct stun_builder *b, void *buf, size_t cap, enum stun_class class,
                uint16_t method, const uint8_t txid[STUN_TXID_LEN])
{
    *b = (struct stun_builder){.buf = buf, .cap = cap < STUN_MAX_LEN ? cap : STUN_MAX_LEN};
    if (b->cap < STUN_HEADER_LEN) {
        b->failed = true;
        return;
    }
    encode_header(b->buf, encode_type(class, method), 0, txid);
    b->len = STUN_HEADER_LEN;
}

void stun_put(struct stun_builder *b, enum stun_attr attr, const void *value, size_t len)
{
    struct writer w = {.data = b->buf, .cap = b->cap, .len = b->len, .failed = b->failed};

    if (!attr_len_allowed(attr, len))
        w.failed = true;
    writer_u16(&w, stun_attrs[attr].type);
    writer_u16(&w, (uint16_t)len);
    writer_bytes(&w, value, len);
    writer_zeros(&w, stun_padding(len));
    b->failed = w.failed;
    if (!w.failed)
        b->len = w.len;
}

void stun_put_text(struct stun_builder *b, enum stun_attr attr, const char *text)
{
    stun_put(b, attr, text, strlen(text));
}

void stun_put_u32(struct stun_builder *b, enum stun_attr attr, uint32_t value)
{
    uint8_t bytes[4];
    size_t max_len = stun_attrs[attr].max_len;

    put_u32(bytes, value);
    stun_put(b, attr, bytes, max_len < sizeof(bytes) ? max_len : sizeof(bytes));
}

void stun_put_addr(struct stun_builder *b, enum stun_attr attr, const struct addr *addr)
{
    bool xored = stun_attrs[attr].kind == STUN_KIND_XOR_ADDR;
    uint8_t value[ADDR_LEN_IPV6];
    size_t len;

    if (b->failed || (!xored && stun_attrs[attr].kind != STUN_KIND_ADDR)) {
        b->failed = true;
        return;
    }
    len = encode_addr(value, addr, xored ? b->buf : NULL);
    stun_put(b, attr, value, len); /* no address type allows the length of ADDR_NONE */
}

void stun_put_error(struct stun_builder *b, unsigned int code)
{
    stun_put_u32(b, STUN_ERROR_CODE, (code / 100 & 7) << 8 | code % 100);
}

void stun_put_unknown(struct stun_builder *b, const uint16_t *types, size_t n)
{
    uint8_t value[2 * STUN_MAX_UNKNOWN];

    if (n > STUN_MAX_UNKNOWN)
        n = STUN_MAX_UNKNOWN;
    for (size_t i = 0; i < n; i++)
        put_u16(value + 2 * i, types[i]);
    stun_put(b, STUN_UNKNOWN_ATTRIBUTES, value, 2 * n);
}

void stun_put_fingerprint(struct stun_builder *b)
{
    size_t covered = b->len;

    /* The CRC covers a header whose length already counts FINGERPRINT (section 14.7). */
    stun_put_u32(b, STUN_FINGERPRINT, 0);
    if (b->failed)
        return;
    set_length(b);
    put_u32(b->buf + covered + ATTR_HEADER_LEN, fingerprint_of(b->buf, covered));
}

size_t stun_finish(struct stun_builder *b)
{
    if (b->failed)
        return 0;
    set_length(b);
    return b->len;
}

/* Writes an attribute's type and length. Return: where its value goes. */
static uint8_t *encode_attr_header(uint8_t *at, enum stun_attr attr, size_t len)
{
    put_u16(at, stun_attrs[attr].type);
    put_u16(at + 2, (uint16_t)len);
    return at + ATTR_HEADER_LEN;
}

static size_t encode_data_prefix(uint8_t *buf, uint16_t method, const uint8_t txid[STUN_TXID_LEN],
                                 const struct addr *peer, bool dont_fragment, size_t data_len)
{
    uint8_t *at = buf + STUN_HEADER_LEN;
    size_t addr_len = 4 + addr_ip_len(peer);
    size_t prefix_len = STUN_HEADER_LEN + ATTR_HEADER_LEN + addr_len +
                        (dont_fragment ? ATTR_HEADER_LEN : 0) + ATTR_HEADER_LEN;

    if (peer->family == ADDR_NONE || data_len > STUN_MAX_LEN ||
        prefix_len + data_len + stun_padding(data_len) > STUN_MAX_LEN)
        return 0;
    encode_header(buf, encode_type(STUN_INDICATION, method),
                  prefix_len - STUN_HEADER_LEN + data_len + stun_padding(data_len), txid);
    at = encode_attr_header(at, STUN_XOR_PEER_ADDRESS, addr_len);
    encode_addr(at, peer, buf);
    at += addr_len;
    if (dont_fragment)
        at = encode_attr_header(at, STUN_DONT_FRAGMENT, 0);
    encode_attr_header(at, STUN_DATA_ATTR, data_len);
    return prefix_len;
}

size_t stun_data_prefix(uint8_t *buf, const uint8_t txid[STUN_TXID_LEN], const struct addr *peer,
                        size_t data_len)
{
    return encode_data_prefix(buf, STUN_DATA, txid, peer, false, data_len);
}

size_t stun_send_prefix(uint8_t *buf, const uint8_t txid[STUN_TXID_LEN], const struct addr *peer,
                        bool dont_fragment, size_t data_len)
{
    return encode_data_prefix(buf, STUN_SEND, txid, peer, dont_fragment, data_len);
}
