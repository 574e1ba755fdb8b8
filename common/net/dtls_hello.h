/*
 * common/net/dtls_hello.h - is this datagram a DTLS ClientHello?
 *
 * The gate before OpenSSL: strangers get no further with anything else. Reads
 * only; OpenSSL still parses the whole message itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cursor.h"

#define DTLS_RECORD_HEADER 13
#define DTLS_RANDOM_LEN    32

enum {
    DTLS_CONTENT_HANDSHAKE = 22,
    DTLS_CLIENT_HELLO = 1,
    DTLS_VERSION_MAJOR = 254, /* one's complement of 1 (RFC 6347, section 4.1) */
};

/* Whether `data` starts with an unencrypted record (epoch 0) that holds the beginning of a
 * ClientHello; a message cut into fragments counts by its first, which has the cookie
 * (RFC 6347, sections 4.1 and 4.2.2). Then `*ret_random` is the client's random. */
static inline bool dtls_hello_random(const uint8_t *data, size_t len,
                                     uint8_t ret_random[DTLS_RANDOM_LEN])
{
    struct reader r = reader_make(data, len);
    uint8_t content = reader_u8(&r), major = reader_u8(&r);
    const uint8_t *random;
    uint16_t epoch, record_len;
    uint8_t message, offset_high;

    reader_u8(&r); /* minor version: not said for sure before the handshake is done */
    epoch = reader_u16(&r);
    reader_bytes(&r, 6); /* sequence number */
    record_len = reader_u16(&r);
    if (content != DTLS_CONTENT_HANDSHAKE || major != DTLS_VERSION_MAJOR || epoch != 0 ||
        record_len > reader_left(&r))
        return false;
    r.len = r.pos + record_len;
    message = reader_u8(&r);
    reader_bytes(&r, 5); /* length, message_seq */
    offset_high = reader_u8(&r);
    if (message != DTLS_CLIENT_HELLO || offset_high != 0 || reader_u16(&r) != 0)
        return false;
    reader_bytes(&r, 5); /* fragment_length, client_version */
    random = reader_bytes(&r, DTLS_RANDOM_LEN);
    if (!random)
        return false;
    memcpy(ret_random, random, DTLS_RANDOM_LEN);
    return true;
}
