/*
 * common/base/cursor.h - read and write network-order fields without overrunning
 *
 * Both cursors are sticky: the first access that does not fit marks the cursor
 * failed, later reads yield zero and later writes do nothing. Decoders read
 * straight through and test `failed` once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct reader {
    const uint8_t *data;
    size_t len, pos;
    bool failed;
};

struct writer {
    uint8_t *data;
    size_t cap, len;
    bool failed;
};

static inline struct reader reader_make(const void *data, size_t len)
{
    return (struct reader){.data = data, .len = len};
}

static inline size_t reader_left(const struct reader *r)
{
    return r->failed ? 0 : r->len - r->pos;
}

/* Borrows the next `n` bytes, or NULL. */
static inline const uint8_t *reader_bytes(struct reader *r, size_t n)
{
    const uint8_t *at;

    if (r->failed || n > r->len - r->pos) {
        r->failed = true;
        return NULL;
    }
    at = r->data + r->pos;
    r->pos += n;
    return at;
}

static inline uint8_t reader_u8(struct reader *r)
{
    const uint8_t *p = reader_bytes(r, 1);

    return p ? p[0] : 0;
}

static inline uint16_t reader_u16(struct reader *r)
{
    const uint8_t *p = reader_bytes(r, 2);

    return p ? (uint16_t)(p[0] << 8 | p[1]) : 0;
}

static inline uint32_t reader_u32(struct reader *r)
{
    const uint8_t *p = reader_bytes(r, 4);

    return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

static inline struct writer writer_make(void *data, size_t cap)
{
    return (struct writer){.data = data, .cap = cap};
}

/* Room for `n` bytes at the end, or NULL. */
static inline uint8_t *writer_reserve(struct writer *w, size_t n)
{
    uint8_t *at;

    if (w->failed || n > w->cap - w->len) {
        w->failed = true;
        return NULL;
    }
    at = w->data + w->len;
    w->len += n;
    return at;
}

static inline void writer_bytes(struct writer *w, const void *data, size_t n)
{
    uint8_t *p = writer_reserve(w, n);

    if (p && n > 0)
        memcpy(p, data, n);
}

static inline void writer_zeros(struct writer *w, size_t n)
{
    uint8_t *p = writer_reserve(w, n);

    if (p && n > 0)
        memset(p, 0, n);
}

static inline void writer_u8(struct writer *w, uint8_t v)
{
    writer_bytes(w, &v, 1);
}

static inline void put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void put_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static inline void writer_u16(struct writer *w, uint16_t v)
{
    uint8_t *p = writer_reserve(w, 2);

    if (p)
        put_u16(p, v);
}

static inline void writer_u32(struct writer *w, uint32_t v)
{
    uint8_t *p = writer_reserve(w, 4);

    if (p)
        put_u32(p, v);
}
