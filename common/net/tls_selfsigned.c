#include "common/net/tls_selfsigned.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/net/addr.h"

#define SELFSIGNED_DAYS 3650
#define SECONDS_PER_DAY (24L * 60 * 60)

/* A serial number is positive and hard to guess (RFC 5280, section 4.1.2.2). */
static bool selfsigned_set_serial(X509 *cert)
{
    uint64_t serial;

    if (RAND_bytes((unsigned char *)&serial, sizeof(serial)) != 1)
        return false;
    return ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), (serial >> 1) | 1) == 1;
}

static bool selfsigned_set_names(X509 *cert, const char *name)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    /* A common name ends at 64 characters (RFC 5280, appendix A.1); clients read the
     * subjectAltName. */
    const char *cn = name[0] && strlen(name) <= 64 ? name : "callveil";

    if (X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1,
                                   0) != 1)
        return false;
    return X509_set_issuer_name(cert, subject) == 1;
}

static GENERAL_NAME *selfsigned_alt_name(const char *name)
{
    GENERAL_NAME *alt = GENERAL_NAME_new();
    struct addr addr;
    bool is_ip = addr_parse_ip(name, 0, &addr);
    ASN1_STRING *value = ASN1_STRING_type_new(is_ip ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    int ok = 0;

    if (alt && value)
        ok = is_ip ? ASN1_STRING_set(value, addr.ip, (int)addr_ip_len(&addr))
                   : ASN1_STRING_set(value, name, -1);
    if (!ok) {
        ASN1_STRING_free(value);
        GENERAL_NAME_free(alt);
        return NULL;
    }
    GENERAL_NAME_set0_value(alt, is_ip ? GEN_IPADD : GEN_DNS, value);
    return alt;
}

static bool selfsigned_add_alt_name(X509 *cert, const char *name)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *alt = selfsigned_alt_name(name);
    bool ok = false;

    if (names && alt && sk_GENERAL_NAME_push(names, alt) > 0) {
        alt = NULL;
        ok = X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
    }
    GENERAL_NAME_free(alt);
    GENERAL_NAMES_free(names);
    return ok;
}

static bool selfsigned_add_ext(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    bool ok = ext && X509_add_ext(cert, ext, -1) == 1;

    X509_EXTENSION_free(ext);
    return ok;
}

static X509 *selfsigned_make(EVP_PKEY *key, const char *name)
{
    X509 *cert = X509_new();

    if (!cert)
        return NULL;
    /* Valid from yesterday: the client's clock may be behind ours. */
    if (X509_set_version(cert, X509_VERSION_3) == 1 && selfsigned_set_serial(cert) &&
        X509_gmtime_adj(X509_getm_notBefore(cert), -SECONDS_PER_DAY) &&
        X509_gmtime_adj(X509_getm_notAfter(cert), SELFSIGNED_DAYS * SECONDS_PER_DAY) &&
        X509_set_pubkey(cert, key) == 1 && selfsigned_set_names(cert, name) &&
        selfsigned_add_ext(cert, NID_basic_constraints, "critical,CA:FALSE") &&
        selfsigned_add_ext(cert, NID_key_usage, "critical,digitalSignature") &&
        selfsigned_add_ext(cert, NID_ext_key_usage, "serverAuth") &&
        selfsigned_add_alt_name(cert, name) && X509_sign(cert, key, EVP_sha256()) > 0)
        return cert;
    X509_free(cert);
    return NULL;
}

/* Whatever `bio` holds goes to `file`: complete, flushed to disk, or not there at all. */
static int selfsigned_write_file(const char *file, mode_t mode, BIO *bio, char *ret_error,
                                 size_t error_len)
{
    char temp[PATH_MAX];
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    int fd, err;

    if (snprintf(temp, sizeof(temp), "%s.XXXXXX", file) >= (int)sizeof(temp)) {
        snprintf(ret_error, error_len, "cannot write %.100s...: %s", file, strerror(ENAMETOOLONG));
        return -1;
    }
    fd = mkostemp(temp, O_CLOEXEC); /* 0600 until we say otherwise */
    if (fd < 0) {
        snprintf(ret_error, error_len, "cannot write %s: %s", file, strerror(errno));
        return -1;
    }
    errno = EIO; /* for a short write, which sets none */
    if (write(fd, data, (size_t)len) != len || fchmod(fd, mode) < 0 || fsync(fd) < 0 ||
        rename(temp, file) < 0) {
        err = errno;
        close(fd);
        unlink(temp);
        snprintf(ret_error, error_len, "cannot write %s: %s", file, strerror(err));
        return -1;
    }
    close(fd);
    return 0;
}

int tls_selfsigned_store(const char *cert_file, const char *key_file, const char *name,
                         char *ret_error, size_t error_len)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = key ? selfsigned_make(key, name) : NULL;
    BIO *cert_pem = BIO_new(BIO_s_mem());
    BIO *key_pem = BIO_new(BIO_s_secmem());
    int r = -1;

    if (!cert || !cert_pem || !key_pem || PEM_write_bio_X509(cert_pem, cert) != 1 ||
        PEM_write_bio_PKCS8PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL) != 1) {
        snprintf(ret_error, error_len, "cannot make a self-signed certificate for \"%.100s\"",
                 name);
        goto out;
    }
    if (selfsigned_write_file(key_file, 0600, key_pem, ret_error, error_len) < 0)
        goto out;
    if (selfsigned_write_file(cert_file, 0644, cert_pem, ret_error, error_len) < 0) {
        unlink(key_file);
        goto out;
    }
    r = 0;
out:
    BIO_free(key_pem);
    BIO_free(cert_pem);
    X509_free(cert);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return r;
}
