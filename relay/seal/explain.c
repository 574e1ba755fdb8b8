#include "relay/seal/explain.h"

#include <stdio.h>

#include "relay/seal/browser.h"
#include "relay/seal/place.h"

#define STR_(x) #x
#define STR(x)  STR_(x)

static const char text[] =
    "A user, a network and a mount namespace are made, by an ordinary user, for as long as the\n"
    "program runs.\n"
    "\n"
    "Network: loopback, and a pair of interfaces (" PLACE_NEAR ", " PLACE_FAR
    ") that lead to each other. The\n"
    "program finds the addresses " PLACE_NEAR_V4 " and " PLACE_NEAR_V6
    ", the same for everybody, and a default\n"
    "route that ends where it begins. No interface leads outside. The MTU is " STR(
        PLACE_MTU) ": what fits\n"
                   "into one packet leaves for the relay in one.\n"
                   "\n"
                   "What it sends: TCP and UDP to any address outside go to a gate in \"callveil "
                   "local\", and from\n"
                   "there through the relay. DNS too, to whatever server. Everything else (ping, "
                   "multicast,\n"
                   "broadcast, other protocols, other senders' addresses) is refused at once. This "
                   "machine's\n"
                   "loopback services and its local network are not reachable.\n"
                   "\n"
                   "The router it finds, " PLACE_ROUTER_V4
                   ", is the gate: DNS, STUN and TURN, and a stats page of its own\n"
                   "with a leak check, which asks for a token that a browser's \"callveil run\" "
                   "prints.\n"
                   "\n"
                   "Files: /etc/resolv.conf names the gate, /etc/nsswitch.conf asks files and DNS "
                   "only, and the\n"
                   "sockets of nscd, systemd-resolved and Avahi are hidden. All other files are as "
                   "ever, and with\n"
                   "them the unix sockets of the desktop (X11, Wayland, sound, D-Bus): a program "
                   "that asks a\n"
                   "service there to connect for it is outside the seal.\n"
                   "\n"
                   "Process: the same user, no capabilities, no_new_privs, no descriptors but 0, 1 "
                   "and 2, no\n"
                   "proxies in its environment, sockets of the kinds unix, IPv4, IPv6 and netlink "
                   "only, no\n"
                   "io_uring. Namespaces that it makes have no way out either, so that the "
                   "sandboxes of browsers\n"
                   "work as ever.\n"
                   "\n"
                   "When \"callveil local\" ends, the program has no network until one of this "
                   "user's runs again. When\n"
                   "the small process that keeps the namespace ends, it has none any more.\n";

void explain(char **command)
{
    const char *browser = command[0] ? browser_describe(command) : NULL;

    fputs(text, stdout);
    if (browser)
        printf(
            "\n%s is %s DIR is added, unless the command chooses a\n"
            "profile itself, with a new folder that is removed at the end (or that of --profile):\n"
            "a browser that found its profile in use would hand the page to the one outside.\n",
            command[0], browser);
}
