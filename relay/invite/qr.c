#include "relay/invite/qr.h"

#include <errno.h>
#include <qrencode.h>
#include <stdbool.h>

#define QUIET 4 /* modules */

/* Of the 256 colours, these two are fixed; the first sixteen are the theme's. */
#define BLACK_ON_WHITE "\033[38;5;16;48;5;231m"
#define RESET          "\033[0m"

static bool is_dark(const QRcode *code, int x, int y)
{
    return x >= 0 && y >= 0 && x < code->width && y < code->width &&
           (code->data[y * code->width + x] & 1);
}

static void print_row(FILE *out, const QRcode *code, int y)
{
    static const char *const cells[2][2] = {{" ", "\xe2\x96\x84"},
                                            {"\xe2\x96\x80", "\xe2\x96\x88"}};

    fputs(BLACK_ON_WHITE, out);
    for (int x = -QUIET; x < code->width + QUIET; x++)
        fputs(cells[is_dark(code, x, y)][is_dark(code, x, y + 1)], out);
    fputs(RESET "\n", out);
}

int qr_print(FILE *out, const char *text, unsigned int columns)
{
    QRcode *code = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_L);
    int r = 0;

    if (!code)
        return errno == ERANGE ? QR_E_TOO_LONG : -errno;
    if (columns < (unsigned int)code->width + 2 * QUIET)
        r = QR_E_NARROW;
    else
        for (int y = -QUIET; y < code->width + QUIET; y += 2)
            print_row(out, code, y);
    QRcode_free(code);
    return r;
}
