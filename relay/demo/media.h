/*
 * relay/demo/media.h - the demo's audio and video: RTP-like packets that can be checked
 *
 * A packet is an RTP header (RFC 3550, section 5.1) and a payload that follows from
 * the stream and the packet's number, so that the receiving side can recompute it
 * and compare every byte. Each number is marked when it was sent and when it came.
 *
 * Payload bytes and the upper half of SSRC and timestamp have their top bit set: no
 * media can look like a loopback address (127.0.0.x), plain or XORed by STUN, to the
 * search for leaked addresses (link.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEMO_PACKET_MAX 1200

/* What one peer sends, numbered from 0. */
struct demo_stream {
    uint8_t payload_type;
    uint16_t seq0;
    uint32_t ssrc, time0, time_step;
    size_t len; /* of each packet, header included */
    unsigned int n_max;
    uint8_t *state; /* of n_max packets */
    unsigned int n_sent, n_received;
    unsigned int n_twice; /* duplicates */
};

/* `n_max` at most 65535: sequence numbers do not come round. Return: 0, -ENOMEM, or -EIO without
 * randomness. */
int demo_stream_init(struct demo_stream *s, uint8_t payload_type, size_t len, uint32_t time_step,
                     unsigned int n_max);
void demo_stream_deinit(struct demo_stream *s);

/* Packet `i` into `buf` (DEMO_PACKET_MAX), marked as sent. Return: its length. */
size_t demo_stream_send(struct demo_stream *s, unsigned int i, uint8_t *buf);

/* Whether `data` is, to the last byte, a packet that was sent on this stream; marks it as
 * received. */
bool demo_stream_receive(struct demo_stream *s, const uint8_t *data, size_t len,
                         unsigned int *ret_i);

static inline unsigned int demo_stream_n_lost(const struct demo_stream *s)
{
    return s->n_sent - s->n_received;
}
