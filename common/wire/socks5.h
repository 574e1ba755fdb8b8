/*
 * common/wire/socks5.h - SOCKS5 messages (RFC 1928) and its password login (RFC 1929)
 *
 * What a server reads and writes, and a datagram's header in both directions.
 * A stream brings messages in pieces: a reader of one answers its length, 0 while
 * more bytes are needed, or -EPROTO as soon as the bytes cannot become one.
 *
 * An IP literal in a name's clothes is an address here, as browsers send all of
 * theirs that way; IPv4-mapped addresses are IPv4 (common/net/addr.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cursor.h"
#include "common/net/addr.h"

#define SOCKS5_VERSION  5
#define SOCKS5_NAME_MAX 255

enum socks5_method {
    SOCKS5_METHOD_NONE = 0, /* no authentication */
    SOCKS5_METHOD_LOGIN = 2,
    SOCKS5_METHOD_REFUSED = 0xFF,
};

enum socks5_command {
    SOCKS5_CONNECT = 1,
    SOCKS5_BIND = 2,
    SOCKS5_ASSOCIATE = 3,
};

enum socks5_rep {
    SOCKS5_SUCCEEDED = 0,
    SOCKS5_FAILED = 1,
    SOCKS5_FORBIDDEN = 2,
    SOCKS5_NET_UNREACHABLE = 3,
    SOCKS5_HOST_UNREACHABLE = 4,
    SOCKS5_REFUSED = 5,
    SOCKS5_TTL_EXPIRED = 6,
    SOCKS5_BAD_COMMAND = 7,
    SOCKS5_BAD_ADDRESS_TYPE = 8,
};

/* Where to: an address, or (addr.family is ADDR_NONE) a name and addr.port. */
struct socks5_target {
    struct addr addr;
    char name[SOCKS5_NAME_MAX + 1]; /* "" with an address */
};

struct socks5_methods {
    bool none, login; /* which of ours were offered */
};

struct socks5_login {
    char name[256], password[256];
    size_t name_len, password_len; /* they may hold NULs, which no user's do */
};

struct socks5_request {
    uint8_t command;             /* enum socks5_command */
    enum socks5_rep refusal;     /* not SOCKS5_SUCCEEDED: answer this, the rest is not set */
    struct socks5_target target; /* DST.ADDR, DST.PORT */
};

struct socks5_datagram {
    uint8_t fragment; /* FRAG; not 0: nothing else is set */
    struct socks5_target target;
    const uint8_t *payload; /* in the datagram */
    size_t payload_len;
};

/* From an app's stream. Return: the message's length, 0 (more is needed), or -EPROTO. */
ptrdiff_t socks5_read_methods(const uint8_t *data, size_t len, struct socks5_methods *ret);
ptrdiff_t socks5_read_login(const uint8_t *data, size_t len, struct socks5_login *ret);
/* A request that is refused may be longer than the length says: nothing behind it counts. */
ptrdiff_t socks5_read_request(const uint8_t *data, size_t len, struct socks5_request *ret);

/* A whole datagram. Return: false when it is none. */
bool socks5_read_datagram(const uint8_t *data, size_t len, struct socks5_datagram *ret);

#define SOCKS5_REPLY_MAX  22 /* VER REP RSV, ATYP and an address */
#define SOCKS5_HEADER_MAX 22 /* RSV FRAG, ATYP and an address */

/* ATYP is the address's family; ADDR_NONE is written as 0.0.0.0:0, for failures.
 * Return: the length. */
size_t socks5_put_reply(uint8_t buf[SOCKS5_REPLY_MAX], enum socks5_rep rep,
                        const struct addr *bound);
/* In front of a datagram to the app; `from` is the true sender. Return: the length. */
size_t socks5_put_header(uint8_t buf[SOCKS5_HEADER_MAX], const struct addr *from);

/* ATYP, address, port: what a client writes. An address goes as one. */
void socks5_put_target(struct writer *w, const struct socks5_target *target);
/* The target that a text means: an IP literal (with or without brackets) or a name.
 * Return: false when it is neither: empty, too long, or with bytes that are in no name. */
bool socks5_target_of(const char *text, size_t len, uint16_t port, struct socks5_target *ret);
