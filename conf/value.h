/*
 * conf/value.h - one typed value out of its text
 *
 * No function here knows which option it reads for. All of them answer 0 and write `ret_`, or
 * VALUE_E_BAD and put the reason into `why` (VALUE_WHY_LEN bytes), worded to follow "name: ".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/log.h"
#include "common/net/addr.h"
#include "conf/conf.h"

/* Documented answer: the text is wrong, `why` says how. */
#define VALUE_E_BAD 1

#define VALUE_WHY_LEN 256

/* Writes `why`. Return: VALUE_E_BAD. */
__attribute__((format(printf, 2, 3))) int value_bad(char *why, const char *format, ...);

/* `text` in double quotes, unprintable bytes as \xNN, cut to fit. Return: `buf`. */
#define VALUE_QUOTE_LEN 96
const char *value_quote(const char *text, char *buf);

/*
 * What the right-hand side of a line means, in place: surrounding blanks go, and so does a comment
 * ('#' or ';' behind a blank). A text in double quotes is taken as it is, \" and \\ standing for
 * the character.
 *
 * `secret`: a text that only the operator can tell from a password with a comment ("pass #word") is
 * refused instead of cut short, and no reason repeats the text.
 */
int value_unwrap(char *text, bool secret, bool *ret_quoted, char *why);

/* Cuts the next item off a comma separated list, in place, blanks removed. Return: NULL at its
 * end. */
char *value_next_item(char **rest);

int value_yesno(const char *text, bool *ret, char *why);
int value_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret, char *why);
/* A number with an optional k, M or G (powers of 1000). */
int value_size(const char *text, uint64_t min, uint64_t max, uint64_t *ret, char *why);
/* Seconds, or a number with s, m, h or d. */
int value_duration(const char *text, uint64_t min, uint64_t max, uint64_t *ret, char *why);
/* "low-high". */
int value_ports(const char *text, uint16_t min, uint16_t max, uint16_t *ret_min, uint16_t *ret_max,
                char *why);
int value_log_level(const char *text, enum log_level *ret, char *why);
/* An IP address without a port that is not a wildcard; ret->port is 0. */
int value_ip(const char *text, struct addr *ret, char *why);
/* An IP address with a port. */
int value_addr(const char *text, struct addr *ret, char *why);
int value_range(const char *text, struct addr_range *ret, char *why);
/* "udp://192.0.2.1:3478". */
int value_listen(const char *text, struct conf_listen *ret, char *why);
/* The realm as REALM carries it: OpaqueString, fit for a quoted-string, under 128 characters
 * (RFC 8489, section 14.9). Return: also -ENOMEM. */
int value_realm(const char *text, char **ret, char *why);
