/*
 * PRECIS FreeformClass from Unicode's general categories (RFC 8264, section 8): letters, digits,
 * marks, symbols, punctuation and spaces are in; controls, format characters, private use,
 * unassigned code points, conjoining jamo and what is invisible by design are out. A few characters
 * depend on their neighbours: conf/context.c.
 *
 * libunistring knows the Unicode of its release; younger characters are "unassigned" to it and
 * refused, as the RFC asks: their normal form is not known yet.
 */
#include "conf/opaque.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unictype.h>
#include <uninorm.h>
#include <unistr.h>

#include "conf/context.h"

/* RFC 8264, section 9.6 (from RFC 5892, section 2.6): allowed or refused whatever the category. */
static bool is_exception(ucs4_t c, bool *ret_allowed)
{
    *ret_allowed = c == 0x06fd || c == 0x06fe || c == 0x0f0b || c == 0x3007;
    return *ret_allowed || c == 0x0640 || c == 0x07fa || c == 0x302e || c == 0x302f ||
           (c >= 0x3031 && c <= 0x3035) || c == 0x303b;
}

/* Conjoining jamo; a syllable has its own, composed character. */
static bool is_old_hangul_jamo(ucs4_t c)
{
    return (c >= 0x1100 && c <= 0x11ff) || (c >= 0xa960 && c <= 0xa97c) ||
           (c >= 0xd7b0 && c <= 0xd7c6) || (c >= 0xd7cb && c <= 0xd7fb);
}

static bool is_freeform(ucs4_t c)
{
    const uint32_t classes = UC_CATEGORY_MASK_L | UC_CATEGORY_MASK_M | UC_CATEGORY_MASK_N |
                             UC_CATEGORY_MASK_P | UC_CATEGORY_MASK_S | UC_CATEGORY_MASK_Zs;
    bool allowed;

    if (is_exception(c, &allowed))
        return allowed;
    if (is_old_hangul_jamo(c) || uc_is_property_default_ignorable_code_point(c) ||
        uc_is_property_not_a_character(c))
        return false;
    return uc_is_general_category_withtable(c, classes);
}

static int check_characters(const uint32_t *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (uc_is_general_category_withtable(text[i], UC_CATEGORY_MASK_Cc))
            return OPAQUE_E_CONTROL;
        if (context_matters(text[i]) ? !context_allows(text, len, i) : !is_freeform(text[i]))
            return OPAQUE_E_DISALLOWED;
    }
    return 0;
}

/* RFC 8265, section 4.2.1, additional mapping rule. */
static void map_spaces(uint32_t *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (uc_is_general_category_withtable(text[i], UC_CATEGORY_MASK_Zs))
            text[i] = ' ';
}

static int to_utf8(const uint32_t *text, size_t len, char **ret)
{
    size_t n_normal = 0, n_bytes = 0;
    uint32_t *normal = u32_normalize(UNINORM_NFC, text, len, NULL, &n_normal);
    uint8_t *bytes = normal ? u32_to_u8(normal, n_normal, NULL, &n_bytes) : NULL;
    char *out = bytes ? strndup((const char *)bytes, n_bytes) : NULL;

    if (normal)
        explicit_bzero(normal, n_normal * sizeof(*normal));
    if (bytes)
        explicit_bzero(bytes, n_bytes);
    free(normal);
    free(bytes);
    if (!out)
        return -ENOMEM;
    *ret = out;
    return 0;
}

int opaque_string(const char *in, char **ret)
{
    const uint8_t *bytes = (const uint8_t *)in;
    size_t n_bytes = strlen(in), len = 0;
    uint32_t *text;
    int r;

    if (n_bytes == 0)
        return OPAQUE_E_EMPTY;
    if (u8_check(bytes, n_bytes))
        return OPAQUE_E_UTF8;
    text = u8_to_u32(bytes, n_bytes, NULL, &len);
    if (!text)
        return -ENOMEM;
    r = check_characters(text, len);
    if (r == 0) {
        map_spaces(text, len);
        r = to_utf8(text, len, ret);
    }
    explicit_bzero(text, len * sizeof(*text));
    free(text);
    return r;
}

const char *opaque_reason(int answer)
{
    switch (answer) {
    case OPAQUE_E_EMPTY:
        return "it is empty";
    case OPAQUE_E_UTF8:
        return "it is not UTF-8";
    case OPAQUE_E_CONTROL:
        return "it contains a control character";
    default:
        return "it contains a character that cannot be compared reliably (RFC 8264)";
    }
}
