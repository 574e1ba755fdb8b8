#include "relay/demo/media.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cursor.h"

#define RTP_HEADER_LEN 12
#define RTP_VERSION_2  0x80

enum {
    DEMO_STATE_SENT = 1,
    DEMO_STATE_RECEIVED = 2,
};

int demo_stream_init(struct demo_stream *s, uint8_t payload_type, size_t len, uint32_t time_step,
                     unsigned int n_max)
{
    uint8_t seed[10];
    struct reader r = reader_make(seed, sizeof(seed));

    if (RAND_bytes(seed, sizeof(seed)) != 1)
        return -EIO;
    *s = (struct demo_stream){
        .payload_type = payload_type, .time_step = time_step, .len = len, .n_max = n_max};
    s->ssrc = reader_u32(&r) | 0x80800000u;
    /* Far from both ends, so that a few minutes of steps leave the top bit alone. */
    s->time0 = (reader_u32(&r) & 0x0fffffffu) | 0x80000000u;
    s->seq0 = reader_u16(&r);
    s->state = calloc(n_max > 0 ? n_max : 1, 1);
    return s->state ? 0 : -ENOMEM;
}

void demo_stream_deinit(struct demo_stream *s)
{
    free(s->state);
    s->state = NULL;
}

static void demo_stream_write(const struct demo_stream *s, unsigned int i, uint8_t *buf)
{
    struct writer w = writer_make(buf, DEMO_PACKET_MAX);

    writer_u8(&w, RTP_VERSION_2);
    writer_u8(&w, s->payload_type);
    writer_u16(&w, (uint16_t)(s->seq0 + i));
    writer_u32(&w, s->time0 + i * s->time_step);
    writer_u32(&w, s->ssrc);
    for (size_t k = RTP_HEADER_LEN; k < s->len; k++)
        writer_u8(&w, (uint8_t)(0x80 | (s->ssrc + i * 31 + k * 7)));
}

size_t demo_stream_send(struct demo_stream *s, unsigned int i, uint8_t *buf)
{
    demo_stream_write(s, i, buf);
    s->state[i] |= DEMO_STATE_SENT;
    s->n_sent++;
    return s->len;
}

bool demo_stream_receive(struct demo_stream *s, const uint8_t *data, size_t len,
                         unsigned int *ret_i)
{
    uint8_t expected[DEMO_PACKET_MAX];
    struct reader r = reader_make(data, len);
    unsigned int i;

    reader_u16(&r);
    i = (uint16_t)(reader_u16(&r) - s->seq0);
    if (r.failed || len != s->len || i >= s->n_max || !(s->state[i] & DEMO_STATE_SENT))
        return false;
    demo_stream_write(s, i, expected);
    if (memcmp(expected, data, len) != 0)
        return false;
    if (s->state[i] & DEMO_STATE_RECEIVED)
        s->n_twice++;
    else
        s->n_received++;
    s->state[i] |= DEMO_STATE_RECEIVED;
    *ret_i = i;
    return true;
}
