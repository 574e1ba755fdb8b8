/*
 * Sending: entries, runs, messages
 *
 * An *entry* is one queued datagram: its header bytes, and where its payload is.
 * A *run* is a list of entries that one UDP_SEGMENT message can carry: same
 * socket, same destination, same source, equal length but for a shorter last
 * one. A *message* is what sendmmsg is handed.
 *
 * tx_push() finds the newest run of the same flow through a small direct-mapped
 * table, so that flows which arrive interleaved (a b a b) still form one run
 * each. Within a flow, runs are made and sent in the order of the pushes; between
 * flows the order may change, which nobody can tell from the network's doing.
 * Two flows that share a slot of the table push each other out and merely start
 * more runs.
 *
 * tx_flush() lays the runs out as messages, TX_BURST at a time and one socket at
 * a time. What the kernel will not take as UDP_SEGMENT goes out once more as
 * plain datagrams.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/net/batch.h"

#define TX_ENTRIES 1024
#define TX_SLOTS   256 /* a power of two */
#define TX_BURST   64  /* messages per sendmmsg */
#define TX_ARENA   65536

/* Limits of a UDP_SEGMENT message: UDP_MAX_SEGMENTS was 64 until Linux 6.9, and the whole must be
 * a valid IP packet, of which this leaves room for headers of any kind. */
#define TX_SEGMENTS 64
#define TX_RUN_LEN  65000

/* After the kernel said that a device cannot do it (EIO), so many runs go plain before another
 * try: routes change. */
#define TX_GSO_PAUSE 4096

#define TX_NONE UINT16_MAX

static const uint8_t tx_zeros[4];

struct tx_entry {
    const void *payload;
    uint32_t payload_len;
    uint16_t next; /* in its run, or TX_NONE */
    uint8_t header_len;
    uint8_t n_padding; /* zero bytes behind the payload */
    uint8_t header[TX_HEADER_MAX];
};

struct tx_run {
    struct addr to, from; /* ADDR_NONE when the socket decides */
    int fd;
    uint32_t segment_len, total;
    uint16_t first, last, n;
    bool is_closed; /* its last entry is shorter, or it is full */
};

struct tx_control {
    _Alignas(struct cmsghdr)
        uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint16_t))];
};

/* The messages of one sendmmsg, all for one socket. */
struct tx_burst {
    struct mmsghdr msgs[TX_BURST];
    struct sockaddr_storage names[TX_BURST];
    struct tx_control control[TX_BURST];
    const struct tx_run *runs[TX_BURST];
    uint16_t n_parts[TX_BURST]; /* datagrams in the message */
    unsigned int n;
};

static_assert(TX_BURST >= TX_SEGMENTS, "a run sent plain must fit one burst");

struct tx_queue {
    struct tx_stats *stats;
    struct tx_stats own_stats; /* counted into when the caller gave none */
    bool has_gso;
    unsigned int gso_pause; /* runs to go before UDP_SEGMENT is tried again */

    struct tx_entry entries[TX_ENTRIES];
    struct tx_run runs[TX_ENTRIES];
    uint16_t slots[TX_SLOTS]; /* newest run of the flows that hash there; checked against n_runs */
    unsigned int n_entries, n_runs;
    size_t arena_used;
    uint8_t arena[TX_ARENA];

    /* Messages in the making, and those of a run that has to go out plain meanwhile. */
    struct tx_burst burst, plain;
    struct iovec iov[3 * TX_ENTRIES], plain_iov[3 * TX_SEGMENTS];
};

/* A kernel older than 4.18 would ignore the control message and send the whole train as one
 * datagram, so what it can do is asked, never tried. */
static bool tx_kernel_has_gso(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(int);
    int value;
    bool has;

    if (fd < 0)
        return false;
    has = getsockopt(fd, SOL_UDP, UDP_SEGMENT, &value, &len) == 0;
    close(fd);
    return has;
}

struct tx_queue *tx_queue_new(struct tx_stats *stats)
{
    struct tx_queue *tx = calloc(1, sizeof(*tx));

    if (!tx)
        return NULL;
    tx->stats = stats ? stats : &tx->own_stats;
    tx->has_gso = tx_kernel_has_gso();
    return tx;
}

void tx_queue_free(struct tx_queue *tx)
{
    free(tx);
}

/* ---- queueing ---- */

/* Not hash_bytes(): a bad spread costs a smaller batch here, not a longer walk. */
static unsigned int tx_slot(int fd, const struct addr *to)
{
    uint64_t words[2], h;

    memcpy(words, to->ip, sizeof(words));
    h = words[0] ^ words[1] ^ ((uint64_t)to->port << 32) ^ ((uint64_t)(unsigned int)fd << 48);
    return (unsigned int)((h * 0x9e3779b97f4a7c15u) >> 56) & (TX_SLOTS - 1);
}

/* What has no port to go to is a raw socket's packet, and nobody would take a train of those apart.
 */
static bool tx_may_join(const struct addr *to)
{
    return to->family == ADDR_NONE || to->port != 0;
}

static bool tx_run_takes(const struct tx_run *run, int fd, const struct addr *to,
                         const struct addr *from, size_t len)
{
    return run->fd == fd && tx_may_join(to) && !run->is_closed && len <= run->segment_len &&
           len > 0 && run->total + len < TX_RUN_LEN && addr_equal(&run->to, to) &&
           addr_equal(&run->from, from);
}

/* The run that the next datagram of this flow goes to: the newest one, or one just started. */
static struct tx_run *tx_run_for(struct tx_queue *tx, int fd, const struct addr *to,
                                 const struct addr *from, size_t len)
{
    unsigned int slot = tx_slot(fd, to);
    unsigned int newest = tx->slots[slot];
    struct tx_run *run;

    if (newest < tx->n_runs && tx_run_takes(&tx->runs[newest], fd, to, from, len))
        return &tx->runs[newest];
    run = &tx->runs[tx->n_runs];
    *run = (struct tx_run){
        .to = *to, .from = *from, .fd = fd, .segment_len = (uint32_t)len, .first = TX_NONE};
    tx->slots[slot] = (uint16_t)tx->n_runs++;
    return run;
}

void tx_push(struct tx_queue *tx, int fd, const struct addr *to, const struct addr *from,
             const void *header, size_t header_len, const void *payload, size_t payload_len)
{
    tx_push_padded(tx, fd, to, from, header, header_len, payload, payload_len, 0);
}

void tx_push_padded(struct tx_queue *tx, int fd, const struct addr *to, const struct addr *from,
                    const void *header, size_t header_len, const void *payload, size_t payload_len,
                    size_t n_padding)
{
    static const struct addr no_addr;
    size_t len = header_len + payload_len + n_padding;
    struct tx_entry *entry;
    struct tx_run *run;
    uint16_t index;

    assert(header_len <= TX_HEADER_MAX && n_padding < sizeof(tx_zeros));
    if (payload_len > UINT16_MAX) { /* no datagram is that long */
        tx->stats->n_dropped++;
        return;
    }
    if (tx->n_entries == TX_ENTRIES)
        tx_flush(tx);
    index = (uint16_t)tx->n_entries++;
    entry = &tx->entries[index];
    entry->payload = payload;
    entry->payload_len = (uint32_t)payload_len;
    entry->header_len = (uint8_t)header_len;
    entry->n_padding = (uint8_t)n_padding;
    entry->next = TX_NONE;
    if (header_len > 0)
        memcpy(entry->header, header, header_len);

    run = tx_run_for(tx, fd, to ? to : &no_addr, from ? from : &no_addr, len);
    if (run->first == TX_NONE)
        run->first = index;
    else
        tx->entries[run->last].next = index;
    run->last = index;
    run->total += (uint32_t)len;
    run->n++;
    run->is_closed = len < run->segment_len || run->n == TX_SEGMENTS;
}

void tx_push_copy(struct tx_queue *tx, int fd, const struct addr *to, const struct addr *from,
                  const void *data, size_t len)
{
    uint8_t *copy;

    if (len <= TX_HEADER_MAX) {
        tx_push(tx, fd, to, from, data, len, NULL, 0);
        return;
    }
    if (len > TX_ARENA) {
        tx->stats->n_dropped++;
        return;
    }
    /* tx_push() would flush a full queue too, and empty the arena under our copy. */
    if (len > TX_ARENA - tx->arena_used || tx->n_entries == TX_ENTRIES)
        tx_flush(tx);
    copy = tx->arena + tx->arena_used;
    memcpy(copy, data, len);
    tx->arena_used += len;
    tx_push(tx, fd, to, from, NULL, 0, copy, len);
}

/* ---- messages ---- */

static struct iovec *tx_add_entry(const struct tx_entry *entry, struct iovec *iov)
{
    if (entry->header_len > 0)
        *iov++ = (struct iovec){(void *)(uintptr_t)entry->header, entry->header_len};
    if (entry->payload_len > 0)
        *iov++ = (struct iovec){(void *)(uintptr_t)entry->payload, entry->payload_len};
    if (entry->n_padding > 0)
        *iov++ = (struct iovec){(void *)(uintptr_t)tx_zeros, entry->n_padding};
    return iov;
}

static void tx_add_control(struct msghdr *hdr, struct tx_control *control, int level, int type,
                           const void *data, size_t len)
{
    struct cmsghdr cmsg = {.cmsg_level = level, .cmsg_type = type, .cmsg_len = CMSG_LEN(len)};
    uint8_t *at = control->bytes + hdr->msg_controllen;

    memcpy(at, &cmsg, sizeof(cmsg));
    memcpy(at + CMSG_LEN(0), data, len);
    hdr->msg_control = control;
    hdr->msg_controllen += CMSG_SPACE(len);
}

static void tx_add_source(struct msghdr *hdr, struct tx_control *control, const struct addr *from)
{
    struct in_pktinfo v4 = {0};
    struct in6_pktinfo v6 = {0};

    if (from->family == ADDR_IPV4) {
        memcpy(&v4.ipi_spec_dst, from->ip, 4);
        tx_add_control(hdr, control, IPPROTO_IP, IP_PKTINFO, &v4, sizeof(v4));
    } else if (from->family == ADDR_IPV6) {
        memcpy(&v6.ipi6_addr, from->ip, 16);
        tx_add_control(hdr, control, IPPROTO_IPV6, IPV6_PKTINFO, &v6, sizeof(v6));
    }
}

/* Adds a message of `n_parts` datagrams whose pieces lie at [iov, end). */
static void tx_burst_add(struct tx_burst *burst, const struct tx_run *run, unsigned int n_parts,
                         struct iovec *iov, const struct iovec *end)
{
    unsigned int i = burst->n++;
    struct msghdr *hdr = &burst->msgs[i].msg_hdr;
    uint16_t segment_len = (uint16_t)run->segment_len;

    burst->runs[i] = run;
    burst->n_parts[i] = (uint16_t)n_parts;
    *hdr = (struct msghdr){.msg_iov = iov, .msg_iovlen = (size_t)(end - iov)};
    if (run->to.family != ADDR_NONE) {
        hdr->msg_name = &burst->names[i];
        hdr->msg_namelen = addr_to_sockaddr(&run->to, &burst->names[i]);
    }
    tx_add_source(hdr, &burst->control[i], &run->from);
    if (n_parts > 1)
        tx_add_control(hdr, &burst->control[i], SOL_UDP, UDP_SEGMENT, &segment_len,
                       sizeof(segment_len));
}

static int tx_burst_call(struct tx_queue *tx, struct tx_burst *burst, unsigned int first)
{
    int r;

    do {
        r = sendmmsg(burst->runs[first]->fd, burst->msgs + first, burst->n - first,
                     MSG_DONTWAIT | MSG_NOSIGNAL);
        tx->stats->n_calls++;
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

static void tx_burst_send(struct tx_queue *tx, struct tx_burst *burst);

/* The datagrams of a run that the kernel would not segment, one message each. */
static void tx_send_plain(struct tx_queue *tx, const struct tx_run *run)
{
    struct iovec *iov = tx->plain_iov, *end;

    tx->plain.n = 0;
    for (uint16_t i = run->first; i != TX_NONE; i = tx->entries[i].next) {
        end = tx_add_entry(&tx->entries[i], iov);
        tx_burst_add(&tx->plain, run, 1, iov, end);
        iov = end;
    }
    tx_burst_send(tx, &tx->plain);
}

/* What the kernel answers to a train that it could have sent as single datagrams: longer than the
 * path takes without fragments (EINVAL, EMSGSIZE), or no checksum offload on the way (EIO). */
static bool tx_is_gso_refusal(struct tx_queue *tx, int r)
{
    if (r == -EIO || r == -EOPNOTSUPP)
        tx->gso_pause = TX_GSO_PAUSE;
    return r == -EIO || r == -EOPNOTSUPP || r == -EINVAL || r == -EMSGSIZE;
}

/* With IP_RECVERR, a socket answers its next call with what ICMP said about an earlier datagram to
 * anybody: that says nothing about the message in hand, which is tried once more. */
static bool tx_is_about_this(int r)
{
    return r == -ENOBUFS || r == -ENOMEM || r == -EBADF || r == -ENOTSOCK;
}

/* Deals with `r`, the answer to message `i`. Return: how many messages are done with. */
static unsigned int tx_burst_refused(struct tx_queue *tx, struct tx_burst *burst, unsigned int i,
                                     int r, bool is_retry)
{
    unsigned int n_done = 1;

    if (burst->n_parts[i] > 1 && tx_is_gso_refusal(tx, r)) {
        tx_send_plain(tx, burst->runs[i]);
        return 1;
    }
    if (r == -EAGAIN) /* the send buffer is full, and will be for the rest as well */
        n_done = burst->n - i;
    else if (!is_retry && !tx_is_about_this(r))
        return 0;
    for (unsigned int k = i; k < i + n_done; k++)
        tx->stats->n_dropped += burst->n_parts[k];
    return n_done;
}

static void tx_burst_send(struct tx_queue *tx, struct tx_burst *burst)
{
    bool is_retry = false;
    unsigned int i = 0, n;
    int r;

    while (i < burst->n) {
        r = tx_burst_call(tx, burst, i);
        for (int k = 0; k < r; k++) {
            tx->stats->n_datagrams += burst->n_parts[i + (unsigned int)k];
            tx->stats->n_bytes += burst->msgs[i + (unsigned int)k].msg_len;
        }
        n = r > 0 ? (unsigned int)r : tx_burst_refused(tx, burst, i, r, is_retry);
        is_retry = n == 0;
        i += n;
    }
    burst->n = 0;
}

static bool tx_may_segment(struct tx_queue *tx, const struct tx_run *run)
{
    if (run->n < 2 || !tx->has_gso)
        return false;
    if (tx->gso_pause == 0)
        return true;
    tx->gso_pause--;
    return false;
}

void tx_flush(struct tx_queue *tx)
{
    struct iovec *iov = tx->iov, *end;
    const struct tx_run *run;

    for (unsigned int k = 0; k < tx->n_runs; k++) {
        run = &tx->runs[k];
        if (tx->burst.n == TX_BURST || (tx->burst.n > 0 && tx->burst.runs[0]->fd != run->fd)) {
            tx_burst_send(tx, &tx->burst);
            iov = tx->iov;
        }
        if (run->n > 1 && !tx_may_segment(tx, run)) {
            /* What is laid out already was pushed earlier, so it goes first. */
            tx_burst_send(tx, &tx->burst);
            iov = tx->iov;
            tx_send_plain(tx, run);
            continue;
        }
        end = iov;
        for (uint16_t i = run->first; i != TX_NONE; i = tx->entries[i].next)
            end = tx_add_entry(&tx->entries[i], end);
        tx_burst_add(&tx->burst, run, run->n, iov, end);
        iov = end;
    }
    tx_burst_send(tx, &tx->burst);
    tx->n_runs = tx->n_entries = 0;
    tx->arena_used = 0;
}
