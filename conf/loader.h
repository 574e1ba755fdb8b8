/*
 * conf/loader.h - the lines of a file into a struct conf
 */
#pragma once

#include <stdio.h>

struct conf;

/* Reports every error of `in`, which stays the caller's; `name` stands for it in messages.
 * Return: the configuration, or NULL after any error. */
struct conf *loader_load(FILE *in, const char *name);
