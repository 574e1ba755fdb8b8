/*
 * relay/usage.h - what a wrong command line is answered with
 *
 * One line on stderr that names the command and what is wrong, with a guess at what
 * was meant, and where to read on.
 */
#pragma once

#include <getopt.h>
#include <stddef.h>

#define EXIT_USAGE 2 /* wrong usage or configuration */

/* `command` is a subcommand's name, NULL for callveil itself. Return: EXIT_USAGE. */
__attribute__((format(printf, 2, 3))) int usage_error(const char *command, const char *format, ...);

/* As usage_error(), about a command or option that does not exist, with the candidate that is close
 * to it, if one is. `dashes` ("--" or "") stands before all of them. */
int usage_unknown(const char *command, const char *dashes, const char *word,
                  const char *const *candidates, size_t n_candidates);

/* Explains the '?' or ':' that getopt_long() has just answered; opterr must be 0 and the short
 * options must start with ':'. Return: EXIT_USAGE. */
int usage_bad_option(const char *command, const struct option *options, char *const *argv,
                     int answer);
