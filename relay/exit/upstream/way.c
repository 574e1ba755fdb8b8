/*
 * relay/exit/upstream/way.c - whether our connections still leave by an address of this machine
 *
 * A laptop that comes to another network loses its address, and nobody tells its sockets: they
 * go on sending from an address that nothing comes back to, and only the relay's silence shows
 * it, 11 s later at best. An address that is not ours any more can be seen at once: nothing can be
 * bound to it. POSIX has no other way to ask, and this one needs no privilege and sends nothing.
 *
 * So once a second each link is looked at, and fails if it has lost its way so.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/net/batch.h"
#include "relay/exit/upstream/upstream_impl.h"

#define WAY_CHECK_NS NS_PER_S

/* Only what says so plainly counts: no descriptors, say, is not no address. */
static bool way_address_is_gone(const struct addr *local)
{
    struct addr any_port = *local;
    int fd;

    any_port.port = 0;
    fd = sock_bind(&any_port, SOCK_DGRAM, 0);
    if (fd >= 0)
        close(fd);
    return fd == -EADDRNOTAVAIL;
}

void way_begin_tick(struct upstream *x, uint64_t now_ns)
{
    x->way.is_due = now_ns - x->way.checked_ns >= WAY_CHECK_NS;
    if (x->way.is_due)
        x->way = (struct way){.is_due = true, .checked_ns = now_ns};
}

void way_end_tick(struct upstream *x)
{
    x->way.is_due = false;
}

/* Most connections leave by the same address: one question is enough for them. */
static bool way_is_gone(struct way *way, const struct addr *local)
{
    if (local->family == ADDR_NONE)
        return false;
    if (!addr_ip_equal(local, &way->local)) {
        way->local = *local;
        way->is_gone = way_address_is_gone(local);
    }
    return way->is_gone;
}

bool way_fails(struct upstream *x, struct link *link)
{
    struct addr local;

    if (!x->way.is_due || !link)
        return false;
    local = link_local(link);
    if (!way_is_gone(&x->way, &local))
        return false;
    link_fail(link, -EADDRNOTAVAIL);
    return true;
}
