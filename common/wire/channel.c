#include "common/wire/channel.h"

#include <errno.h>
#include <string.h>

#include "common/base/cursor.h"
#include "common/wire/stun.h"

enum wire_kind wire_kind_of(uint8_t first_byte)
{
    if (first_byte <= 3)
        return WIRE_STUN;
    if (first_byte >= 20 && first_byte <= 63)
        return WIRE_DTLS;
    if (first_byte >= CHANNEL_MIN >> 8 && first_byte <= CHANNEL_MAX >> 8)
        return WIRE_CHANNEL;
    return WIRE_OTHER;
}

void channel_put_header(uint8_t *buf, uint16_t number, uint16_t len)
{
    put_u16(buf, number);
    put_u16(buf + 2, len);
}

int channel_parse(const uint8_t *buf, size_t len, uint16_t *ret_number, const uint8_t **ret_payload,
                  size_t *ret_len)
{
    struct reader r = reader_make(buf, len);
    uint16_t number = reader_u16(&r);
    uint16_t payload_len = reader_u16(&r);
    const uint8_t *payload = reader_bytes(&r, payload_len);

    if (!payload || number < CHANNEL_MIN || number > CHANNEL_MAX)
        return 1;
    *ret_number = number;
    *ret_payload = payload;
    *ret_len = payload_len;
    return 0;
}

/* A stream that has lost its framing cannot find it again, so what is not STUN is told as soon as
 * one byte says so instead of after waiting for a length that somebody made up. */
static ptrdiff_t wire_stun_frame_len(const uint8_t *buf, size_t len)
{
    uint8_t cookie[4];
    uint16_t attrs_len;

    put_u32(cookie, STUN_MAGIC_COOKIE);
    if (len < 4)
        return 0;
    attrs_len = (uint16_t)(buf[2] << 8 | buf[3]);
    if (attrs_len % 4 != 0 || memcmp(buf + 4, cookie, len < 8 ? len - 4 : 4) != 0)
        return -EPROTO;
    return len < 8 ? 0 : (ptrdiff_t)STUN_HEADER_LEN + attrs_len;
}

ptrdiff_t wire_frame_len(const uint8_t *buf, size_t len)
{
    uint16_t payload_len;

    if (len == 0)
        return 0;
    switch (wire_kind_of(buf[0])) {
    case WIRE_STUN:
        return wire_stun_frame_len(buf, len);
    case WIRE_CHANNEL:
        if (len < CHANNEL_HEADER_LEN)
            return 0;
        payload_len = (uint16_t)(buf[2] << 8 | buf[3]);
        return CHANNEL_HEADER_LEN + payload_len + (ptrdiff_t)stun_padding(payload_len);
    case WIRE_DTLS:
    case WIRE_OTHER:
        break;
    }
    return -EPROTO;
}
