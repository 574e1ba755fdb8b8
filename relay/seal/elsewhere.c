/*
 * In the place of the whole folder where the kernel is not Linux: network namespaces, nftables and
 * transparent sockets are what a seal is made of.
 */
#include <stdio.h>

#include "relay/seal/run.h"
#include "relay/usage.h"

int run_command(int argc, char **argv)
{
    fputs("callveil run: a program can be sealed on Linux only; here, use the SOCKS5 port or the "
          "loopback TURN server of \"callveil local\" (callveil-ways(7))\n",
          stderr);
    return EXIT_USAGE;
}
