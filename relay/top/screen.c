#include "relay/top/screen.h"

#include <errno.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ECMA-48, and the private modes of xterm that every terminal of today has: alternate screen
 * (1049), cursor (25), wrapping of lines (7). */
#define TAKE      "\033[?1049h\033[?25l\033[?7l"
#define GIVE_BACK "\033[?7h\033[?25h\033[?1049l"
#define HOME      "\033[H"
#define END_LINE  "\033[K"
#define END_PAGE  "\033[J"

int screen_take(struct screen *s)
{
    struct termios raw;

    if (tcgetattr(STDIN_FILENO, &s->before) < 0)
        return -errno;
    raw = s->before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    /* ^Z would leave the shell with this screen. */
    raw.c_cc[VSUSP] = _POSIX_VDISABLE;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0)
        return -errno;
    s->taken = true;
    fputs(TAKE, stdout);
    fflush(stdout);
    return 0;
}

void screen_give_back(struct screen *s)
{
    if (!s->taken)
        return;
    fputs(GIVE_BACK, stdout);
    fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &s->before);
    s->taken = false;
}

void screen_draw(const struct view *view)
{
    struct winsize size = {0};
    size_t n_rows = 24, n_columns = 80;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
        n_rows = size.ws_row;
        n_columns = size.ws_col;
    }
    fputs(HOME, stdout);
    for (size_t i = 0; i < view->n && i < n_rows; i++) {
        fwrite(view->line[i], 1, view_fit(view->line[i], n_columns), stdout);
        /* No newline behind the last row: it would scroll. */
        fputs(i + 1 < view->n && i + 1 < n_rows ? END_LINE "\n" : END_LINE, stdout);
    }
    fputs(END_PAGE, stdout);
    fflush(stdout);
}
