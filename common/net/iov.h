/*
 * common/net/iov.h - a message in its three pieces, for what sends by struct iovec
 *
 * A STUN message, or a ChannelData header, the payload and the padding (RFC 8656, section
 * 12.5), without having been copied into one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define IOV_MESSAGE     3
#define IOV_PADDING_MAX 4

/* The pieces stay the caller's. `n_padding`: bytes of zero, up to IOV_PADDING_MAX. */
static inline void iov_message(struct iovec ret[IOV_MESSAGE], const void *header, size_t header_len,
                               const void *payload, size_t payload_len, size_t n_padding)
{
    static const uint8_t zeros[IOV_PADDING_MAX];

    ret[0] = (struct iovec){.iov_base = (void *)(uintptr_t)header, .iov_len = header_len};
    ret[1] = (struct iovec){.iov_base = (void *)(uintptr_t)payload, .iov_len = payload_len};
    ret[2] = (struct iovec){.iov_base = (void *)(uintptr_t)zeros, .iov_len = n_padding};
}
