/*
 * Receiving: one recvmmsg into RX_BATCH_MESSAGES buffers of the largest size a
 * datagram or a UDP_GRO train can have. The buffers are touched only as far as
 * they are filled, so what they cost in memory is what the busiest moment needed.
 *
 * A train is one message whose control data says how long each datagram in it
 * is; all have that length but the last one, which may be shorter.
 */
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "common/net/batch.h"

#define RX_BUFFER_LEN 65536

/* One address report (a sockaddr_in6 is the longest) and one segment size is all that is asked
 * for. */
#define RX_CONTROL_LEN (CMSG_SPACE(sizeof(struct sockaddr_in6)) + CMSG_SPACE(sizeof(int)))

struct rx_control {
    _Alignas(struct cmsghdr) uint8_t bytes[RX_CONTROL_LEN];
};

struct rx_batch {
    struct mmsghdr msgs[RX_BATCH_MESSAGES];
    struct iovec iov[RX_BATCH_MESSAGES];
    struct sockaddr_storage names[RX_BATCH_MESSAGES];
    struct rx_control control[RX_BATCH_MESSAGES];
    uint8_t *buffers;

    /* Where rx_batch_next() stands: message `i_msg` of `n_msgs`, `offset` bytes handed out. */
    unsigned int n_msgs, i_msg;
    size_t offset, segment_len;
    bool is_open; /* the current message's control data has been read */
    struct addr from, to;
};

/* The kernel writes the lengths it used over the lengths there are, in the messages it filled. */
static void rx_reset_lengths(struct rx_batch *rx, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        rx->msgs[i].msg_hdr.msg_namelen = sizeof(rx->names[i]);
        rx->msgs[i].msg_hdr.msg_controllen = sizeof(rx->control[i]);
    }
}

struct rx_batch *rx_batch_new(void)
{
    struct rx_batch *rx = calloc(1, sizeof(*rx));

    if (!rx)
        return NULL;
    rx->buffers = malloc((size_t)RX_BATCH_MESSAGES * RX_BUFFER_LEN);
    if (!rx->buffers) {
        free(rx);
        return NULL;
    }
    for (unsigned int i = 0; i < RX_BATCH_MESSAGES; i++) {
        rx->iov[i].iov_base = rx->buffers + (size_t)i * RX_BUFFER_LEN;
        rx->iov[i].iov_len = RX_BUFFER_LEN;
        rx->msgs[i].msg_hdr.msg_name = &rx->names[i];
        rx->msgs[i].msg_hdr.msg_iov = &rx->iov[i];
        rx->msgs[i].msg_hdr.msg_iovlen = 1;
        rx->msgs[i].msg_hdr.msg_control = &rx->control[i];
    }
    rx_reset_lengths(rx, RX_BATCH_MESSAGES);
    return rx;
}

void rx_batch_free(struct rx_batch *rx)
{
    if (!rx)
        return;
    free(rx->buffers);
    free(rx);
}

int rx_batch_recv(struct rx_batch *rx, int fd)
{
    int n;

    rx_reset_lengths(rx, rx->n_msgs);
    rx->n_msgs = rx->i_msg = 0;
    rx->is_open = false;
    do {
        n = recvmmsg(fd, rx->msgs, RX_BATCH_MESSAGES, MSG_DONTWAIT, NULL);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
    rx->n_msgs = (unsigned int)n;
    return n;
}

/* All datagrams of a train are of one flow, so this is where each of them was sent to. */
static void rx_read_origdst(struct rx_batch *rx, struct cmsghdr *cmsg)
{
    struct sockaddr_storage sa = {0};
    size_t len = cmsg->cmsg_len - CMSG_LEN(0);

    memcpy(&sa, CMSG_DATA(cmsg), len < sizeof(sa) ? len : sizeof(sa));
    rx->to = addr_from_sockaddr((const struct sockaddr *)&sa);
}

static void rx_read_control(struct rx_batch *rx, struct cmsghdr *cmsg)
{
    struct in6_pktinfo v6;
    struct in_pktinfo v4;
    int segment_len;

    if (cmsg->cmsg_level == SOL_UDP && cmsg->cmsg_type == UDP_GRO) {
        memcpy(&segment_len, CMSG_DATA(cmsg), sizeof(segment_len));
        if (segment_len > 0)
            rx->segment_len = (size_t)segment_len;
    } else if (cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_PKTINFO) {
        memcpy(&v4, CMSG_DATA(cmsg), sizeof(v4));
        /* ipi_addr is the packet's destination, which for a broadcast is no address to answer
         * from; ipi_spec_dst is ours, but zero where the kernel kept no route with the packet. */
        if (v4.ipi_spec_dst.s_addr == 0)
            v4.ipi_spec_dst = v4.ipi_addr;
        rx->to = addr_make(ADDR_IPV4, (const uint8_t *)&v4.ipi_spec_dst, 0);
    } else if (cmsg->cmsg_level == IPPROTO_IPV6 && cmsg->cmsg_type == IPV6_PKTINFO) {
        memcpy(&v6, CMSG_DATA(cmsg), sizeof(v6));
        rx->to = addr_make(ADDR_IPV6, v6.ipi6_addr.s6_addr, 0);
    } else if ((cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_ORIGDSTADDR) ||
               (cmsg->cmsg_level == IPPROTO_IPV6 && cmsg->cmsg_type == IPV6_ORIGDSTADDR)) {
        rx_read_origdst(rx, cmsg);
    }
}

static void rx_open_message(struct rx_batch *rx, unsigned int i)
{
    struct msghdr *hdr = &rx->msgs[i].msg_hdr;

    rx->is_open = true;
    rx->offset = 0;
    rx->segment_len = rx->msgs[i].msg_len;
    rx->from = addr_from_sockaddr((const struct sockaddr *)&rx->names[i]);
    rx->to = (struct addr){0};
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(hdr); cmsg; cmsg = CMSG_NXTHDR(hdr, cmsg))
        rx_read_control(rx, cmsg);
}

bool rx_batch_next(struct rx_batch *rx, struct rx_packet *ret)
{
    size_t total, left;

    if (rx->i_msg >= rx->n_msgs)
        return false;
    if (!rx->is_open)
        rx_open_message(rx, rx->i_msg);
    total = rx->msgs[rx->i_msg].msg_len;
    left = total - rx->offset;

    ret->data = rx->buffers + (size_t)rx->i_msg * RX_BUFFER_LEN + rx->offset;
    ret->len = rx->segment_len < left ? rx->segment_len : left;
    ret->from = rx->from;
    ret->to = rx->to;

    /* A message of length zero is one empty datagram: it moves on here as well. */
    rx->offset += ret->len;
    if (rx->offset >= total) {
        rx->i_msg++;
        rx->is_open = false;
    }
    return true;
}
