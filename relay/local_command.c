#include <stdlib.h>

#include "conf/path.h"
#include "relay/local.h"
#include "relay/serve.h"

static int role_start(struct conf *conf, struct event_base *base, void **ret)
{
    int status = local_start(conf, base, (struct local **)ret);

    if (status == 0)
        local_offer(*ret);
    return status;
}

static int role_reload(void *role, struct conf *conf)
{
    return local_reload(role, conf);
}

static void role_free(void *role)
{
    local_free(role);
}

int local_command(int argc, char **argv)
{
    static const struct serve_role role = {
        .name = "local", .start = role_start, .reload = role_reload, .free = role_free};
    char *file = conf_local_file();
    int status = serve_command(&role, file, argc, argv);

    free(file);
    return status;
}
