/*
 * common/wire/dns.h - DNS messages as far as somebody who passes them on must read them
 *
 * A query's header and its one question, and answers that say no. Names are text in
 * lower case without the root's dot; a byte that no name in text could hold (a dot
 * within a label, a NUL) becomes '?', so that it never looks like another name.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_HEADER_LEN  12
#define DNS_NAME_MAX    253 /* characters (RFC 1035, section 2.3.4) */
#define DNS_FAILURE_MAX (DNS_HEADER_LEN + 255 + 4)

#define DNS_TYPE_A    1
#define DNS_TYPE_AAAA 28

enum dns_rcode {
    DNS_RCODE_OK = 0,
    DNS_RCODE_FORMERR = 1,
    DNS_RCODE_SERVFAIL = 2,
    DNS_RCODE_NXDOMAIN = 3,
    DNS_RCODE_NOTIMP = 4,
};

struct dns_question {
    uint16_t id;
    size_t question_len; /* behind the header; 0 when it cannot be read */
    uint16_t type;
    char name[DNS_NAME_MAX + 1];
};

/* Return: 0 and *ret; -EBADMSG: no query at all, to be dropped; or > 0, the enum dns_rcode to
 * answer with (*ret is written, too). */
int dns_read_query(const uint8_t *data, size_t len, struct dns_question *ret);

/* Whether `data` is the answer to a query with this id and these question bytes. An error without
 * a question (RFC 8906's older servers) will do. */
bool dns_answers(const uint8_t *data, size_t len, uint16_t id, const uint8_t *question,
                 size_t question_len);

/* The answer to the query `data`, as dns_read_query() read it: nothing but the code (DNS_RCODE_OK:
 * there are no such records). `ret` holds DNS_FAILURE_MAX. Return: its length. */
size_t dns_put_failure(uint8_t *ret, const uint8_t *data, const struct dns_question *query,
                       enum dns_rcode rcode);

/* Whether a name in lower case is a global one: two labels at least, the last not a number (that
 * would be one of inet_aton()'s spellings of an address) and none of the local domains. Others must
 * not be sent to a server far away (RFC 6761, 6762, 7686, 8375's kin): it would tell the server
 * what was meant to stay here, and no answer could be right. */
bool dns_name_is_global(const char *name);
