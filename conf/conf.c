#include "conf/conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/loader.h"
#include "conf/option.h"
#include "conf/report.h"
#include "conf/url.h"
#include "conf/user.h"

static unsigned int find_role(const char *role, const char *name)
{
    struct report report = {.name = name};
    unsigned int bit = role_find(role);

    if (!bit)
        report_error(&report, 0, "there is no role \"%s\"", role);
    return bit;
}

struct conf *conf_load(const char *file, const char *role)
{
    struct report report = {.name = file};
    unsigned int bit = find_role(role, file);
    struct conf *conf;
    FILE *in;

    if (!bit)
        return NULL;
    in = fopen(file, "re");
    if (!in) {
        report_error(&report, 0, "cannot be opened: %s", strerror(errno));
        return NULL;
    }
    conf = loader_load(in, file, bit);
    fclose(in);
    return conf;
}

struct conf *conf_load_text(const char *text, const char *name, const char *role)
{
    struct report report = {.name = name};
    unsigned int bit = find_role(role, name);
    struct conf *conf;
    FILE *in;

    if (!bit)
        return NULL;
    in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    if (!in) {
        report_error(&report, 0, "cannot be read: %s", strerror(errno));
        return NULL;
    }
    conf = loader_load(in, name, bit);
    fclose(in);
    return conf;
}

static void free_secret(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

void conf_free(struct conf *conf)
{
    if (!conf)
        return;
    for (size_t i = 0; i < conf->n_user; i++)
        user_deinit(&conf->user[i]);
    for (size_t i = 0; i < conf->n_secret; i++)
        free_secret(conf->secret[i]);
    for (size_t i = 0; i < conf->n_url; i++)
        url_deinit(&conf->url[i]);
    free_secret(conf->stats_token);
    free_secret(conf->upstream_password);
    free(conf->upstream_user);
    free(conf->url);
    free(conf->pin);
    free(conf->ca_file);
    free(conf->dns);
    free(conf->users_file);
    free(conf->user);
    free(conf->secret);
    free(conf->listen);
    free(conf->allow);
    free(conf->deny);
    free(conf->realm);
    free(conf->certificate);
    free(conf->private_key);
    free(conf->file);
    free(conf);
}

bool conf_stats_is_https(const struct conf *conf)
{
    return conf->stats_tls && conf->stats_listen.family != ADDR_NONE &&
           !addr_is_loopback(&conf->stats_listen);
}

const char *conf_file_role(const char *file)
{
    FILE *in = fopen(file, "re");
    const char *role = "relay";
    char *line = NULL;
    size_t cap = 0;

    while (in && getline(&line, &cap, in) >= 0) {
        const char *text = line + strspn(line, " \t\xef\xbb\xbf");

        if (*text != '[')
            continue;
        if (strncmp(text, "[local]", 7) == 0 || strncmp(text, "[upstream]", 10) == 0)
            role = "local";
        break;
    }
    if (line)
        explicit_bzero(line, cap); /* a password, if names stand before the first section */
    free(line);
    if (in)
        fclose(in);
    return role;
}
