/*
 * The code as printed is read back cell by cell, and held against libqrencode's own matrix.
 */
#include <qrencode.h>
#include <stdbool.h>

#include "relay/invite/qr.h"
#include "tests/invite/folder.h"

#define COLOURS "\033[38;5;16;48;5;231m"
#define QUIET   4

static char printed[65536];

static int print(const char *text, unsigned int columns)
{
    FILE *out = fmemopen(printed, sizeof(printed), "w");
    int r;

    ck_assert_ptr_nonnull(out);
    printed[0] = '\0';
    r = qr_print(out, text, columns);
    fclose(out);
    return r;
}

/* Return: what the cell at `*at` shows, upper module in bit 0; moves on. */
static unsigned int next_cell(const char **at)
{
    static const char *const cells[] = {" ", "\xe2\x96\x80", "\xe2\x96\x84", "\xe2\x96\x88"};

    for (unsigned int i = 0; i < 4; i++) {
        if (strncmp(*at, cells[i], strlen(cells[i])) != 0)
            continue;
        *at += strlen(cells[i]);
        return i;
    }
    ck_abort_msg("no cell: %.8s", *at);
    return 0;
}

static bool expected(const QRcode *code, int x, int y)
{
    return x >= 0 && y >= 0 && x < code->width && y < code->width &&
           (code->data[y * code->width + x] & 1);
}

static const char text[] =
    "callveil://alice:6b25fzkrjx9x633yj55zmv4ye2@relay.example/?dtls=5349&tls=443&udp=3478&"
    "tcp=3478&pin=sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

START_TEST(every_module_and_the_quiet_zone_are_where_they_belong)
{
    QRcode *code = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_L);
    const char *at = printed;

    ck_assert_int_eq(print(text, 200), 0);
    for (int y = -QUIET; y < code->width + QUIET; y += 2) {
        /* Black on white, and the terminal's own colours again before the line ends. */
        ck_assert_int_eq(strncmp(at, COLOURS, strlen(COLOURS)), 0);
        at += strlen(COLOURS);
        for (int x = -QUIET; x < code->width + QUIET; x++) {
            unsigned int cell = next_cell(&at);

            ck_assert_int_eq(cell & 1, expected(code, x, y));
            ck_assert_int_eq(cell >> 1, expected(code, x, y + 1));
        }
        ck_assert_int_eq(strncmp(at, "\033[0m\n", 5), 0);
        at += 5;
    }
    ck_assert_str_eq(at, "");
    QRcode_free(code);
}
END_TEST

START_TEST(a_code_wider_than_the_terminal_is_not_printed)
{
    QRcode *code = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_L);
    unsigned int width = (unsigned int)code->width + 2 * QUIET;

    QRcode_free(code);
    ck_assert_int_eq(print(text, width - 1), QR_E_NARROW);
    ck_assert_str_eq(printed, "");
    ck_assert_int_eq(print(text, width), 0);
    ck_assert_uint_le(width, 80);
}
END_TEST

START_TEST(a_text_that_no_code_holds_is_refused)
{
    static char longest[3000];

    memset(longest, 'a', sizeof(longest) - 1);
    ck_assert_int_eq(print(longest, 1000), QR_E_TOO_LONG);
    ck_assert_str_eq(printed, "");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("invite/qr");
    TCase *tc = tcase_create("qr");

    tcase_add_test(tc, every_module_and_the_quiet_zone_are_where_they_belong);
    tcase_add_test(tc, a_code_wider_than_the_terminal_is_not_printed);
    tcase_add_test(tc, a_text_that_no_code_holds_is_refused);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
