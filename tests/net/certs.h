/*
 * tests/net/certs.h - a CA of the test's own, and servers it vouches for
 *
 * Certificates are made by OpenSSL's calls here, and not by tls_selfsigned.c: the
 * client has to judge what other people's tools make.
 */
#pragma once

#include <check.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/net/tls_client.h"

struct cert {
    EVP_PKEY *key;
    X509 *x509;
};

struct cert_want {
    const char *cn;
    const char *san;         /* "DNS:relay.test", "IP:192.0.2.1"; NULL: none */
    const struct cert *from; /* issuer; NULL: self-signed */
    bool is_ca;
    long start_s, end_s; /* from now; both 0: for an hour */
};

static inline void cert_add_ext(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    ck_assert_ptr_nonnull(ext);
    ck_assert_int_eq(X509_add_ext(x, ext, -1), 1);
    X509_EXTENSION_free(ext);
}

static inline struct cert cert_make(const struct cert_want *want)
{
    static long serial = 1;
    struct cert c = {EVP_EC_gen("P-256"), X509_new()};
    const struct cert *from = want->from ? want->from : &c;
    X509_NAME *name = X509_get_subject_name(c.x509);

    X509_set_version(c.x509, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x509), serial++);
    X509_gmtime_adj(X509_getm_notBefore(c.x509), want->start_s ? want->start_s : -60);
    X509_gmtime_adj(X509_getm_notAfter(c.x509), want->end_s ? want->end_s : 3600);
    X509_set_pubkey(c.x509, c.key);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)want->cn, -1, -1,
                               0);
    X509_set_issuer_name(c.x509, X509_get_subject_name(from->x509));
    cert_add_ext(c.x509, NID_basic_constraints, want->is_ca ? "critical,CA:TRUE" : "CA:FALSE");
    if (want->san)
        cert_add_ext(c.x509, NID_subject_alt_name, want->san);
    ck_assert_int_gt(X509_sign(c.x509, from->key, EVP_sha256()), 0);
    return c;
}

static inline void cert_free(struct cert *c)
{
    EVP_PKEY_free(c->key);
    X509_free(c->x509);
    *c = (struct cert){0};
}

/* The pin, computed by another way than the code's: i2d_PUBKEY() of the key. */
static inline void cert_pin(const struct cert *c, unsigned char ret[32])
{
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(c->key, &der);

    ck_assert_int_gt(len, 0);
    ck_assert_int_eq(EVP_Digest(der, (size_t)len, ret, NULL, EVP_sha256(), NULL), 1);
    OPENSSL_free(der);
}

/* Writes the certificate to a new file, whose name is stored in `ret`. */
static inline void cert_store(const struct cert *c, char ret[64])
{
    FILE *f;
    int fd;

    snprintf(ret, 64, "/tmp/callveil-test-XXXXXX");
    fd = mkstemp(ret);
    ck_assert_int_ge(fd, 0);
    f = fdopen(fd, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(PEM_write_X509(f, c->x509), 1);
    ck_assert_int_eq(fclose(f), 0);
}

/* A client that trusts `ca` (NULL: one made up here). Not the system's, which take long to read. */
static inline struct tls_client *cert_client(const struct cert *ca)
{
    const struct cert_want want = {.cn = "nobody's CA", .is_ca = true};
    struct cert own = {0};
    struct tls_client *client = NULL;
    char error[256], file[64];

    if (!ca)
        own = cert_make(&want);
    cert_store(ca ? ca : &own, file);
    ck_assert_msg(tls_client_new(file, &client, error, sizeof(error)) == 0, "%s", error);
    unlink(file);
    cert_free(&own);
    return client;
}

/* A server with that certificate and nothing of ours in it. */
static inline SSL_CTX *cert_server(const struct cert *c, const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);

    ck_assert_int_eq(SSL_CTX_use_certificate(ctx, c->x509), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey(ctx, c->key), 1);
    return ctx;
}
