#include "common/net/dtls_wire.h"

#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <string.h>

#include "common/base/cursor.h"
#include "common/net/tls_ctx.h"

/* ---- the BIO: one datagram in, datagrams out ---- */

static int dtls_bio_read(BIO *bio, char *buf, int cap)
{
    const struct dtls_wire *wire = BIO_get_data(bio);
    struct dtls_datagram *input = wire->input;

    BIO_clear_retry_flags(bio);
    if (!input->data || cap < 0 || input->len > (size_t)cap) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(buf, input->data, input->len);
    input->data = NULL;
    return (int)input->len;
}

static int dtls_bio_write(BIO *bio, const char *data, int len)
{
    struct dtls_wire *wire = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    wire->send(wire, (const uint8_t *)data, (size_t)len);
    return len;
}

static long dtls_bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    switch (cmd) {
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DUP:
        return 1;
    default:
        /* No peer address, no MTU, no timeouts: OpenSSL takes 0 for "unknown". */
        return 0;
    }
}

static int dtls_bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static BIO_METHOD *dtls_bio_method;
static pthread_once_t dtls_bio_once = PTHREAD_ONCE_INIT;

static void dtls_make_bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "callveil datagram");

    if (!m)
        return;
    BIO_meth_set_read(m, dtls_bio_read);
    BIO_meth_set_write(m, dtls_bio_write);
    BIO_meth_set_ctrl(m, dtls_bio_ctrl);
    BIO_meth_set_create(m, dtls_bio_create);
    dtls_bio_method = m;
}

int dtls_wire_attach(struct dtls_wire *wire, SSL *ssl)
{
    BIO *bio;

    pthread_once(&dtls_bio_once, dtls_make_bio_method);
    bio = dtls_bio_method ? BIO_new(dtls_bio_method) : NULL;
    if (!bio)
        return -ENOMEM;
    BIO_set_data(bio, wire);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_mtu(ssl, DTLS_HANDSHAKE_MTU);
    return 0;
}

/* ---- messages ---- */

/* Explicit nonce and tag (RFC 5288, section 3; RFC 7905, section 2). */
static size_t dtls_cipher_overhead(const SSL *ssl)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);

    return cipher && SSL_CIPHER_get_cipher_nid(cipher) == NID_chacha20_poly1305 ? 16 : 8 + 16;
}

bool dtls_wire_takes(const SSL *ssl, const uint8_t *data, size_t len)
{
    struct reader r = reader_make(data, len);
    size_t overhead = dtls_cipher_overhead(ssl);

    while (reader_left(&r) > 0) {
        uint16_t epoch, record_len;

        reader_bytes(&r, 3); /* type, version */
        epoch = reader_u16(&r);
        reader_bytes(&r, 6); /* sequence number */
        record_len = reader_u16(&r);
        if (!r.failed && epoch > 0 && record_len < overhead)
            return false;
        reader_bytes(&r, record_len);
    }
    return true;
}

uint8_t *dtls_plain_space(struct dtls_plain *plain, void (*flush)(void *user), void *user)
{
    if (sizeof(plain->data) - plain->len < DTLS_MESSAGE_MAX) {
        if (flush)
            flush(user);
        plain->len = 0;
    }
    return plain->data + plain->len;
}

int dtls_wire_write(SSL *ssl, uint8_t out[DTLS_MESSAGE_MAX], const struct iovec *iov, int n_iov)
{
    struct writer w = writer_make(out, DTLS_MESSAGE_MAX);

    for (int i = 0; i < n_iov; i++)
        writer_bytes(&w, iov[i].iov_base, iov[i].iov_len);
    if (w.failed)
        return -EMSGSIZE;
    if (w.len == 0)
        return 0;
    tls_forget_errors();
    return SSL_write(ssl, w.data, (int)w.len) > 0 ? 0 : -EPIPE;
}
