/*
 * relay/exit/resolve_name.h - which names may be asked for, and in which form
 *
 * Pure text, no state. A name that only means something on one machine or one local
 * network (RFC 6761, 6762, 7686, 8375's kin) must not be sent to a server far away: it
 * would tell the server what was meant to stay here, and no answer could be right.
 */
#pragma once

#include <stdbool.h>

#define RESOLVE_NAME_MAX 253 /* characters, without the root's dot (RFC 1035, section 2.3.4) */

/* Lower case, without a final dot. Letters, digits, '-' and '_' only, labels of 1 to 63: everything
 * else is no host name. `ret` holds RESOLVE_NAME_MAX + 1. Return: false when it is none. */
bool resolve_name_canonical(const char *name, char *ret);

/* Whether a canonical name is a global one: two labels at least, the last not a number (that would
 * be one of inet_aton()'s spellings of an address) and none of the local domains. */
bool resolve_name_is_global(const char *name);
