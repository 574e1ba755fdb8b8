/*
 * conf/opaque.h - one spelling for user names and passwords
 *
 * The same name can be typed as different bytes (composed or decomposed accents, several kinds of
 * space). STUN compares and hashes bytes, so RFC 8489 has both sides pass USERNAME, REALM and
 * passwords through the OpaqueString profile of PRECIS (RFC 8265, section 4) first.
 */
#pragma once

/* Documented answers. */
enum {
    OPAQUE_E_EMPTY = 1,      /* nothing left */
    OPAQUE_E_UTF8 = 2,       /* not UTF-8 */
    OPAQUE_E_CONTROL = 3,    /* a control character */
    OPAQUE_E_DISALLOWED = 4, /* another character outside FreeformClass (RFC 8264, section 4.3) */
};

/* Return: 0 and *ret, the caller's to free; -ENOMEM; or OPAQUE_E_*. */
int opaque_string(const char *in, char **ret);

/* "it is empty", for messages: a sentence that does not repeat the text. */
const char *opaque_reason(int answer);
