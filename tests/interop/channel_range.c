/*
 * tests/interop/channel_range.c - keeps coturn's client inside RFC 8656's channel numbers
 *
 * turnutils_uclient 4.6.1 picks a channel number at random from RFC 5766's range, 0x4000 to
 * 0x7FFF. RFC 8656, section 12, ends it at 0x4FFF (the rest is DTLS's on a shared port, RFC
 * 7983), and callveil answers 400 beyond: three picks in four would fail. Preloaded into the
 * tool, this clears the two bits that leave the range, in the only kind of random number it
 * is made from (the tool asks for a long). Everything else stays as random as it was.
 */
#define _GNU_SOURCE
#include <dlfcn.h>

int RAND_bytes(unsigned char *buf, int num);

int RAND_bytes(unsigned char *buf, int num)
{
    static int (*real)(unsigned char *, int);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "RAND_bytes");
    if (!real)
        return 0;
    int ret = real(buf, num);
    if (num == (int)sizeof(long))
        buf[1] &= 0xCF;
    return ret;
}
