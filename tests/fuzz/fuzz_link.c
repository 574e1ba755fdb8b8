/* Invitation links, URLs, pins: what decodes encodes to something that decodes to the same. */
#include <string.h>

#include "conf/invite_link.h"
#include "conf/value.h"
#include "tests/fuzz/fuzz.h"

static void check_link(const struct invite_link *link)
{
    char *text = invite_link_encode(link), *twice, why[VALUE_WHY_LEN], url[URL_TEXT_LEN];
    struct invite_link again;
    struct conf_url parsed;

    fuzz_check(text != NULL);
    /* Percent signs treble what they encode: a long one may not fit any more. */
    if (strlen(text) <= INVITE_LINK_MAX) {
        fuzz_check(invite_link_decode(text, &again, why) == 0);
        fuzz_check(strcmp(again.user, link->user) == 0);
        fuzz_check(strcmp(again.password, link->password) == 0);
        twice = invite_link_encode(&again);
        fuzz_check(strcmp(text, twice) == 0);
        free(twice);
        invite_link_deinit(&again);
    }
    free(text);
    fuzz_check(link->n_at > 0 && link->n_at <= INVITE_LINK_PORTS);
    for (size_t i = 0; i < link->n_at; i++) {
        fuzz_check(url_parse(invite_link_url(link, i, url), &parsed, why) == 0);
        fuzz_check(strcmp(parsed.host, link->host) == 0);
        fuzz_check(parsed.port == link->at[i].port && parsed.protocol == link->at[i].protocol);
        url_deinit(&parsed);
    }
}

static void check_url(const struct conf_url *url)
{
    char text[URL_TEXT_LEN], why[VALUE_WHY_LEN];
    struct conf_url again;

    fuzz_check(url_parse(url_format(url, text), &again, why) == 0);
    fuzz_check(strcmp(again.host, url->host) == 0);
    fuzz_check(again.port == url->port && again.protocol == url->protocol);
    url_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), why[VALUE_WHY_LEN], formatted[URL_PIN_TEXT_LEN];
    uint8_t pin[URL_PIN_LEN];
    struct invite_link link;
    struct conf_url url;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (invite_link_decode(text, &link, why) == 0) {
        check_link(&link);
        invite_link_deinit(&link);
    }
    if (url_parse(text, &url, why) == 0) {
        check_url(&url);
        url_deinit(&url);
    }
    if (url_pin_parse(text, pin, why) == 0)
        fuzz_check(strcasecmp(url_pin_format(pin, formatted), text) == 0);
    free(text);
    return 0;
}
