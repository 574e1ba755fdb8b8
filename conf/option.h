/*
 * conf/option.h - the table made from options.def
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"

/* Bits: an option or a section may belong to both. */
enum role {
    ROLE_relay = 1,
    ROLE_local = 2,
    ROLE_both = ROLE_relay | ROLE_local,
};

enum section_id {
    SECTION_relay,
    SECTION_local,
    SECTION_upstream,
    SECTION_users, /* names and passwords, no options: conf/user.c */
    SECTION_peers,
    SECTION_limits,
    SECTION_stats,
    N_SECTIONS,
};

struct section {
    const char *name, *help;
    unsigned int roles;
};

extern const struct section sections[N_SECTIONS];

/* OPT_relay_max_allocations: named after its role and the (first) field that it sets. */
enum option_id {
#define OPTION(role, section, name, kind, field, field2, min, max, def, help) OPT_##role##_##field,
#include "conf/options.def"
#undef OPTION
    N_OPTIONS,
};

struct option_kind;

struct conf_option {
    unsigned int roles;
    enum section_id section;
    const char *name;
    const struct option_kind *kind;
    size_t field, field2; /* offsets in struct conf */
    uint64_t min, max;
    const char *def, *help;
};

extern const struct conf_option options[N_OPTIONS];

/* "relay" or "local". Return: its bit, or 0. */
unsigned int role_find(const char *name);

/* Return: the option's index, or -1. */
int option_find(unsigned int role, enum section_id section, const char *name);
/* Whether two options (of different roles) set the same field. */
bool option_same_field(const struct conf_option *a, const struct conf_option *b);

/* Reads `text` into the option's fields; of a list, one item, which is added to it.
 * Return: 0; -ENOMEM; VALUE_E_BAD with the reason in `why` (conf/value.h). */
int option_store(const struct conf_option *option, const char *text, struct conf *conf, char *why);

/* Whether the value is a comma separated list. */
bool option_is_list(const struct conf_option *option);
/* Whether the value must not be printed. */
bool option_is_secret(const struct conf_option *option);
/* Whether the option may be given on several lines. */
bool option_repeats(const struct conf_option *option);

/* The type and range in words. Return: `buf`, of OPTION_TYPE_LEN. */
#define OPTION_TYPE_LEN 160
const char *option_type(const struct conf_option *option, char *buf);
