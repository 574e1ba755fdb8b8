/*
 * relay/seal/why.h - the one line that says why there is no seal, and what helps
 */
#pragma once

#define SEAL_WHY_LEN 400

/* Return: -1, for the caller to pass on. */
__attribute__((format(printf, 2, 3))) int seal_fail(char why[SEAL_WHY_LEN], const char *format,
                                                    ...);
