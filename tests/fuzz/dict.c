/* Prints a libFuzzer dictionary: the attribute table's types, the cookie, and lengths that hurt. */
#include <stdio.h>

#include "common/wire/stun.h"

int main(void)
{
    for (int attr = 0; attr < STUN_N_ATTRS; attr++)
        printf("# %s\n\"\\x%02x\\x%02x\"\n", stun_attrs[attr].name, stun_attrs[attr].type >> 8u,
               stun_attrs[attr].type & 0xFFu);
    printf("# cookie\n\"\\x21\\x12\\xa4\\x42\"\n");
    printf("# "
           "lengths\n\"\\xff\\xff\"\n\"\\xff\\xfc\"\n\"\\x00\\x00\"\n\"\\x00\\x14\"\n\"\\x00\\x20\""
           "\n");
    return 0;
}
