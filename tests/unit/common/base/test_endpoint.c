/* test_endpoint.c: what counts as an address to connect to, to listen on, for HTTP, and as loopback. */
#include "common/base/endpoint.h"

#include "tests/unit/unit.h"

static const struct {
    const char *text;
    bool connect, listen, loopback;
} endpoints[] = {
    {"tcp://127.0.0.1:1", true, true, true},
    {"tcp://localhost:65535", true, true, true},
    {"tcp://[::1]:7400", true, true, true},
    {"tcp://db-1.example:7400", true, true, false},
    {"tcp://10.0.0.1:7400", true, true, false},
    {"tcp://0.0.0.0:7400", true, true, false},
    {"ipc:///run/one", true, true, true},
    {"tcp://*:7400", false, true, false},
    {"tcp://127.0.0.1:*", false, true, true},
    {"tcp://127.0.0.1:0", false, true, true},
    {"tcp://127.0.0.1:65536", false, false, true},
    {"tcp://127.0.0.1:99999999999", false, false, true},
    {"tcp://127.0.0.1:", false, false, true},
    {"tcp://127.0.0.1:7x", false, false, true},
    {"tcp://127.0.0.1:+7", false, false, true},
    {"tcp://127.0.0.1", false, false, false},
    {"tcp://:7400", false, false, false},
    {"tcp://", false, false, false},
    {"tcp:/", false, false, true},
    {"ipc://", false, false, true},
    {"http://127.0.0.1:7400", false, false, true},
    {"127.0.0.1:7400", false, false, true},
    {"nonsense", false, false, true},
    {"", false, false, true},
};

static void an_endpoint_has_a_form(void)
{
    for (size_t i = 0; i < sizeof endpoints / sizeof endpoints[0]; i++) {
        struct slice text = slice_text(endpoints[i].text);
        CU_ASSERT_EQUAL(endpoint_to_connect(text), endpoints[i].connect);
        CU_ASSERT_EQUAL(endpoint_to_listen(text), endpoints[i].listen);
        if (endpoints[i].listen)
            CU_ASSERT_EQUAL(endpoint_loopback(endpoints[i].text), endpoints[i].loopback);
    }
    CU_ASSERT_TRUE(endpoint_to_connect(slice_make("tcp://127.0.0.1:1,tcp://x:2", 17))); /* one of a list */
}

static void http_has_its_own(void)
{
    static const char *const good[] = {"127.0.0.1:0", ":7480", "[::1]:7480", "localhost:7480"};
    static const char *const outside[] = {"0.0.0.0:7480", "10.0.0.1:1", "db.example:80", "[::]:7480", "*:7480"};
    static const char *const bad[] = {
        "", "7480", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "tcp://127.0.0.1:1", "http://127.0.0.1:1"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        CU_ASSERT(endpoint_http(slice_text(good[i])) && endpoint_http_loopback(good[i]));
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++)
        CU_ASSERT(endpoint_http(slice_text(outside[i])) && !endpoint_http_loopback(outside[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_FALSE(endpoint_http(slice_text(bad[i])));
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"an endpoint has a form", an_endpoint_has_a_form},
        {"HTTP has its own", http_has_its_own},
    };
    return UNIT_MAIN("endpoint", cases);
}
