/*
 * tests/wire/touch.h - read everything a decoded message offers
 *
 * For fuzzing and truncation: with a sanitizer, touching each byte that a getter
 * hands out proves that it lies inside the message.
 */
#pragma once

#include "common/wire/stun.h"

static inline unsigned int touch_bytes(const uint8_t *bytes, size_t len)
{
    unsigned int sum = 0;

    for (size_t i = 0; i < len; i++)
        sum += bytes[i];
    return sum;
}

static inline unsigned int touch_attr(const struct stun_msg *m, enum stun_attr attr)
{
    struct addr addr = {0};
    const uint8_t *bytes;
    size_t len = 0;
    uint8_t u8 = 0;
    uint16_t u16 = 0;
    uint32_t u32 = 0;
    unsigned int sum = 0;

    bytes = stun_get(m, attr, &len);
    sum += bytes ? touch_bytes(bytes, len) : 0;
    sum += stun_get_u8(m, attr, &u8) ? u8 : 0u;
    sum += stun_get_u16(m, attr, &u16) ? u16 : 0u;
    sum += stun_get_u32(m, attr, &u32) ? u32 : 0u;
    sum += stun_get_addr(m, attr, &addr) ? addr.port : 0u;
    return sum;
}

/* Return: a number that depends on everything read, so that nothing is optimised away. */
static inline unsigned int touch_message(const struct stun_msg *m)
{
    static const uint8_t key[16] = {1, 2, 3};
    struct addr addr = {0};
    unsigned int code = 0, sum = 0;

    for (int attr = 0; attr < STUN_N_ATTRS; attr++)
        sum += touch_attr(m, (enum stun_attr)attr);
    for (unsigned int i = 0; i < m->n_peers + 1u; i++)
        sum += stun_get_peer_family(m, i) + (stun_get_peer(m, i, &addr) ? addr.ip[0] : 0u);
    for (unsigned int i = 0; i < m->n_unknown; i++)
        sum += m->unknown[i];
    sum += stun_get_error(m, &code) ? code : 0;
    sum += stun_check_integrity(m, STUN_INTEGRITY_SHA1, key, sizeof(key));
    sum += stun_check_integrity(m, STUN_INTEGRITY_SHA256, key, sizeof(key));
    return sum;
}
