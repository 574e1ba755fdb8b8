/*
 * tests/net/support.h - a certificate in a temporary directory, a loop with a bound
 */
#pragma once

#include <check.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/net/tls.h"
#include "conf/url.h"
#include "conf/value.h"
#include "tests/support/suite.h"

struct temp_pair {
    char dir[64];
    char cert[96], key[96];
};

static inline void temp_pair_make(struct temp_pair *t)
{
    snprintf(t->dir, sizeof(t->dir), "/tmp/callveil-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(t->dir));
    snprintf(t->cert, sizeof(t->cert), "%s/cert.pem", t->dir);
    snprintf(t->key, sizeof(t->key), "%s/key.pem", t->dir);
}

static inline void temp_pair_remove(struct temp_pair *t)
{
    unlink(t->cert);
    unlink(t->key);
    ck_assert_int_eq(rmdir(t->dir), 0); /* and nothing else was left in there */
}

static inline struct tls_server *test_tls_server(void)
{
    struct temp_pair files;
    struct tls_server *t = NULL;
    char error[256] = "";

    temp_pair_make(&files);
    ck_assert_msg(tls_server_new(files.cert, files.key, "relay.test", &t, error, sizeof(error)) ==
                      0,
                  "%s", error);
    temp_pair_remove(&files);
    return t;
}

/* Turns the loop until `*done` or `ms` have passed. Return: *done. */
static inline bool run_until(struct event_base *base, const bool *done, unsigned int ms)
{
    uint64_t end_ns = clock_now_ns() + ms * NS_PER_MS;

    while (!*done && clock_now_ns() < end_ns) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        usleep(200);
    }
    return *done;
}

static inline void run_for(struct event_base *base, unsigned int ms)
{
    bool never = false;

    run_until(base, &never, ms);
}

static inline int run_suite(Suite *suite)
{
    signal(SIGPIPE, SIG_IGN);
    return suite_run(suite);
}

/* A pin as `callveil join` reads it. */
static inline bool pin_parse(const char *text, unsigned char ret[URL_PIN_LEN])
{
    char why[VALUE_WHY_LEN];

    return url_pin_parse(text, ret, why) == 0;
}
