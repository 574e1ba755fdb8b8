#include "relay/invite/cert.h"

#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "common/net/addr.h"
#include "conf/url.h"
#include "conf/value.h"

static bool set_host(X509_STORE_CTX *ctx, const char *host)
{
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    struct addr addr;

    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (addr_parse_ip(host, 0, &addr))
        return X509_VERIFY_PARAM_set1_ip(param, addr.ip, addr_ip_len(&addr)) == 1;
    return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1;
}

bool cert_is_vouched_for(const struct tls_server *tls, const char *host, char *why, size_t len)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *chain = NULL;
    bool ok = false;

    snprintf(why, len, "out of memory");
    SSL_CTX_get0_chain_certs(tls->tls, &chain);
    if (store && ctx && X509_STORE_set_default_paths(store) == 1 &&
        X509_STORE_CTX_init(ctx, store, SSL_CTX_get0_certificate(tls->tls), chain) == 1 &&
        X509_STORE_CTX_set_default(ctx, "ssl_server") == 1 && set_host(ctx, host)) {
        ok = X509_verify_cert(ctx) == 1;
        snprintf(why, len, "%s", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    }
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return ok;
}

static char *dns_name(const GENERAL_NAME *name)
{
    char text[URL_HOST_MAX + 1], why[VALUE_WHY_LEN], *host = NULL;
    const ASN1_STRING *value;
    size_t len;
    int type;

    value = GENERAL_NAME_get0_value(name, &type);
    if (type != GEN_DNS)
        return NULL;
    len = (size_t)ASN1_STRING_length(value);
    /* Not a C string: a zero byte in it would make another name of it. */
    if (len > URL_HOST_MAX || memchr(ASN1_STRING_get0_data(value), 0, len))
        return NULL;
    memcpy(text, ASN1_STRING_get0_data(value), len);
    text[len] = '\0';
    return url_host(text, &host, why) == 0 ? host : NULL;
}

char *cert_host(const struct tls_server *tls)
{
    GENERAL_NAMES *names =
        X509_get_ext_d2i(SSL_CTX_get0_certificate(tls->tls), NID_subject_alt_name, NULL, NULL);
    char *host = NULL;

    for (int i = 0; i < sk_GENERAL_NAME_num(names) && !host; i++)
        host = dns_name(sk_GENERAL_NAME_value(names, i));
    GENERAL_NAMES_free(names);
    return host;
}
