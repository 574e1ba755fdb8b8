/* DNS queries as a sealed app sends them: what is read can be refused, and the refusal answers it.
 */
#include <errno.h>
#include <string.h>

#include "common/wire/dns.h"
#include "tests/fuzz/fuzz.h"

static void check_refusal(const uint8_t *data, const struct dns_question *q, enum dns_rcode rcode)
{
    uint8_t refusal[DNS_FAILURE_MAX], *copy;
    size_t len = dns_put_failure(refusal, data, q, rcode);

    fuzz_check(len == DNS_HEADER_LEN + q->question_len);
    /* In a buffer of its own size, so that a sanitizer sees a read beyond it. */
    copy = malloc(len);
    fuzz_check(copy);
    memcpy(copy, refusal, len);
    fuzz_check((copy[3] & 0xf) == (uint8_t)rcode);
    if (q->question_len > 0)
        fuzz_check(dns_answers(copy, len, q->id, data + DNS_HEADER_LEN, q->question_len));
    fuzz_check(!dns_answers(copy, len, q->id ^ 1, data + DNS_HEADER_LEN, q->question_len));
    fuzz_check(dns_read_query(copy, len, &(struct dns_question){0}) == -EBADMSG);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dns_question q;
    int r = dns_read_query(data, size, &q);

    fuzz_check(r == 0 || r == -EBADMSG || r == DNS_RCODE_FORMERR || r == DNS_RCODE_NOTIMP);
    if (r < 0)
        return 0;
    check_refusal(data, &q, r > 0 ? (enum dns_rcode)r : DNS_RCODE_NXDOMAIN);
    if (r > 0)
        return 0;
    fuzz_check(q.question_len >= 5 && DNS_HEADER_LEN + q.question_len <= size);
    fuzz_check(strlen(q.name) <= DNS_NAME_MAX);
    for (const char *c = q.name; *c; c++)
        fuzz_check(*c > ' ' && *c < 0x7f && !(*c >= 'A' && *c <= 'Z'));
    (void)dns_name_is_global(q.name);
    return 0;
}
