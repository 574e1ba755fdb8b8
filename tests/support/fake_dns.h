/*
 * tests/support/fake_dns.h - DNS servers behind a fake exit, and the exit's dial()
 *
 * The exit's queries are read, and answers are built record by record, well or badly;
 * by UDP they come as the association's datagrams, by TCP from the far end of a dial.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/support/fake_exit.h"

#define DNS_A     1
#define DNS_CNAME 5
#define DNS_AAAA  28

#define DNS_NOERROR  0
#define DNS_FORMERR  1
#define DNS_SERVFAIL 2
#define DNS_NXDOMAIN 3
#define DNS_REFUSED  5

struct dns_query {
    struct addr server;
    uint16_t id, type;
    char name[256];
    bool has_edns;
    uint8_t data[512]; /* as it came */
    size_t len, question_end;
};

struct dns_answer {
    uint8_t data[4096];
    size_t len;
};

/* What the exit knows as a struct dial; fake_exit.h has its own. */
struct dns_dial {
    struct fake_dials *dials;
    struct addr peer;
    exit_on_dialed *on_dialed;
    void *user;
};

/* A fake exit that dials: one at a time is open to be answered. */
struct fake_dials {
    struct exit_ops ops;
    struct dns_dial *last;
    unsigned int n_dials, n_hung_up;
    bool no_memory;
};

/* Gives `exit` a dial() and a hang_up(). */
void fake_dials_init(struct fake_dials *dials, struct fake_exit *exit);
/* Answers the last dial. Return: the server's end, or NULL on failure. */
struct far *fake_dials_answer(struct fake_dials *dials, enum exit_result result);

/* Return: false when it is no query of one question. */
bool dns_query_read(struct dns_query *q, const uint8_t *data, size_t len);
/* The youngest query for that name and type that the exit sent. Return: false when there is none.
 */
bool dns_query_find(const struct fake_exit *exit, const char *name, uint16_t type,
                    struct dns_query *ret);

void dns_begin(struct dns_answer *a, const struct dns_query *q, unsigned int rcode);
void dns_truncate(struct dns_answer *a);
/* `ip` as text, either family. */
void dns_add_addr(struct dns_answer *a, const char *name, uint32_t ttl, const char *ip);
void dns_add_cname(struct dns_answer *a, const char *name, uint32_t ttl, const char *to);
/* From the server that was asked. */
void dns_send(struct fake_exit *exit, const struct dns_query *q, const struct dns_answer *a);
void dns_send_from(struct fake_exit *exit, const char *source, const struct dns_answer *a);
/* With its length in front. */
void dns_send_tcp(struct far *far, const struct dns_answer *a);
