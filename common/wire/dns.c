#include "common/wire/dns.h"

#include <errno.h>
#include <string.h>

#include "common/base/cursor.h"

#define DNS_QR     0x8000u
#define DNS_OPCODE 0x7800u
#define DNS_RD     0x0100u
#define DNS_RA     0x0080u
#define DNS_CD     0x0010u

static char dns_char(uint8_t byte)
{
    if (byte <= ' ' || byte >= 0x7f || byte == '.')
        return '?';
    return (char)(byte >= 'A' && byte <= 'Z' ? byte - 'A' + 'a' : byte);
}

/* Uncompressed: there is nothing before a question that it could point to. Return: false when it is
 * no name. */
static bool dns_read_name(struct reader *r, char *ret)
{
    size_t len = 0;

    for (;;) {
        uint8_t label_len = reader_u8(r);
        const uint8_t *label = label_len < 64 ? reader_bytes(r, label_len) : NULL;

        if (!label)
            return false;
        if (label_len == 0)
            break;
        if (len + label_len > DNS_NAME_MAX)
            return false;
        for (uint8_t i = 0; i < label_len; i++)
            ret[len++] = dns_char(label[i]);
        ret[len++] = '.';
    }
    ret[len > 0 ? len - 1 : 0] = '\0';
    return true;
}

int dns_read_query(const uint8_t *data, size_t len, struct dns_question *ret)
{
    struct reader r = reader_make(data, len);
    uint16_t flags, n_questions;

    *ret = (struct dns_question){.id = reader_u16(&r)};
    flags = reader_u16(&r);
    n_questions = reader_u16(&r);
    (void)reader_bytes(&r, 6);
    if (r.failed || (flags & DNS_QR))
        return -EBADMSG;
    if (flags & DNS_OPCODE)
        return DNS_RCODE_NOTIMP;
    if (n_questions != 1 || !dns_read_name(&r, ret->name))
        return DNS_RCODE_FORMERR;
    ret->type = reader_u16(&r);
    (void)reader_u16(&r);
    if (r.failed)
        return DNS_RCODE_FORMERR;
    ret->question_len = r.pos - DNS_HEADER_LEN;
    return 0;
}

bool dns_answers(const uint8_t *data, size_t len, uint16_t id, const uint8_t *question,
                 size_t question_len)
{
    struct reader r = reader_make(data, len);
    uint16_t its_id = reader_u16(&r), flags = reader_u16(&r), n_questions = reader_u16(&r);
    const uint8_t *echo;

    (void)reader_bytes(&r, 6);
    if (r.failed || its_id != id || !(flags & DNS_QR))
        return false;
    if (n_questions == 0)
        return (flags & 0xf) != DNS_RCODE_OK;
    echo = reader_bytes(&r, question_len);
    return n_questions == 1 && echo && memcmp(echo, question, question_len) == 0;
}

size_t dns_put_failure(uint8_t *ret, const uint8_t *data, const struct dns_question *query,
                       enum dns_rcode rcode)
{
    struct writer w = writer_make(ret, DNS_FAILURE_MAX);
    struct reader r = reader_make(data + 2, 2);
    uint16_t asked = reader_u16(&r);

    writer_u16(&w, query->id);
    writer_u16(&w, (uint16_t)(DNS_QR | DNS_RA | (asked & (DNS_OPCODE | DNS_RD | DNS_CD)) | rcode));
    writer_u16(&w, query->question_len > 0);
    writer_zeros(&w, 6);
    writer_bytes(&w, data + DNS_HEADER_LEN, query->question_len);
    return w.len;
}

static bool is_number(const char *label)
{
    if (label[0] == '0' && label[1] == 'x')
        return label[2 + strspn(label + 2, "0123456789abcdef")] == '\0';
    return label[strspn(label, "0123456789")] == '\0';
}

bool dns_name_is_global(const char *name)
{
    static const char *const local[] = {"onion", "local", "localhost", "internal"};
    const char *last = strrchr(name, '.');

    if (!last || is_number(last + 1))
        return false;
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
        if (strcmp(last + 1, local[i]) == 0)
            return false;
    return true;
}
