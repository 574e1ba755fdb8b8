#include "conf/context.h"

#include <string.h>
#include <unictype.h>

#define ZERO_WIDTH_NON_JOINER 0x200c
#define ZERO_WIDTH_JOINER     0x200d
#define MIDDLE_DOT            0x00b7
#define GREEK_KERAIA          0x0375
#define HEBREW_GERESH         0x05f3
#define HEBREW_GERSHAYIM      0x05f4
#define KATAKANA_MIDDLE_DOT   0x30fb

/* Arabic-Indic digits, and the Extended ones: the same digits to the eye. */
static bool is_arabic_digit(uint32_t c)
{
    return c >= 0x0660 && c <= 0x0669;
}

static bool is_extended_digit(uint32_t c)
{
    return c >= 0x06f0 && c <= 0x06f9;
}

bool context_matters(uint32_t c)
{
    switch (c) {
    case ZERO_WIDTH_NON_JOINER:
    case ZERO_WIDTH_JOINER:
    case MIDDLE_DOT:
    case GREEK_KERAIA:
    case HEBREW_GERESH:
    case HEBREW_GERSHAYIM:
    case KATAKANA_MIDDLE_DOT:
        return true;
    default:
        return is_arabic_digit(c) || is_extended_digit(c);
    }
}

static bool is_script(uint32_t c, const char *name)
{
    const uc_script_t *script = uc_script(c);

    return script && strcmp(script->name, name) == 0;
}

/* Appendix A.1 and A.2. Virama is canonical combining class 9. */
static bool follows_virama(const uint32_t *text, size_t i)
{
    return i > 0 && uc_combining_class(text[i - 1]) == UC_CCC_VR;
}

/* Appendix A.1: between letters that would join, whatever transparent marks stand between. */
static bool breaks_a_join(const uint32_t *text, size_t len, size_t i)
{
    size_t before = i, after = i + 1;
    int type;

    while (before > 0 && uc_joining_type(text[before - 1]) == UC_JOINING_TYPE_T)
        before--;
    while (after < len && uc_joining_type(text[after]) == UC_JOINING_TYPE_T)
        after++;
    if (before == 0 || after == len)
        return false;
    type = uc_joining_type(text[before - 1]);
    if (type != UC_JOINING_TYPE_L && type != UC_JOINING_TYPE_D)
        return false;
    type = uc_joining_type(text[after]);
    return type == UC_JOINING_TYPE_R || type == UC_JOINING_TYPE_D;
}

static bool any_japanese(const uint32_t *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (is_script(text[i], "Hiragana") || is_script(text[i], "Katakana") ||
            is_script(text[i], "Han"))
            return true;
    return false;
}

static bool any(const uint32_t *text, size_t len, bool (*is)(uint32_t c))
{
    for (size_t i = 0; i < len; i++)
        if (is(text[i]))
            return true;
    return false;
}

bool context_allows(const uint32_t *text, size_t len, size_t i)
{
    switch (text[i]) {
    case ZERO_WIDTH_NON_JOINER:
        return follows_virama(text, i) || breaks_a_join(text, len, i);
    case ZERO_WIDTH_JOINER:
        return follows_virama(text, i);
    case MIDDLE_DOT:
        return i > 0 && i + 1 < len && text[i - 1] == 'l' && text[i + 1] == 'l';
    case GREEK_KERAIA:
        return i + 1 < len && is_script(text[i + 1], "Greek");
    case HEBREW_GERESH:
    case HEBREW_GERSHAYIM:
        return i > 0 && is_script(text[i - 1], "Hebrew");
    case KATAKANA_MIDDLE_DOT:
        return any_japanese(text, len);
    default:
        return !any(text, len, is_arabic_digit(text[i]) ? is_extended_digit : is_arabic_digit);
    }
}
