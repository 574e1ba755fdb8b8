/*
 * conf/url.h - the address of a relay in a URL, and the pin of its key
 *
 * RFC 7065 writes a relay as turn:HOST[:PORT][?transport=udp|tcp] or turns:...; a
 * pin is the SHA-256 digest of a certificate's SubjectPublicKeyInfo in base64, as
 * RFC 7469 has it, behind "sha256/".
 *
 * As in conf/value.h: 0 and *ret_, or VALUE_E_BAD with the reason in `why`.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"

#define URL_HOST_MAX 253 /* bytes of a DNS name in text (RFC 1035, section 2.3.4) */
#define URL_PIN_LEN  32

/* `host` is a name in DNS syntax, or an IP literal (IPv6 with or without brackets), which comes out
 * in its one normal form and without brackets. *ret is the caller's to free. Return: also
 * -ENOMEM. */
int url_host(const char *host, char **ret, char *why);

/* 3478 and 5349 (RFC 7065, section 3.2, by way of RFC 8656, section 4). */
uint16_t url_default_port(unsigned int protocol);

/* *ret is for url_deinit(). Return: also -ENOMEM. */
int url_parse(const char *text, struct conf_url *ret, char *why);
void url_deinit(struct conf_url *url);
/* "turns:relay.example:5349?transport=udp". Return: `buf`, of URL_TEXT_LEN. */
#define URL_TEXT_LEN (URL_HOST_MAX + 40)
char *url_format(const struct conf_url *url, char *buf);

int url_pin_parse(const char *text, uint8_t ret[URL_PIN_LEN], char *why);
/* Return: `buf`, of URL_PIN_TEXT_LEN. */
#define URL_PIN_TEXT_LEN 64
char *url_pin_format(const uint8_t pin[URL_PIN_LEN], char *buf);
