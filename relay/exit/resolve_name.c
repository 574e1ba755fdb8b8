#include "relay/exit/resolve_name.h"

#include <stddef.h>
#include <string.h>

#define LABEL_MAX 63

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char lower(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    return c;
}

/* A backslash would be c-ares' escape, a colon or a space nobody's host name. */
static bool is_name_char(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || c == '-' || c == '_';
}

bool resolve_name_canonical(const char *name, char *ret)
{
    size_t len = strnlen(name, RESOLVE_NAME_MAX + 2), label = 0;

    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == 0 || len > RESOLVE_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = lower(name[i]);

        if (c == '.' ? label == 0 : !is_name_char(c) || label == LABEL_MAX)
            return false;
        label = c == '.' ? 0 : label + 1;
        ret[i] = c;
    }
    ret[len] = '\0';
    return label > 0;
}
