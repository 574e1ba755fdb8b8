/*
 * tests/fuzz/fuzz.h - what a fuzz target is
 *
 * The signature is libFuzzer's. The same file is linked either with libFuzzer
 * (-Dfuzz=true) or with replay.c, which feeds it the corpus in the unit suite.
 * Both hand over heap buffers of exactly `size` bytes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A broken promise of the decoder ends the run, whatever NDEBUG says. */
#define fuzz_check(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)
