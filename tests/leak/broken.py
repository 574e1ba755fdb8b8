#!/usr/bin/python3
"""Adds a direct way to a copy of the tree: the mistakes that the leak test is there to catch.

    broken.py PATH/TO/A/COPY

Three of them, each of which somebody could mean well: a connection that the relay cannot make
is made from here; a name that the relay cannot resolve is looked up here; and every 16th
datagram goes straight to its peer. They are wrapped round the upstream exit's own functions, by
its table of operations, so that they need no more than relay/exit.h promises. When the table
cannot be found as expected, this fails, and says so.
"""

import os
import re
import sys

FOLDER = "relay/exit/upstream"
TABLE = re.compile(r"^(?:static )?const struct exit_ops (\w+) = \{(.*?)^\};", re.M | re.S)

WRAPPERS = """
/* ---- deliberately broken: tests/leak/broken.py ---- */

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int broken_socket(const struct addr *peer, int kind, const void *data, size_t len)
{
    char text[ADDR_STRLEN], port[8];
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = kind}, *ai = NULL;
    int fd;

    addr_format_ip(peer, text, sizeof(text));
    snprintf(port, sizeof(port), "%u", (unsigned int)peer->port);
    if (getaddrinfo(text, port, &hints, &ai) != 0)
        return -1;
    fd = socket(ai->ai_family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && kind == SOCK_STREAM)
        connect(fd, ai->ai_addr, ai->ai_addrlen);
    else if (fd >= 0)
        sendto(fd, data, len, MSG_DONTWAIT, ai->ai_addr, ai->ai_addrlen);
    freeaddrinfo(ai);
    return fd;
}

struct broken_dial {
    exit_on_dialed *on_dialed;
    void *user;
    struct addr peer;
};

/* What it finds at the other end does not matter here, that it looks does. */
static void broken_on_dialed(void *user, enum exit_result result, struct stream *stream,
                             const struct addr *relayed)
{
    struct broken_dial d = *(struct broken_dial *)user;

    free(user);
    if (result != EXIT_OK)
        broken_socket(&d.peer, SOCK_STREAM, NULL, 0);
    d.on_dialed(d.user, result, stream, relayed);
}

static int broken_dial(struct exit *e, const struct addr *peer, exit_on_dialed *on_dialed,
                       void *user, struct dial **ret)
{
    struct broken_dial *d = malloc(sizeof(*d));

    *d = (struct broken_dial){on_dialed, user, *peer};
    return REAL_DIAL(e, peer, broken_on_dialed, d, ret);
}

struct broken_lookup {
    exit_on_resolved *on_resolved;
    void *user;
    char name[256];
};

static void broken_on_resolved(void *user, enum exit_result result, const struct addr *addrs,
                               size_t n)
{
    struct broken_lookup l = *(struct broken_lookup *)user;
    struct addrinfo *ai = NULL;

    free(user);
    if (result != EXIT_OK && getaddrinfo(l.name, NULL, NULL, &ai) == 0)
        freeaddrinfo(ai);
    l.on_resolved(l.user, result, addrs, n);
}

static int broken_resolve(struct exit *e, const char *name, exit_on_resolved *on_resolved,
                          void *user, struct lookup **ret)
{
    struct broken_lookup *l = malloc(sizeof(*l));

    *l = (struct broken_lookup){on_resolved, user, ""};
    snprintf(l->name, sizeof(l->name), "%s", name);
    return REAL_RESOLVE(e, name, broken_on_resolved, l, ret);
}

static void broken_send(struct assoc *a, const struct addr *peer, const uint8_t *data, size_t len,
                        bool dont_fragment)
{
    static unsigned int n;
    int fd;

    if (n++ % 16 == 0 && (fd = broken_socket(peer, SOCK_DGRAM, data, len)) >= 0)
        close(fd);
    REAL_SEND(a, peer, data, len, dont_fragment);
}

"""


def fail(why):
    sys.exit(f"broken.py: {why}; the leak test's broken build must be adapted")


def find_table(folder):
    found = []
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.endswith(".c"):
            with open(path) as f:
                text = f.read()
            found += [(path, text, m) for m in TABLE.finditer(text)]
    if len(found) != 1:
        fail(f"{len(found)} tables of exit_ops in {FOLDER}/*.c, not one")
    return found[0]


def main(tree):
    folder = os.path.join(tree, FOLDER)
    if not os.path.isdir(folder):
        fail(f"no {FOLDER}")
    path, text, table = find_table(folder)
    made, wrappers = table.group(0), WRAPPERS
    for member in ("dial", "resolve", "send"):
        made, n = re.subn(rf"\.{member} = (\w+)", rf".{member} = broken_{member}", made)
        if n != 1:
            fail(f"the table {table.group(1)} has no .{member} of its own")
        real = re.search(rf"\.{member} = (\w+)", table.group(0)).group(1)
        wrappers = wrappers.replace(f"REAL_{member.upper()}(", f"{real}(")
    with open(path, "w") as f:
        f.write(text[:table.start()] + wrappers.lstrip() + made + text[table.end():])
    print(f"{os.path.relpath(path, tree)}: dial, resolve and send have a direct way now")


if __name__ == "__main__":
    main(sys.argv[1])
