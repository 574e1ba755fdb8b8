/*
 * The check replaces OpenSSL's own (SSL_CTX_set_cert_verify_callback), so it runs
 * within the handshake, before the client says its Finished: an SSL that has done
 * its handshake has been verified, and there is no second step to forget.
 *
 * What a server must be is kept with its SSL (struct tls_peer, by ex_data). The
 * default is to refuse: an SSL with neither pin nor a name that can be checked
 * trusts nobody.
 */
#include "common/net/tls_client.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/net/addr.h"
#include "common/net/dtls.h"
#include "common/net/tls_ctx.h"

#define TLS_HOST_MAX 253 /* RFC 1035, section 2.3.4, without the root's empty label */

struct tls_client {
    SSL_CTX *tls, *dtls;
};

struct tls_peer {
    bool has_name; /* the name to verify is in the SSL's X509_VERIFY_PARAM */
    size_t n_pins;
    unsigned char pins[][TLS_PIN_LEN];
};

static int tls_peer_index = -1;
static pthread_once_t tls_peer_once = PTHREAD_ONCE_INIT;

static void tls_peer_on_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl,
                             void *argp)
{
    free(ptr);
}

static void tls_peer_make_index(void)
{
    tls_peer_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, tls_peer_on_free);
}

/* ---- verifying ---- */

static bool tls_peer_has_pin(const struct tls_peer *peer, const X509 *cert)
{
    unsigned char digest[TLS_PIN_LEN];

    if (!cert || tls_spki_digest(cert, digest) < 0)
        return false;
    for (size_t i = 0; i < peer->n_pins; i++)
        if (memcmp(peer->pins[i], digest, TLS_PIN_LEN) == 0)
            return true;
    return false;
}

static int tls_on_verify(X509_STORE_CTX *store, void *arg)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    const struct tls_peer *peer = SSL_get_ex_data(ssl, tls_peer_index);
    int error = X509_V_OK;

    if (!peer)
        error = X509_V_ERR_UNSPECIFIED;
    else if (peer->n_pins > 0 && !tls_peer_has_pin(peer, X509_STORE_CTX_get0_cert(store)))
        error = X509_V_ERR_APPLICATION_VERIFICATION;
    else if (peer->n_pins == 0 && !peer->has_name)
        error = X509_V_ERR_HOSTNAME_MISMATCH;
    else if (peer->n_pins == 0)
        return X509_verify_cert(store) > 0;
    X509_STORE_CTX_set_error(store, error);
    return error == X509_V_OK;
}

/* ---- contexts ---- */

static SSL_CTX *tls_client_ctx_new(const SSL_METHOD *method, int min_version)
{
    static const unsigned char alpn[] = "\x09stun.turn"; /* RFC 7443 */
    SSL_CTX *ctx = tls_ctx_new(method, min_version);

    if (!ctx)
        return NULL;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, tls_on_verify, NULL);
    if (SSL_CTX_set_alpn_protos(ctx, alpn, sizeof(alpn) - 1) != 0) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

static int tls_client_make_contexts(struct tls_client *t)
{
    t->tls = tls_client_ctx_new(TLS_client_method(), TLS1_2_VERSION);
    t->dtls = tls_client_ctx_new(DTLS_client_method(), DTLS1_2_VERSION);
    if (!t->tls || !t->dtls)
        return -1;
    SSL_CTX_set_read_ahead(t->tls, 1); /* as in tls.c */
    SSL_CTX_set_options(t->dtls, SSL_OP_NO_QUERY_MTU);
    return 0;
}

int tls_client_new(const char *ca_file, struct tls_client **ret, char *ret_error, size_t error_len)
{
    struct tls_error e = {.text = ret_error, .len = error_len};
    struct tls_client *t = calloc(1, sizeof(*t));
    int ok;

    if (!t) {
        snprintf(ret_error, error_len, "out of memory");
        return -1;
    }
    ERR_clear_error();
    pthread_once(&tls_peer_once, tls_peer_make_index);
    if (tls_peer_index < 0 || tls_client_make_contexts(t) < 0) {
        tls_fail(&e, "cannot set up", "TLS");
        goto fail;
    }
    ok = ca_file ? SSL_CTX_load_verify_file(t->tls, ca_file)
                 : SSL_CTX_set_default_verify_paths(t->tls);
    if (ok != 1) {
        tls_fail(&e, "cannot use", ca_file ? ca_file : "the system's certificates");
        goto fail;
    }
    SSL_CTX_set1_cert_store(t->dtls, SSL_CTX_get_cert_store(t->tls));
    ERR_clear_error();
    *ret = t;
    return 0;
fail:
    tls_client_free(t);
    return -1;
}

void tls_client_free(struct tls_client *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->tls);
    SSL_CTX_free(t->dtls);
    free(t);
}

/* ---- one server ---- */

/* The host name as it stands in certificates: without the root's dot. Return: whether it can be
 * one. (To OpenSSL a leading dot means "any subdomain", and an empty name "any name".) */
static bool tls_host_name(const char *name, char ret[TLS_HOST_MAX + 1])
{
    size_t len = strlen(name);

    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == 0 || len > TLS_HOST_MAX || name[0] == '.')
        return false;
    memcpy(ret, name, len);
    ret[len] = '\0';
    return true;
}

/* Return: whether memory was there. */
static bool tls_client_set_name(SSL *ssl, const char *name, struct tls_peer *peer)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    char host[TLS_HOST_MAX + 1];
    struct addr ip;

    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (addr_parse_ip(name, 0, &ip)) {
        peer->has_name = X509_VERIFY_PARAM_set1_ip(param, ip.ip, addr_ip_len(&ip)) == 1;
        return peer->has_name;
    }
    if (!tls_host_name(name, host))
        return true;
    peer->has_name = X509_VERIFY_PARAM_set1_host(param, host, 0) == 1;
    return peer->has_name && SSL_set_tlsext_host_name(ssl, host) == 1;
}

SSL *tls_client_ssl(struct tls_client *t, bool dtls, const char *name,
                    const unsigned char (*pins)[TLS_PIN_LEN], size_t n_pins)
{
    struct tls_peer *peer = calloc(1, sizeof(*peer) + n_pins * TLS_PIN_LEN);
    SSL *ssl = SSL_new(dtls ? t->dtls : t->tls);

    if (!peer || !ssl || SSL_set_ex_data(ssl, tls_peer_index, peer) != 1) {
        free(peer);
        SSL_free(ssl);
        ERR_clear_error();
        return NULL;
    }
    peer->n_pins = n_pins;
    if (n_pins > 0)
        memcpy(peer->pins, pins, n_pins * TLS_PIN_LEN);
    if (!tls_client_set_name(ssl, name, peer)) {
        SSL_free(ssl);
        ERR_clear_error();
        return NULL;
    }
    SSL_set_connect_state(ssl);
    return ssl;
}

const char *tls_client_why(const SSL *ssl)
{
    long result = SSL_get_verify_result(ssl);

    if (result == X509_V_OK)
        return NULL;
    if (result == X509_V_ERR_APPLICATION_VERIFICATION)
        return "the server's certificate does not have the pinned key";
    return X509_verify_cert_error_string(result);
}

uint64_t tls_client_not_after_s(const SSL *ssl)
{
    const X509 *cert = SSL_get0_peer_certificate(ssl);
    uint64_t end_s = 0;

    if (cert)
        (void)tls_not_after_s(cert, &end_s);
    return end_s;
}
