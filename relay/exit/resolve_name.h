/*
 * relay/exit/resolve_name.h - in which form names are asked for
 *
 * Pure text, no state. Which of them may leave is dns_name_is_global()'s to say
 * (common/wire/dns.h).
 */
#pragma once

#include <stdbool.h>

#define RESOLVE_NAME_MAX 253 /* characters, without the root's dot (RFC 1035, section 2.3.4) */

/* Lower case, without a final dot. Letters, digits, '-' and '_' only, labels of 1 to 63: everything
 * else is no host name. `ret` holds RESOLVE_NAME_MAX + 1. Return: false when it is none. */
bool resolve_name_canonical(const char *name, char *ret);
