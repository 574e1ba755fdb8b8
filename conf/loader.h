/*
 * conf/loader.h - the lines of a file into a struct conf
 */
#pragma once

#include <stdio.h>

struct conf;

/* Reports every error of `in`, which stays the caller's, and of the users file that it names;
 * `name` stands for it in messages. `role` is one bit of enum role.
 * Return: the configuration, or NULL after any error. */
struct conf *loader_load(FILE *in, const char *name, unsigned int role);
