/* stun_decode() and every getter; what decodes must also encode, and decode to the same again. */
#include <string.h>

#include "common/base/cursor.h"
#include "common/wire/stun.h"
#include "tests/fuzz/fuzz.h"
#include "tests/wire/touch.h"

static volatile unsigned int sink;

static bool is_rebuilt(enum stun_attr attr)
{
    return attr != STUN_MESSAGE_INTEGRITY && attr != STUN_MESSAGE_INTEGRITY_SHA256 &&
           attr != STUN_FINGERPRINT;
}

static void check_same_values(const struct stun_msg *a, const struct stun_msg *b)
{
    const uint8_t *va, *vb;
    size_t la = 0, lb = 0;

    for (int attr = 0; attr < STUN_N_ATTRS; attr++) {
        if (!is_rebuilt((enum stun_attr)attr))
            continue;
        va = stun_get(a, (enum stun_attr)attr, &la);
        vb = stun_get(b, (enum stun_attr)attr, &lb);
        fuzz_check(!va == !vb);
        fuzz_check(!va || (la == lb && memcmp(va, vb, la) == 0));
    }
}

static void check_rebuilt(const struct stun_msg *m)
{
    static uint8_t buf[STUN_MAX_LEN];
    struct stun_builder b;
    struct stun_msg again;
    const uint8_t *value;
    size_t len = 0, n;

    stun_begin(&b, buf, sizeof(buf), m->class, m->method, m->txid);
    for (int attr = 0; attr < STUN_N_ATTRS; attr++) {
        value = stun_get(m, (enum stun_attr)attr, &len);
        if (value && is_rebuilt((enum stun_attr)attr))
            stun_put(&b, (enum stun_attr)attr, value, len);
    }
    stun_put_integrity(&b, STUN_INTEGRITY_SHA256, m->txid, sizeof(m->txid));
    stun_put_fingerprint(&b);
    n = stun_finish(&b);
    if (n == 0) { /* no room for our own 44 bytes */
        fuzz_check(m->len > STUN_MAX_LEN - 44);
        return;
    }
    fuzz_check(stun_decode(&again, buf, n) == 0);
    fuzz_check(again.class == m->class && again.method == m->method);
    fuzz_check(stun_check_integrity(&again, STUN_INTEGRITY_SHA256, m->txid, sizeof(m->txid)));
    check_same_values(m, &again);
}

static void decode(const uint8_t *data, size_t size)
{
    struct stun_msg m;
    int r = stun_decode(&m, data, size);

    fuzz_check(r == 0 || r == STUN_E_NOT_STUN || r == STUN_E_MALFORMED);
    if (r == STUN_E_NOT_STUN)
        return;
    fuzz_check(m.n_peers <= STUN_MAX_PEERS && m.n_unknown <= STUN_MAX_UNKNOWN);
    sink = touch_message(&m);
    if (r == 0)
        check_rebuilt(&m);
    else
        for (int attr = 0; attr < STUN_N_ATTRS; attr++)
            fuzz_check(!stun_has(&m, (enum stun_attr)attr));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    decode(data, size);
    if (size < STUN_HEADER_LEN || size % 4 != 0 || size > UINT16_MAX)
        return 0;
    /* Again with a header that passes, so that mutations reach the attributes. */
    copy = malloc(size);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    copy[0] &= 0x3F;
    put_u16(copy + 2, (uint16_t)(size - STUN_HEADER_LEN));
    put_u32(copy + 4, STUN_MAGIC_COOKIE);
    decode(copy, size);
    free(copy);
    return 0;
}
