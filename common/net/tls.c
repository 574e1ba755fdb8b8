/*
 * Three contexts, one certificate: what is loaded and checked for TLS is shared
 * with the others object by object, so that a file replaced in between cannot leave
 * them with different keys.
 */
#include "common/net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/net/dtls.h"
#include "common/net/tls_ctx.h"
#include "common/net/tls_selfsigned.h"

static bool tls_alpn_offers(const unsigned char *in, unsigned int in_len, const char *name,
                            const unsigned char **ret, unsigned char *ret_len)
{
    size_t name_len = strlen(name);
    unsigned int i = 0;

    while (i < in_len && in[i] < in_len - i) {
        if (in[i] == name_len && memcmp(in + i + 1, name, name_len) == 0) {
            *ret = in + i + 1;
            *ret_len = in[i];
            return true;
        }
        i += 1u + in[i];
    }
    return false;
}

/* Only called when the client offers something (RFC 7301, section 3.2; RFC 7443). */
static int tls_on_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                       const unsigned char *in, unsigned int in_len, void *arg)
{
    if (tls_alpn_offers(in, in_len, "stun.turn", ret, ret_len) ||
        tls_alpn_offers(in, in_len, "stun.nat-discovery", ret, ret_len))
        return SSL_TLSEXT_ERR_OK;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int tls_on_http_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                            const unsigned char *in, unsigned int in_len, void *arg)
{
    return tls_alpn_offers(in, in_len, "http/1.1", ret, ret_len) ? SSL_TLSEXT_ERR_OK
                                                                 : SSL_TLSEXT_ERR_NOACK;
}

/* Without this, OpenSSL would ask for the pass phrase of an encrypted key on the terminal. */
static int tls_no_passphrase(char *buf, int size, int rwflag, void *user)
{
    return -1;
}

static SSL_CTX *tls_server_ctx_new(const SSL_METHOD *method, int min_version)
{
    SSL_CTX *ctx = tls_ctx_new(method, min_version);

    if (!ctx)
        return NULL;
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_alpn_select_cb(ctx, tls_on_alpn, NULL);
    SSL_CTX_set_default_passwd_cb(ctx, tls_no_passphrase);
    return ctx;
}

static int tls_make_contexts(struct tls_server *t)
{
    t->tls = tls_server_ctx_new(TLS_server_method(), TLS1_2_VERSION);
    t->dtls = tls_server_ctx_new(DTLS_server_method(), DTLS1_2_VERSION);
    t->http = tls_server_ctx_new(TLS_server_method(), TLS1_2_VERSION);
    if (!t->tls || !t->dtls || !t->http)
        return -1;
    SSL_CTX_set_alpn_select_cb(t->http, tls_on_http_alpn, NULL);
    /* One read(2) for many small records instead of two for each. */
    SSL_CTX_set_read_ahead(t->tls, 1);
    dtls_ctx_init(t->dtls);
    return 0;
}

static int tls_load_files(struct tls_server *t, const char *cert_file, const char *key_file,
                          const struct tls_error *e)
{
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(t->tls, cert_file) != 1)
        return tls_fail(e, "cannot use certificate", cert_file);
    if (SSL_CTX_use_PrivateKey_file(t->tls, key_file, SSL_FILETYPE_PEM) != 1) {
        if (ERR_GET_REASON(ERR_peek_last_error()) != X509_R_KEY_VALUES_MISMATCH)
            return tls_fail(e, "cannot use private key", key_file);
        ERR_clear_error();
        snprintf(e->text, e->len, "private key %s does not belong to certificate %s", key_file,
                 cert_file);
        return -1;
    }
    return 0;
}

static int tls_share(const struct tls_server *t, SSL_CTX *with)
{
    STACK_OF(X509) *chain = NULL;

    if (SSL_CTX_use_certificate(with, SSL_CTX_get0_certificate(t->tls)) != 1 ||
        SSL_CTX_use_PrivateKey(with, SSL_CTX_get0_privatekey(t->tls)) != 1)
        return -1;
    SSL_CTX_get0_chain_certs(t->tls, &chain);
    if (chain && SSL_CTX_set1_chain(with, chain) != 1)
        return -1;
    return 0;
}

static int tls_set_pin(struct tls_server *t)
{
    unsigned char digest[TLS_PIN_LEN];

    if (tls_spki_digest(SSL_CTX_get0_certificate(t->tls), digest) < 0)
        return -1;
    tls_pin_format(digest, t->pin);
    return 0;
}

/* Return: 1 there, 0 not there, -1 cannot tell. */
static int tls_file_exists(const char *file, const char *what, const struct tls_error *e)
{
    struct stat st;

    if (stat(file, &st) == 0)
        return 1;
    if (errno == ENOENT)
        return 0;
    snprintf(e->text, e->len, "%s %s: %s", what, file, strerror(errno));
    return -1;
}

/* Half a pair is somebody's mistake or a crash; guessing would overwrite a key in use. */
static int tls_ensure_files(const char *cert_file, const char *key_file, const char *name,
                            const struct tls_error *e)
{
    int have_cert = tls_file_exists(cert_file, "certificate", e);
    int have_key = tls_file_exists(key_file, "private key", e);

    if (have_cert < 0 || have_key < 0)
        return -1;
    if (have_cert && have_key)
        return 0;
    if (have_cert || have_key) {
        snprintf(e->text, e->len, "%s %s is missing, but %s %s is there",
                 have_cert ? "private key" : "certificate", have_cert ? key_file : cert_file,
                 have_cert ? "certificate" : "private key", have_cert ? cert_file : key_file);
        return -1;
    }
    return tls_selfsigned_store(cert_file, key_file, name, e->text, e->len);
}

int tls_server_new(const char *cert_file, const char *key_file, const char *name,
                   struct tls_server **ret, char *ret_error, size_t error_len)
{
    struct tls_error e = {.text = ret_error, .len = error_len};
    struct tls_server *t;

    if (tls_ensure_files(cert_file, key_file, name, &e) < 0)
        return -1;
    t = calloc(1, sizeof(*t));
    if (!t) {
        snprintf(ret_error, error_len, "out of memory");
        return -1;
    }
    t->n_refs = 1;
    ERR_clear_error();
    if (tls_make_contexts(t) < 0) {
        tls_fail(&e, "cannot set up", "TLS");
        goto fail;
    }
    if (tls_load_files(t, cert_file, key_file, &e) < 0)
        goto fail;
    if (tls_share(t, t->dtls) < 0 || tls_share(t, t->http) < 0 ||
        tls_not_after_s(SSL_CTX_get0_certificate(t->tls), &t->not_after_s) < 0 ||
        tls_set_pin(t) < 0) {
        tls_fail(&e, "cannot use certificate", cert_file);
        goto fail;
    }
    *ret = t;
    return 0;
fail:
    tls_server_free(t);
    return -1;
}

struct tls_server *tls_server_ref(struct tls_server *t)
{
    __atomic_add_fetch(&t->n_refs, 1, __ATOMIC_RELAXED);
    return t;
}

void tls_server_free(struct tls_server *t)
{
    if (!t || __atomic_sub_fetch(&t->n_refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    SSL_CTX_free(t->tls);
    SSL_CTX_free(t->dtls);
    SSL_CTX_free(t->http);
    free(t);
}
