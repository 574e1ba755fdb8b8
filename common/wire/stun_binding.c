#include "common/wire/stun.h"

size_t stun_answer_binding(uint8_t *buf, const uint8_t *request, size_t len,
                           const struct addr *mapped)
{
    struct stun_builder b;
    struct stun_msg m;

    if (stun_decode(&m, request, len) != 0 || m.class != STUN_REQUEST || m.method != STUN_BINDING)
        return 0;
    stun_begin(&b, buf, STUN_BINDING_ANSWER_MAX, m.n_unknown > 0 ? STUN_ERROR : STUN_SUCCESS,
               STUN_BINDING, m.txid);
    if (m.n_unknown > 0) {
        stun_put_error(&b, 420);
        stun_put_unknown(&b, m.unknown, m.n_unknown);
    } else {
        stun_put_addr(&b, STUN_XOR_MAPPED_ADDRESS, mapped);
    }
    if (stun_has(&m, STUN_FINGERPRINT))
        stun_put_fingerprint(&b);
    return stun_finish(&b);
}
