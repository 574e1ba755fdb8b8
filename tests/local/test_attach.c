/*
 * Runs that attach: what they pass is judged, and ends when they end
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/batch.h"
#include "common/net/pass.h"
#include "relay/attach.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_exit.h"
#include "tests/support/suite.h"

#define TOKEN "0123456789abcdef0123456789abcdef"

static struct {
    struct event_base *base;
    struct rx_batch *rx;
    struct tx_queue *tx;
    struct counters counters;
    struct fake_exit exit;
    struct attach *attach;
    bool is_ready;
    unsigned int n_ended;
    int n_fds;
} env;

/* What a run passes, and the keeper's end of the link. */
struct parts {
    int fds[KEEPER_N_FDS], keeper;
};

static int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static bool is_ready(void *arg)
{
    return env.is_ready;
}

static void on_run_ended(void *arg)
{
    env.n_ended++;
}

static void setup(void)
{
    struct attach_params params = {
        .is_ready = is_ready, .page_token = TOKEN, .on_run_ended = on_run_ended};

    memset(&env, 0, sizeof(env));
    log_init(LOG_LEVEL_ERROR, false);
    env.n_fds = count_fds();
    env.base = event_base_new();
    env.rx = rx_batch_new();
    env.tx = tx_queue_new(NULL);
    fake_exit_init(&env.exit);
    params.gate = (struct gate_params){.base = env.base,
                                       .rx = env.rx,
                                       .tx = env.tx,
                                       .exit = &env.exit.exit,
                                       .counters = &env.counters};
    env.attach = attach_new(&params);
    ck_assert_ptr_nonnull(env.attach);
}

static void teardown(void)
{
    attach_free(env.attach);
    ck_assert_int_eq(event_base_get_num_events(env.base, EVENT_BASE_COUNT_ADDED), 0);
    fake_exit_deinit(&env.exit);
    tx_queue_free(env.tx);
    rx_batch_free(env.rx);
    event_base_free(env.base);
    ck_assert_int_eq(count_fds(), env.n_fds); /* whatever was passed has been closed */
}

/* Longer than it takes to look again whether there is a relay. */
static void turn(void)
{
    static const struct timeval a_while = {.tv_usec = 30000};

    event_base_loopexit(env.base, &a_while);
    event_base_dispatch(env.base);
}

/* ---- a run ---- */

static int new_run(void)
{
    int ends[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    ck_assert_int_eq(attach_adopt(env.attach, ends[0]), 0);
    return ends[1];
}

static int new_socket(int domain, int type)
{
    int fd = socket(domain, type, 0);

    ck_assert_int_ge(fd, 0);
    if (type == SOCK_STREAM)
        ck_assert_int_eq(listen(fd, 1), 0);
    return fd;
}

static struct parts new_parts(void)
{
    struct parts p;
    int link[2];

    p.fds[KEEPER_TCP4] = new_socket(AF_INET, SOCK_STREAM);
    p.fds[KEEPER_TCP6] = new_socket(AF_INET6, SOCK_STREAM);
    p.fds[KEEPER_UDP4] = new_socket(AF_INET, SOCK_DGRAM);
    p.fds[KEEPER_UDP6] = new_socket(AF_INET6, SOCK_DGRAM);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, link), 0);
    p.fds[KEEPER_LINK] = link[0];
    p.keeper = link[1];
    return p;
}

static void close_parts(struct parts *p)
{
    for (int i = 0; i < KEEPER_N_FDS; i++)
        close(p->fds[i]);
    close(p->keeper);
}

static void ask(int run, const struct parts *p, size_t n)
{
    const struct keeper_attach want = {.version = KEEPER_VERSION};

    ck_assert_int_eq(pass_send(run, &want, sizeof(want), p->fds, n), 0);
    turn();
}

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

static struct keeper_attached answer(int run)
{
    struct keeper_attached a;

    ck_assert(is_readable(run));
    ck_assert_int_eq(pass_recv(run, &a, sizeof(a), NULL, 0), 0);
    ck_assert_uint_eq(a.version, KEEPER_VERSION);
    return a;
}

static void check_ended(int fd)
{
    char byte;

    ck_assert(is_readable(fd));
    ck_assert_int_le(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
}

static void check_refused(int run, int status)
{
    ck_assert_int_eq(answer(run).status, status);
    check_ended(run);
    ck_assert_uint_eq(env.n_ended, 1);
}

/* ---- what becomes of it ---- */

START_TEST(it_is_told_once_there_are_a_gate_and_a_relay)
{
    struct parts p = new_parts();
    int run = new_run();
    struct keeper_attached a;

    ask(run, &p, KEEPER_N_FDS);
    ck_assert(!is_readable(run));
    env.is_ready = true;
    turn();
    a = answer(run);
    ck_assert_int_eq(a.status, 0);
    ck_assert_uint_eq(a.is_ready, 1);
    ck_assert_str_eq(a.page_token, TOKEN);
    ck_assert(is_readable(p.keeper)); /* the gate asks it for sockets */
    close(run);
    close_parts(&p);
}
END_TEST

START_TEST(without_a_relay_it_is_told_after_a_while)
{
    struct parts p = new_parts();
    int run = new_run();

    ask(run, &p, KEEPER_N_FDS);
    fake_now_ns += ATTACH_READY_S * NS_PER_S - 1;
    turn();
    ck_assert(!is_readable(run));
    fake_now_ns += 1;
    turn();
    ck_assert_uint_eq(answer(run).is_ready, 0);
    close(run);
    close_parts(&p);
}
END_TEST

START_TEST(its_end_is_the_gates)
{
    struct parts p = new_parts();
    int run = new_run();
    char byte;

    env.is_ready = true;
    ask(run, &p, KEEPER_N_FDS);
    close(p.fds[KEEPER_LINK]);
    p.fds[KEEPER_LINK] = -1;
    close(run);
    turn();
    while (recv(p.keeper, &byte, 1, MSG_DONTWAIT) > 0) {
    }
    check_ended(p.keeper);
    ck_assert_uint_eq(env.n_ended, 1);
    close_parts(&p);
}
END_TEST

START_TEST(the_keepers_end_is_its_own)
{
    struct parts p = new_parts();
    int run = new_run();

    env.is_ready = true;
    ask(run, &p, KEEPER_N_FDS);
    (void)answer(run);
    close_parts(&p);
    turn();
    check_ended(run);
    ck_assert_uint_eq(env.n_ended, 1);
    close(run);
}
END_TEST

START_TEST(another_version_is_refused)
{
    const struct keeper_attach want = {.version = KEEPER_VERSION + 1};
    struct parts p = new_parts();
    int run = new_run();

    ck_assert_int_eq(pass_send(run, &want, sizeof(want), p.fds, KEEPER_N_FDS), 0);
    turn();
    check_refused(run, -EPROTONOSUPPORT);
    close(run);
    close_parts(&p);
}
END_TEST

/* Each descriptor in turn is one of another kind: `_i`. */
START_TEST(descriptors_of_other_kinds_are_refused)
{
    static const struct {
        int domain, type;
    } others[KEEPER_N_FDS] = {
        [KEEPER_TCP4] = {AF_INET6, SOCK_STREAM}, [KEEPER_TCP6] = {AF_INET, SOCK_STREAM},
        [KEEPER_UDP4] = {AF_INET6, SOCK_DGRAM},  [KEEPER_UDP6] = {AF_UNIX, SOCK_DGRAM},
        [KEEPER_LINK] = {AF_UNIX, SOCK_STREAM},
    };
    struct parts p = new_parts();
    int run = new_run();

    close(p.fds[_i]);
    p.fds[_i] = socket(others[_i].domain, others[_i].type, 0);
    ask(run, &p, KEEPER_N_FDS);
    check_refused(run, -EINVAL);
    close(run);
    close_parts(&p);
}
END_TEST

START_TEST(a_socket_that_does_not_listen_and_a_file_are_refused)
{
    for (int i = 0; i < 2; i++) {
        struct parts p = new_parts();
        int run = new_run(), end[2];

        close(p.fds[KEEPER_TCP4]);
        if (i == 0) {
            p.fds[KEEPER_TCP4] = socket(AF_INET, SOCK_STREAM, 0);
        } else {
            ck_assert_int_eq(pipe(end), 0);
            p.fds[KEEPER_TCP4] = end[0];
            close(end[1]);
        }
        env.n_ended = 0;
        ask(run, &p, KEEPER_N_FDS);
        check_refused(run, -EINVAL);
        close(run);
        close_parts(&p);
    }
}
END_TEST

START_TEST(too_few_descriptors_are_refused)
{
    for (size_t n = 0; n < KEEPER_N_FDS; n++) {
        struct parts p = new_parts();
        int run = new_run();

        env.n_ended = 0;
        ask(run, &p, n);
        check_refused(run, -EBADMSG);
        close(run);
        close_parts(&p);
    }
}
END_TEST

START_TEST(what_is_no_message_ends_it)
{
    struct parts p = new_parts();
    int run = new_run();

    ck_assert_int_eq(pass_send(run, "hello", 5, p.fds, 2), 0);
    turn();
    check_ended(run);
    ck_assert_uint_eq(env.n_ended, 1);
    close(run);
    close_parts(&p);
}
END_TEST

START_TEST(a_second_message_ends_it)
{
    struct parts p = new_parts();
    int run = new_run();

    env.is_ready = true;
    ask(run, &p, KEEPER_N_FDS);
    (void)answer(run);
    ask(run, &p, KEEPER_N_FDS);
    check_ended(run);
    ck_assert_uint_eq(env.n_ended, 1);
    close(run);
    close_parts(&p);
}
END_TEST

START_TEST(one_that_says_nothing_is_ended)
{
    int run = new_run();

    fake_now_ns += ATTACH_WAIT_S * NS_PER_S;
    attach_sweep(env.attach, fake_now_ns);
    turn();
    ck_assert(!is_readable(run));
    attach_sweep(env.attach, ++fake_now_ns);
    check_ended(run);
    ck_assert_uint_eq(env.n_ended, 1);
    close(run);
}
END_TEST

START_TEST(there_are_no_more_than_so_many)
{
    int runs[ATTACH_MAX], ends[2];

    for (size_t i = 0; i < ATTACH_MAX; i++)
        runs[i] = new_run();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    ck_assert_int_eq(attach_adopt(env.attach, ends[0]), -EBUSY);
    check_ended(ends[1]);
    close(runs[0]);
    turn();
    runs[0] = new_run();
    for (size_t i = 0; i < ATTACH_MAX; i++)
        close(runs[i]);
    close(ends[1]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("local/attach");
    TCase *t = tcase_create("attach");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, it_is_told_once_there_are_a_gate_and_a_relay);
    tcase_add_test(t, without_a_relay_it_is_told_after_a_while);
    tcase_add_test(t, its_end_is_the_gates);
    tcase_add_test(t, the_keepers_end_is_its_own);
    tcase_add_test(t, another_version_is_refused);
    tcase_add_loop_test(t, descriptors_of_other_kinds_are_refused, 0, KEEPER_N_FDS);
    tcase_add_test(t, a_socket_that_does_not_listen_and_a_file_are_refused);
    tcase_add_test(t, too_few_descriptors_are_refused);
    tcase_add_test(t, what_is_no_message_ends_it);
    tcase_add_test(t, a_second_message_ends_it);
    tcase_add_test(t, one_that_says_nothing_is_ended);
    tcase_add_test(t, there_are_no_more_than_so_many);
    suite_add_tcase(s, t);
    return suite_run(s);
}
