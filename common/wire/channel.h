/*
 * common/wire/channel.h - ChannelData and telling messages apart
 *
 * Source: RFC 8656, sections 12.4-12.6; RFC 7983 for the first byte.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CHANNEL_HEADER_LEN 4
#define CHANNEL_MIN        0x4000
#define CHANNEL_MAX        0x4FFF

/* What a message's first byte says it is (RFC 7983, section 7, with RFC 8656's channel range). */
enum wire_kind {
    WIRE_STUN,    /* 0..3 */
    WIRE_DTLS,    /* 20..63; over a stream 22 starts a TLS handshake */
    WIRE_CHANNEL, /* 64..79 */
    WIRE_OTHER,
};

enum wire_kind wire_kind_of(uint8_t first_byte);

/* Writes the 4-byte header; `len` is the payload's length without padding. */
void channel_put_header(uint8_t *buf, uint16_t number, uint16_t len);

/* Reads a ChannelData message of `len` bytes (a datagram, or one framed message of a stream).
 * Padding after the payload is accepted. Return: 0; or 1 when it is not ChannelData or its
 * Length goes beyond the message (to be dropped). `*ret_payload` points into `buf`. */
int channel_parse(const uint8_t *buf, size_t len, uint16_t *ret_number, const uint8_t **ret_payload,
                  size_t *ret_len);

/* Where the message at the start of a stream's bytes ends, padding included (ChannelData over a
 * stream is padded to four bytes, RFC 8656, section 12.5). Return: its length in bytes,
 * which may be more than `len`; 0 when more bytes are needed to tell; or -EPROTO when no STUN or
 * ChannelData message starts here. */
ptrdiff_t wire_frame_len(const uint8_t *buf, size_t len);
