/*
 * conf/invite_link.h - the link that an invitation is
 *
 *   callveil://USER:PASSWORD@HOST/?dtls=5349&tls=443&udp=3478&tcp=3478&pin=sha256/BASE64
 *
 * USER and PASSWORD are percent-encoded (RFC 3986), HOST is a name or an IP literal
 * (IPv6 in brackets). Behind '?' stand the relay's transports with their ports, in
 * the order of trying, and pins of its key as in local.conf; without a pin,
 * certificates are checked by CA and name. Nothing else is allowed: a link comes
 * from elsewhere, and what it says goes into a configuration.
 *
 * Limits: INVITE_LINK_MAX bytes, INVITE_LINK_PORTS transports, INVITE_LINK_PINS pins.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "conf/url.h"

#define INVITE_LINK_MAX   4096
#define INVITE_LINK_PORTS 8
#define INVITE_LINK_PINS  4

struct invite_link {
    char *user, *password; /* OpaqueString-prepared */
    char *host;            /* as url_host() has it */
    struct {
        unsigned int protocol; /* one of LISTEN_UDP, LISTEN_DTLS, LISTEN_TCP, LISTEN_TLS */
        uint16_t port;
    } at[INVITE_LINK_PORTS];
    size_t n_at;
    uint8_t pin[INVITE_LINK_PINS][URL_PIN_LEN];
    size_t n_pin;
};

/* Return: 0 and *ret, for invite_link_deinit(); -ENOMEM; VALUE_E_BAD with the reason, which repeats
 * neither user nor password, in `why` (conf/value.h). */
int invite_link_decode(const char *text, struct invite_link *ret, char *why);

/* Return: the text, the caller's to wipe and free; NULL when memory is short. What decoding gave
 * encodes to a link that decodes to the same. */
char *invite_link_encode(const struct invite_link *link);

/* The i-th transport as a URL of local.conf. Return: `buf`, of URL_TEXT_LEN. */
char *invite_link_url(const struct invite_link *link, size_t i, char *buf);

/* Wipes and frees what the link holds. */
void invite_link_deinit(struct invite_link *link);
