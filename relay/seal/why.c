#include "relay/seal/why.h"

#include <stdarg.h>
#include <stdio.h>

int seal_fail(char why[SEAL_WHY_LEN], const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why, SEAL_WHY_LEN, format, args);
    va_end(args);
    return -1;
}
