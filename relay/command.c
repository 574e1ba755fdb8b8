#include "conf/path.h"
#include "relay/relay.h"
#include "relay/serve.h"

static int role_start(struct conf *conf, struct event_base *base, void **ret)
{
    return relay_start(conf, base, (struct relay **)ret);
}

static int role_reload(void *role, struct conf *conf)
{
    return relay_reload(role, conf);
}

static void role_free(void *role)
{
    relay_free(role);
}

static void role_drain(void *role)
{
    relay_drain(role);
}

static unsigned int role_n_left(void *role)
{
    return relay_n_allocations(role);
}

static void role_files(const struct conf *conf, const char *ret[SERVE_FILES_MAX])
{
    ret[0] = conf->certificate;
    ret[1] = conf->private_key;
    ret[2] = conf->users_file;
}

int relay_command(int argc, char **argv)
{
    static const struct serve_role role = {
        .name = "relay",
        .start = role_start,
        .reload = role_reload,
        .free = role_free,
        .drain = role_drain,
        .n_left = role_n_left,
        .files = role_files,
    };

    return serve_command(&role, CONF_RELAY_FILE, argc, argv);
}
