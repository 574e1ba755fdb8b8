#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "conf/url.h"
#include "conf/value.h"
#include "tests/support/suite.h"

static const struct {
    const char *text, *again;
} right[] = {
    {"turn:r.example", "turn:r.example:3478?transport=udp"},
    {"turns:r.example", "turns:r.example:5349?transport=tcp"},
    {"turn:r.example?transport=tcp", "turn:r.example:3478?transport=tcp"},
    {"turns:r.example?transport=udp", "turns:r.example:5349?transport=udp"},
    {"TURNS:r.example:443?Transport=UDP", "turns:r.example:443?transport=udp"},
    {"turn:192.0.2.1:1", "turn:192.0.2.1:1?transport=udp"},
    {"turn:[2001:DB8::1]", "turn:[2001:db8::1]:3478?transport=udp"},
    {"turn:[2001:db8::1]:65535", "turn:[2001:db8::1]:65535?transport=udp"},
    {"turn:[::ffff:192.0.2.1]", "turn:192.0.2.1:3478?transport=udp"},
    {"turn:localhost", "turn:localhost:3478?transport=udp"},
    {"turn:3com.4you.example", "turn:3com.4you.example:3478?transport=udp"},
    {"turn:xn--caf-dma.example", "turn:xn--caf-dma.example:3478?transport=udp"},
};

START_TEST(urls_get_the_defaults_of_rfc_7065)
{
    char why[VALUE_WHY_LEN], text[URL_TEXT_LEN];
    struct conf_url url;

    ck_assert_int_eq(url_parse(right[_i].text, &url, why), 0);
    ck_assert_str_eq(url_format(&url, text), right[_i].again);
    url_deinit(&url);
    ck_assert_int_eq(url_parse(text, &url, why), 0);
    ck_assert_str_eq(url_format(&url, text), right[_i].again);
    url_deinit(&url);
}
END_TEST

static const struct {
    const char *text, *why;
} wrong[] = {
    {"", "\"\" starts with neither turn: nor turns:"},
    {"stun:r.example", "\"stun:r.example\" starts with neither turn: nor turns:"},
    {"r.example", "\"r.example\" starts with neither turn: nor turns:"},
    {"turn:", "\"turn:\": the host is missing"},
    {"turn::3478", "\"turn::3478\": the host is missing"},
    {"turn:?transport=udp", "\"turn:?transport=udp\": the host is missing"},
    {"turn://r.example", "\"turn://r.example\": the host follows the colon, without //"},
    {"turn:a@r.example",
     "\"turn:a@r.example\": nothing but a host, a port and ?transport= belongs here"},
    {"turn:r.example/",
     "\"turn:r.example/\": nothing but a host, a port and ?transport= belongs here"},
    {"turn:r.example?", "\"\": behind '?' stands transport=udp or transport=tcp"},
    {"turn:r.example?transport=",
     "\"transport=\": behind '?' stands transport=udp or transport=tcp"},
    {"turn:r.example?transport=udp&x",
     "\"transport=udp&x\": behind '?' stands transport=udp or transport=tcp"},
    {"turn:r.example?x=udp", "\"x=udp\": behind '?' stands transport=udp or transport=tcp"},
    {"turn:r.example:", "\"\" is not a port (1 to 65535)"},
    {"turn:r.example:0", "\"0\" is not a port (1 to 65535)"},
    {"turn:r.example:65536", "\"65536\" is not a port (1 to 65535)"},
    {"turn:r.example:+1", "\"+1\" is not a port (1 to 65535)"},
    {"turn:r.example:000001", "\"000001\" is not a port (1 to 65535)"},
    {"turn:r.example:80x", "\"80x\" is not a port (1 to 65535)"},
    {"turn:2001:db8::1", "\"2001:db8::1\": an IPv6 address stands in brackets"},
    {"turn:[2001:db8::1", "\"[2001:db8::1\": an IPv6 address is written [2001:db8::1]"},
    {"turn:[2001:db8::1]80", "\"[2001:db8::1]80\": an IPv6 address is written [2001:db8::1]"},
    {"turn:[]", "\"[]\" is neither a host name nor an IP address"},
    {"turn:[r.example]", "\"[r.example]\" is neither a host name nor an IP address"},
    {"turn:0.0.0.0", "\"0.0.0.0\" stands for any address; name one"},
    {"turn:[::]", "\"[::]\" stands for any address; name one"},
    {"turn:192.0.2", "\"192.0.2\" is neither a host name nor an IP address"},
    {"turn:192.0.2.256", "\"192.0.2.256\" is neither a host name nor an IP address"},
    {"turn:r.0x7f", "\"r.0x7f\" is neither a host name nor an IP address"},
    {"turn:r..example", "\"r..example\" is neither a host name nor an IP address"},
    {"turn:.example", "\".example\" is neither a host name nor an IP address"},
    {"turn:r.example.", "\"r.example.\" is neither a host name nor an IP address"},
    {"turn:-r.example", "\"-r.example\" is neither a host name nor an IP address"},
    {"turn:r-.example", "\"r-.example\" is neither a host name nor an IP address"},
    {"turn:r_x.example", "\"r_x.example\" is neither a host name nor an IP address"},
    {"turn:r%2ex.example", "\"r%2ex.example\" is neither a host name nor an IP address"},
    {"turn:r x.example", "\"r x.example\" is neither a host name nor an IP address"},
    {"turn:caf\xc3\xa9.example",
     "\"caf\\xc3\\xa9.example\": write the host name in its ASCII form (xn--...)"},
};

START_TEST(each_wrong_url_says_why)
{
    char why[VALUE_WHY_LEN] = "";
    struct conf_url url;

    ck_assert_int_eq(url_parse(wrong[_i].text, &url, why), VALUE_E_BAD);
    ck_assert_str_eq(why, wrong[_i].why);
}
END_TEST

START_TEST(names_have_labels_of_63_and_253_bytes_at_most)
{
    char text[300] = "turn:", why[VALUE_WHY_LEN];
    struct conf_url url;

    memset(text + 5, 'a', 63);
    ck_assert_int_eq(url_parse(text, &url, why), 0);
    url_deinit(&url);
    text[5 + 63] = 'a';
    ck_assert_int_eq(url_parse(text, &url, why), VALUE_E_BAD);
    for (size_t i = 0; i < 253; i++)
        text[5 + i] = i % 2 ? '.' : 'a';
    ck_assert_int_eq(url_parse(text, &url, why), 0);
    url_deinit(&url);
    strcat(text, "a");
    ck_assert_int_eq(url_parse(text, &url, why), VALUE_E_BAD);
    ck_assert_str_eq(why, "the host name has more than 253 bytes");
}
END_TEST

/* The digest of nothing. */
#define PIN "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

START_TEST(a_pin_comes_out_as_it_went_in)
{
    char why[VALUE_WHY_LEN], text[URL_PIN_TEXT_LEN];
    uint8_t pin[URL_PIN_LEN];

    ck_assert_int_eq(url_pin_parse(PIN, pin, why), 0);
    ck_assert_uint_eq(pin[0], 0xe3);
    ck_assert_uint_eq(pin[31], 0x55);
    ck_assert_str_eq(url_pin_format(pin, text), PIN);
}
END_TEST

static const struct {
    const char *text, *why;
} wrong_pins[] = {
    {"", "\"\" does not start with sha256/"},
    {"md5/x", "\"md5/x\" does not start with sha256/"},
    {"sha256/", "a pin has 44 characters of base64 behind sha256/, this one 0"},
    {"sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
     "a pin has 44 characters of base64 behind sha256/, this one 43"},
    {PIN "=", "a pin has 44 characters of base64 behind sha256/, this one 45"},
    {"sha256/47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=",
     "\"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=\" is not base64"},
    {"sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=",
     "\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\" is not the base64 of 32 bytes"},
    {"sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuA==",
     "\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuA==\" is not the base64 of 32 bytes"},
    {"sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFUU",
     "\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFUU\" is not the base64 of 32 bytes"},
};

START_TEST(each_wrong_pin_says_why)
{
    char why[VALUE_WHY_LEN] = "";
    uint8_t pin[URL_PIN_LEN];

    ck_assert_int_eq(url_pin_parse(wrong_pins[_i].text, pin, why), VALUE_E_BAD);
    ck_assert_str_eq(why, wrong_pins[_i].why);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conf/url");
    TCase *tc = tcase_create("url");

    tcase_add_loop_test(tc, urls_get_the_defaults_of_rfc_7065, 0, sizeof(right) / sizeof(right[0]));
    tcase_add_loop_test(tc, each_wrong_url_says_why, 0, sizeof(wrong) / sizeof(wrong[0]));
    tcase_add_test(tc, names_have_labels_of_63_and_253_bytes_at_most);
    tcase_add_test(tc, a_pin_comes_out_as_it_went_in);
    tcase_add_loop_test(tc, each_wrong_pin_says_why, 0, sizeof(wrong_pins) / sizeof(wrong_pins[0]));
    suite_add_tcase(s, tc);
    return suite_run(s);
}
