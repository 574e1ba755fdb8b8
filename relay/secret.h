/*
 * relay/secret.h - passwords and tokens that are made up at a start and die with the process
 *
 * Threads: any.
 */
#pragma once

#include <stdbool.h>

#define SECRET_LEN 32 /* hexadecimal digits: 128 bits */

/* With its end. Return: false when the system has no randomness; *ret is empty then. */
bool secret_draw(char ret[SECRET_LEN + 1]);
