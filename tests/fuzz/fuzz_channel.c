/* ChannelData and the framing of a stream: any number of bytes may have arrived so far. */
#include <errno.h>

#include "common/wire/channel.h"
#include "common/wire/stun.h"
#include "tests/fuzz/fuzz.h"
#include "tests/wire/touch.h"

static volatile unsigned int sink;

static void check_parse(const uint8_t *data, size_t size)
{
    const uint8_t *payload;
    uint16_t number;
    size_t len;
    int r = channel_parse(data, size, &number, &payload, &len);

    fuzz_check(r == 0 || r == 1);
    if (r != 0)
        return;
    fuzz_check(number >= CHANNEL_MIN && number <= CHANNEL_MAX);
    fuzz_check(payload == data + CHANNEL_HEADER_LEN && len <= size - CHANNEL_HEADER_LEN);
    sink = touch_bytes(payload, len);
}

/* What has been said about a frame holds when more bytes arrive. */
static ptrdiff_t check_frame_len(const uint8_t *data, size_t size)
{
    ptrdiff_t said = 0;

    for (size_t n = 0; n <= size && n <= 16; n++) {
        ptrdiff_t r = wire_frame_len(data, n);

        fuzz_check(r == 0 || r == -EPROTO || r >= CHANNEL_HEADER_LEN);
        fuzz_check(said == 0 || r == said);
        said = r;
    }
    fuzz_check(wire_frame_len(data, size) == said);
    return said;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ptrdiff_t frame = check_frame_len(data, size);
    const uint8_t *payload;
    uint16_t number;
    size_t len;

    check_parse(data, size);
    if (frame <= 0)
        return 0;
    fuzz_check(frame % 4 == 0);
    if ((size_t)frame > size || wire_kind_of(data[0]) != WIRE_CHANNEL)
        return 0;
    fuzz_check(channel_parse(data, (size_t)frame, &number, &payload, &len) == 0);
    fuzz_check((size_t)frame == CHANNEL_HEADER_LEN + len + stun_padding(len));
    return 0;
}
