/*
 * `callveil top`: asks every second, draws what came.
 *
 * On a terminal it stays until q or a signal, through restarts of the role and times
 * when nobody answers, which it says. Elsewhere it prints one page: from two answers a
 * second apart, since rates need two.
 */
#include "relay/top/top.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "relay/top/ask.h"
#include "relay/top/role.h"
#include "relay/top/screen.h"

#define TOP_SIGNALS 4

struct top {
    struct event_base *base;
    struct ask *ask;
    bool on_terminal;
    struct screen screen;
    struct view view;
    json_t *now, *before;
    uint64_t now_ns, before_ns;
    struct event *again, *key, *signals[TOP_SIGNALS];
    char silent_since[16]; /* "12:03:05"; "": it answers */
    bool failed;
};

static void top_end(struct top *t, bool failed)
{
    t->failed = failed;
    event_base_loopbreak(t->base);
}

static void top_print(const struct top *t)
{
    for (size_t i = 0; i < t->view.n; i++)
        puts(t->view.line[i]);
}

/* ---- answers ---- */

static void top_keep(struct top *t, json_t *root)
{
    json_decref(t->before);
    t->before = t->now;
    t->before_ns = t->now_ns;
    t->now = json_incref(root);
    t->now_ns = clock_now_ns();
}

static void top_make_view(struct top *t)
{
    double seconds = t->before ? (double)(t->now_ns - t->before_ns) / NS_PER_S : 0;

    view_make(&t->view, t->now, t->before, seconds, (double)clock_real_s());
}

/* The last answer stays on the screen, with a line that says that it is old. */
static void top_note_silence(struct top *t, const char *why)
{
    time_t now = time(NULL);
    struct tm tm;

    if (!t->silent_since[0] && localtime_r(&now, &tm))
        strftime(t->silent_since, sizeof(t->silent_since), "%H:%M:%S", &tm);
    top_make_view(t);
    snprintf(t->view.line[1], VIEW_BYTES, "NO ANSWER since %s: %s", t->silent_since, why);
}

static void top_on_answer(void *user, json_t *root, const char *text, size_t len, const char *why)
{
    static const struct timeval second = {.tv_sec = 1};
    struct top *t = user;

    if (!root && (!t->on_terminal || !t->now)) {
        screen_give_back(&t->screen);
        fprintf(stderr, "callveil top: %s\n", why);
        top_end(t, true);
        return;
    }
    if (root) {
        t->silent_since[0] = '\0';
        top_keep(t, root);
        top_make_view(t);
    } else {
        top_note_silence(t, why);
    }
    if (t->on_terminal) {
        screen_draw(&t->view);
    } else if (t->before) {
        top_print(t);
        top_end(t, false);
        return;
    }
    event_add(t->again, &second);
}

/* ---- events ---- */

static void top_on_again(evutil_socket_t fd, short what, void *arg)
{
    struct top *t = arg;

    ask_stats(t->ask);
}

static void top_on_key(evutil_socket_t fd, short what, void *arg)
{
    struct top *t = arg;
    char key;
    ssize_t n = read(fd, &key, 1);

    /* 0: the terminal has gone. */
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) ||
        (n == 1 && (key == 'q' || key == 'Q')))
        top_end(t, false);
}

static void top_on_signal(evutil_socket_t sig, short what, void *arg)
{
    struct top *t = arg;

    if (sig != SIGWINCH)
        top_end(t, false);
    else if (t->now)
        screen_draw(&t->view);
}

static int top_init_terminal(struct top *t)
{
    static const int numbers[TOP_SIGNALS] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH};
    int r;

    t->key = event_new(t->base, STDIN_FILENO, EV_READ | EV_PERSIST, top_on_key, t);
    if (!t->key || event_add(t->key, NULL) < 0)
        return -ENOMEM;
    /* Before the terminal is taken: from then on it is to be given back. */
    for (size_t i = 0; i < TOP_SIGNALS; i++) {
        t->signals[i] = evsignal_new(t->base, numbers[i], top_on_signal, t);
        if (!t->signals[i] || event_add(t->signals[i], NULL) < 0)
            return -ENOMEM;
    }
    r = screen_take(&t->screen);
    if (r == 0) {
        t->view.n = 0;
        view_put(&t->view, "callveil top");
        screen_draw(&t->view);
    }
    return r;
}

static void top_deinit(struct top *t)
{
    screen_give_back(&t->screen);
    ask_free(t->ask);
    for (size_t i = 0; i < TOP_SIGNALS; i++)
        if (t->signals[i])
            event_free(t->signals[i]);
    if (t->key)
        event_free(t->key);
    if (t->again)
        event_free(t->again);
    if (t->base)
        event_base_free(t->base);
    json_decref(t->now);
    json_decref(t->before);
}

static int top_run(struct top *t, const struct top_role *role)
{
    char why[ASK_WHY_LEN] = "out of memory";
    int r = 0;

    t->on_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    t->base = event_base_new();
    t->again = t->base ? evtimer_new(t->base, top_on_again, t) : NULL;
    if (t->again)
        t->ask = ask_new(t->base, role->conf, role->name, top_on_answer, t, why);
    if (!t->ask) {
        fprintf(stderr, "callveil top: %s\n", why);
        return 1;
    }
    if (t->on_terminal)
        r = top_init_terminal(t);
    if (r < 0) {
        fprintf(stderr, "callveil top: cannot use the terminal: %s\n", strerror(-r));
        return 1;
    }
    ask_stats(t->ask);
    event_base_dispatch(t->base);
    return t->failed ? 1 : 0;
}

int top_command(int argc, char **argv)
{
    struct top top = {0};
    struct top_role role;
    int status = top_role_read("top", argc, argv, &role);

    if (status == 0)
        status = top_run(&top, &role);
    top_deinit(&top);
    top_role_deinit(&role);
    return status;
}
