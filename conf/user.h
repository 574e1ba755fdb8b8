/*
 * conf/user.h - one line of [users]
 */
#pragma once

#include <stdbool.h>

#include "conf/conf.h"

/* Short enough for a line of inih's buffer; STUN itself allows 508 (RFC 8489, section 14.3). */
#define USER_NAME_MAX 128

/* `value` is a password, or unless `quoted` "key:0x..." with one stored key or two. No reason
 * repeats it. Return: 0 and *ret, for user_deinit(); -ENOMEM; VALUE_E_BAD with the reason in
 * `why` (conf/value.h). */
int user_parse(const char *name, const char *value, bool quoted, struct conf_user *ret, char *why);

/* Wipes and frees what the user holds. */
void user_deinit(struct conf_user *user);
