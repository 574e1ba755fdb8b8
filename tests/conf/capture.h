/*
 * tests/conf/capture.h - what a piece of code writes to a standard stream
 */
#pragma once

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct capture {
    FILE *stream;
    int fd, saved;
    char text[65536];
};

static inline void capture_begin(struct capture *c, FILE *stream)
{
    c->stream = stream;
    fflush(stream);
    c->fd = memfd_create("capture", MFD_CLOEXEC);
    c->saved = dup(fileno(stream));
    ck_assert_int_ge(c->fd, 0);
    ck_assert_int_ge(c->saved, 0);
    ck_assert_int_ge(dup2(c->fd, fileno(stream)), 0);
}

static inline void capture_end(struct capture *c)
{
    ssize_t n;

    fflush(c->stream);
    dup2(c->saved, fileno(c->stream));
    close(c->saved);
    n = pread(c->fd, c->text, sizeof(c->text) - 1, 0);
    close(c->fd);
    ck_assert_int_ge(n, 0);
    c->text[n] = '\0';
}
