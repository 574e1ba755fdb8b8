#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/base/cursor.h"
#include "common/base/log.h"
#include "common/net/stream_impl.h"
#include "common/net/tls_ctx.h"

/* ---- bytes ---- */

static int stream_bytes_reserve(struct stream_bytes *b, size_t len)
{
    size_t cap = b->cap ? b->cap : 512;
    uint8_t *bigger;

    if (b->off > 0 && b->off + b->len + len > b->cap) {
        memmove(b->data, b->data + b->off, b->len);
        b->off = 0;
    }
    while (cap < b->off + b->len + len)
        cap *= 2;
    if (cap == b->cap)
        return 0;
    bigger = realloc(b->data, cap);
    if (!bigger)
        return -ENOMEM;
    b->data = bigger;
    b->cap = cap;
    return 0;
}

int stream_bytes_append(struct stream_bytes *b, const struct iovec *iov, int n_iov, size_t skip)
{
    size_t total = 0;

    for (int i = 0; i < n_iov; i++)
        total += iov[i].iov_len;
    if (skip >= total)
        return 0;
    if (stream_bytes_reserve(b, total - skip) < 0)
        return -ENOMEM;
    for (int i = 0; i < n_iov; i++) {
        size_t cut = skip < iov[i].iov_len ? skip : iov[i].iov_len;

        skip -= cut;
        if (cut == iov[i].iov_len)
            continue;
        memcpy(b->data + b->off + b->len, (const uint8_t *)iov[i].iov_base + cut,
               iov[i].iov_len - cut);
        b->len += iov[i].iov_len - cut;
    }
    return 0;
}

int stream_bytes_set(struct stream_bytes *b, const uint8_t *data, size_t len)
{
    /* Not cleared first: half a message that grows byte by byte reuses its memory. */
    size_t old = b->len;

    if (len == 0) {
        stream_bytes_clear(b);
        return 0;
    }
    b->off = b->len = 0;
    if (stream_bytes_reserve(b, len) < 0) {
        b->len = old;
        return -ENOMEM;
    }
    memcpy(b->data, data, len);
    b->len = len;
    return 0;
}

void stream_bytes_consume(struct stream_bytes *b, size_t len)
{
    assert(len <= b->len);
    b->off += len;
    b->len -= len;
    if (b->len == 0)
        stream_bytes_clear(b);
}

void stream_bytes_clear(struct stream_bytes *b)
{
    free(b->data);
    *b = (struct stream_bytes){0};
}

/* ---- plain TCP ---- */

static int stream_errno(void)
{
    return errno == EWOULDBLOCK || errno == EINTR ? -EAGAIN : -errno;
}

static ptrdiff_t stream_plain_read(struct stream *s, uint8_t *buf, size_t cap)
{
    ssize_t n = recv(s->fd, buf, cap, 0);

    return n < 0 ? stream_errno() : n;
}

static ptrdiff_t stream_plain_write(struct stream *s, const struct iovec *iov, int n_iov)
{
    struct iovec copy[STREAM_IOV_MAX];
    struct msghdr msg = {.msg_iov = copy, .msg_iovlen = (size_t)n_iov};
    ssize_t n;

    memcpy(copy, iov, sizeof(*iov) * (size_t)n_iov);
    n = sendmsg(s->fd, &msg, MSG_NOSIGNAL); /* writev(2) has no such flag */
    return n < 0 ? stream_errno() : n;
}

static int stream_plain_end(struct stream *s)
{
    return shutdown(s->fd, SHUT_WR) < 0 ? -errno : 0;
}

const struct stream_io stream_io_plain = {
    .read = stream_plain_read,
    .write = stream_plain_write,
    .end = stream_plain_end,
};

/* ---- TLS ---- */

/* What a failed SSL call means. Return: -EAGAIN and what is waited for, or -errno for good. */
static int stream_tls_result(struct stream *s, int r, bool *ret_waits_in, bool *ret_waits_out)
{
    int err = errno, why = SSL_get_error(s->ssl, r);
    const char *text;

    *ret_waits_in = why == SSL_ERROR_WANT_READ;
    *ret_waits_out = why == SSL_ERROR_WANT_WRITE;
    if (*ret_waits_in || *ret_waits_out)
        return -EAGAIN;
    s->ssl_broken = true;
    if (why == SSL_ERROR_SYSCALL && err)
        return -err;
    if (why == SSL_ERROR_SYSCALL || why == SSL_ERROR_ZERO_RETURN)
        return -ECONNRESET; /* an end where none may be: within the handshake */
    text = ERR_reason_error_string(ERR_peek_last_error());
    log_limited(LOG_LEVEL_DEBUG, "tls: %s", text ? text : "protocol error");
    ERR_clear_error();
    /* A server asks its clients for no certificate, so this is a client's. */
    return SSL_get_verify_result(s->ssl) != X509_V_OK ? -EACCES : -EPROTO;
}

/* errno is read after a failed call, where a clean end leaves it alone. */
static void stream_tls_before_call(void)
{
    tls_forget_errors();
    errno = 0;
}

int stream_tls_use(struct stream *s, SSL *ssl)
{
    s->ssl = ssl;
    if (!ssl || SSL_set_fd(ssl, s->fd) != 1) {
        ERR_clear_error();
        return -ENOMEM;
    }
    s->io = &stream_io_tls;
    return 0;
}

int stream_tls_start(struct stream *s, SSL_CTX *ctx)
{
    int r = stream_tls_use(s, SSL_new(ctx));

    if (r == 0)
        SSL_set_accept_state(s->ssl);
    return r;
}

int stream_tls_handshake(struct stream *s)
{
    bool waits_in;
    int r;

    stream_tls_before_call();
    r = SSL_do_handshake(s->ssl);
    s->read_waits_out = false;
    return r == 1 ? 0 : stream_tls_result(s, r, &waits_in, &s->read_waits_out);
}

static ptrdiff_t stream_tls_read(struct stream *s, uint8_t *buf, size_t cap)
{
    size_t len = 0;
    bool waits_in;
    int n = 1, r;

    if (s->ssl_broken)
        return s->ssl_read_error ? s->ssl_read_error : -EPIPE;
    /* Many small records make one on_bytes(). */
    for (int i = 0; i < STREAM_TLS_RECORDS_MAX && len < cap; i++) {
        stream_tls_before_call();
        n = SSL_read(s->ssl, buf + len, (int)(cap - len));
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    s->read_waits_out = false;
    s->more_input = true;
    /* An end behind bytes comes up again in the next call. */
    if (n > 0 || SSL_get_error(s->ssl, n) == SSL_ERROR_ZERO_RETURN)
        return (ptrdiff_t)len;
    r = stream_tls_result(s, n, &waits_in, &s->read_waits_out);
    s->more_input = r != -EAGAIN;
    s->ssl_read_error = r;
    return len > 0 ? (ptrdiff_t)len : r;
}

/* As many records as the socket takes. */
static ptrdiff_t stream_tls_write_all(struct stream *s, const uint8_t *data, size_t len)
{
    size_t done = 0;
    bool waits_out;
    int n, r;

    while (done < len) {
        size_t chunk = len - done < INT32_MAX ? len - done : INT32_MAX;

        stream_tls_before_call();
        n = SSL_write(s->ssl, data + done, (int)chunk);
        s->write_waits_in = false;
        if (n <= 0) {
            r = stream_tls_result(s, n, &s->write_waits_in, &waits_out);
            return done > 0 ? (ptrdiff_t)done : r;
        }
        done += (size_t)n;
    }
    return (ptrdiff_t)done;
}

/* Pieces become one buffer, hence one record where they fit: a header in a record of its own would
 * cost 22 bytes and a segment. */
static ptrdiff_t stream_tls_write(struct stream *s, const struct iovec *iov, int n_iov)
{
    struct writer w = writer_make(s->pool->out, sizeof(s->pool->out));

    if (s->ssl_broken)
        return -EPIPE;
    if (n_iov == 1)
        return stream_tls_write_all(s, iov[0].iov_base, iov[0].iov_len);
    for (int i = 0; i < n_iov; i++)
        writer_bytes(&w, iov[i].iov_base, iov[i].iov_len);
    return w.failed ? -EMSGSIZE : stream_tls_write_all(s, w.data, w.len);
}

static int stream_tls_end(struct stream *s)
{
    bool waits_out;
    int r;

    if (s->ssl_broken)
        return -EPIPE;
    stream_tls_before_call();
    r = SSL_shutdown(s->ssl);
    /* 0: ours is sent, theirs has not come; that is for the reader to see. */
    return r >= 0 ? 0 : stream_tls_result(s, r, &s->write_waits_in, &waits_out);
}

const struct stream_io stream_io_tls = {
    .read = stream_tls_read,
    .write = stream_tls_write,
    .end = stream_tls_end,
};
