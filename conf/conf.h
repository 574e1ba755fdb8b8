/*
 * conf/conf.h - what the operator wrote, checked and typed
 *
 * conf/options.def has one row per option: section, name, type, range, default,
 * one-line help. The row feeds the loader, `callveil config`, and the test that
 * every option is in the sample files and the manual page.
 *
 * A loaded configuration is const. Reload builds another one and swaps it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/log.h"
#include "common/net/addr.h"

/* Protocols of a listener, a bit mask. Listeners written separately but with the same address and
 * the same socket kind become one: "tcp://0.0.0.0:443, tls://0.0.0.0:443" is one listening socket
 * on which the first byte tells TLS from plain, and udp:// with dtls:// likewise. */
enum {
    LISTEN_UDP = 1,
    LISTEN_DTLS = 2,
    LISTEN_TCP = 4,
    LISTEN_TLS = 8,
};

struct conf_listen {
    struct addr addr;
    unsigned int protocols;
};

struct conf_user {
    char *name;     /* OpaqueString-normalised (RFC 8265), as it appears in USERNAME */
    char *password; /* normalised; NULL when only keys are stored */
    bool has_md5, has_sha256;
    uint8_t key_md5[16];    /* "key:0x<32 hex>" */
    uint8_t key_sha256[32]; /* "key:0x<64 hex>"; both may be given, separated by a comma */
};

/* A relay as `local` reaches it: "turns:relay.example:5349?transport=udp" (RFC 7065). */
struct conf_url {
    char *host; /* a name, or an IP literal without brackets */
    uint16_t port;
    unsigned int protocol; /* one of LISTEN_UDP, LISTEN_DTLS, LISTEN_TCP, LISTEN_TLS */
};

/* Both roles': what belongs to the other one has its defaults, except that `listen` of "local" is
 * its `turn` address (or nothing): no listener of the relay's opens on somebody's laptop. */
struct conf {
    char *file;

    /* [relay] */
    struct conf_listen *listen;
    size_t n_listen;
    struct addr public_v4, public_v6; /* ADDR_NONE: found out */
    struct addr relay_v4, relay_v6;   /* ADDR_NONE: the address the client reached */
    uint16_t port_min, port_max;
    char *realm;
    unsigned int workers;            /* never 0: `auto` is resolved to the number of usable cores */
    char *certificate, *private_key; /* NULL when not set */
    char **secret;
    size_t n_secret;
    bool hide_client_address;
    bool behavior_discovery;      /* RFC 5780; needs listeners on a 2x2 grid of addresses, ports */
    bool mobility;                /* RFC 8016 */
    struct addr alternate_server; /* where 300 sends new clients while draining or full */
    enum log_level log_level;     /* also [local] */
    bool log_addresses;           /* also [local] */
    char *users_file;             /* where `callveil invite` adds users; NULL when not set */

    /* [local] */
    struct addr socks5, turn; /* where the fronts listen; ADDR_NONE: off */

    /* [upstream] */
    struct conf_url *url; /* tried in this order */
    size_t n_url;
    char *upstream_user, *upstream_password; /* OpaqueString-prepared */
    uint8_t (*pin)[32]; /* SHA-256 of a SubjectPublicKeyInfo; none: certificates by CA and name */
    size_t n_pin;
    char *ca_file;    /* NULL: the system's */
    struct addr *dns; /* with ports; asked through the relay */
    size_t n_dns;

    /* [users], in file order, then those of the users file */
    struct conf_user *user;
    size_t n_user;

    /* [peers] */
    struct addr_range *allow;
    size_t n_allow;
    struct addr_range *deny;
    size_t n_deny;

    /* [limits] */
    unsigned int max_allocations;
    unsigned int max_allocations_per_user;
    uint64_t max_bandwidth_per_allocation; /* bytes per second each way; 0: no limit */
    unsigned int max_lifetime_s;
    unsigned int nonce_lifetime_s;
    unsigned int max_permissions;      /* per allocation */
    unsigned int max_channels;         /* per allocation */
    unsigned int max_connections;      /* TCP, TLS and DTLS of clients, whole process */
    unsigned int max_peer_connections; /* RFC 6062 peer connections per allocation */
    unsigned int unauthenticated_rate; /* answers a second to one address that has not
                                          authenticated; 0: no limit */

    /* [stats] */
    struct addr stats_listen; /* ADDR_NONE: off */
    char *stats_token;        /* NULL when not set */
    bool stats_tls;           /* HTTPS beyond loopback: see conf_stats_is_https() */
};

/* Loads `file`, and the users file that it names. Every error in them is reported, one "file:line:
 * what is wrong" line each, to stderr. Return: the configuration, or NULL after any error. `role`
 * is "relay" or "local": the sections that are valid. */
struct conf *conf_load(const char *file, const char *role);
/* As conf_load(), from text; `name` stands for the file in messages. Used by tests and the demo. */
struct conf *conf_load_text(const char *text, const char *name, const char *role);
void conf_free(struct conf *conf);

/* Whose file it is, "relay" or "local": the first section tells. One that does not is taken for the
 * relay's, whose loader then says what is wrong with it. */
const char *conf_file_role(const char *file);

/* Whether the statistics are served with TLS. */
bool conf_stats_is_https(const struct conf *conf);

/* `callveil config ...`: argv[0] is "config". Return: the exit status. */
int conf_command(int argc, char **argv);
