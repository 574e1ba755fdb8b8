/*
 * relay/invite/endpoint.h - where clients reach this relay, and how they know it
 *
 * Filled into a link: a host, the listeners' transports with the best first (those
 * that hide from the network between who is called), and the pin of the relay's key
 * when no authority vouches for its certificate. A vouched-for certificate is not
 * pinned: its next renewal may bring another key.
 */
#pragma once

#include <stddef.h>

#include "common/net/tls.h"
#include "conf/conf.h"
#include "conf/invite_link.h"

#define ENDPOINT_WHY_LEN 512

/* The host: `host` (--host) unless NULL; the name on a certificate that an authority vouches for;
 * public-address; the address of a listener, or relay-address; this machine's own, if the world can
 * reach it. `tls` may be NULL.
 * Return: 0, with link's host, transports and pins set, and in `ret_note` a line that the operator
 * should know of, or ""; -1 with the reason in `ret_note` (ENDPOINT_WHY_LEN). */
int endpoint_find(const struct conf *conf, const struct tls_server *tls, const char *host,
                  struct invite_link *link, char *ret_note);
