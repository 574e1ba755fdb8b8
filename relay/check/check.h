/*
 * relay/check/check.h - `callveil check`: what do peers see?
 *
 * Every configured transport is tried with real packets (probe.h), and the addresses
 * that the far side saw are held against those of this machine. The verdict is "safe"
 * only if at least one transport carries datagrams and no address of this machine was
 * seen through any.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "conf/conf.h"

/* Tries all and says so on `out`, as text or as one JSON object. Return: the exit status: 0 safe, 1
 * not, or not to be told. Takes some seconds for each url. */
int check_run(const struct conf *conf, bool json, FILE *out);

/* `callveil check`: argv[0] is "check". Return: the exit status. */
int check_command(int argc, char **argv);
