/* Addresses and ranges as text: what parses prints, and parses to the same again. */
#include <string.h>

#include "common/net/addr.h"
#include "tests/fuzz/fuzz.h"

static void check_addr(const struct addr *addr)
{
    struct addr again = {0};
    struct sockaddr_storage sa;
    char text[ADDR_STRLEN];

    fuzz_check(addr->family == ADDR_IPV4 || addr->family == ADDR_IPV6);
    fuzz_check(addr_parse(addr_format(addr, text, sizeof(text)), &again));
    fuzz_check(addr_equal(addr, &again));
    addr_to_sockaddr(addr, &sa);
    again = addr_from_sockaddr((const struct sockaddr *)&sa);
    fuzz_check(addr_equal(addr, &again));
}

static void check_range(const struct addr_range *range)
{
    struct addr_range again = {0};
    char text[ADDR_STRLEN + 8], ip[ADDR_STRLEN];

    fuzz_check(range->bits <= addr_ip_len(&range->base) * 8);
    fuzz_check(addr_range_contains(range, &range->base));
    snprintf(text, sizeof(text), "%s/%u", addr_format_ip(&range->base, ip, sizeof(ip)),
             range->bits);
    fuzz_check(addr_range_parse(text, &again));
    fuzz_check(again.bits == range->bits && addr_equal(&again.base, &range->base));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct addr_range range;
    struct addr addr;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (addr_parse(text, &addr))
        check_addr(&addr);
    if (addr_parse_ip(text, 3478, &addr))
        check_addr(&addr);
    if (addr_range_parse(text, &range))
        check_range(&range);
    free(text);
    return 0;
}
