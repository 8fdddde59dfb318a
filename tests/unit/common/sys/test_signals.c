/* test_signals.c: SIGTERM arrives at the descriptor and kills nobody; SIGPIPE is ignored. */
#include "common/sys/signals.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "tests/unit/unit.h"

static void signals_arrive_at_the_descriptor(void)
{
    int fd = signals_init();
    CU_ASSERT_FATAL(fd >= 0);
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    CU_ASSERT_EQUAL(poll(&poller, 1, 0), 0);
    static const int both[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        kill(getpid(), both[i]);
        CU_ASSERT_EQUAL(poll(&poller, 1, 10000), 1);
        struct signalfd_siginfo info = {0};
        CU_ASSERT_EQUAL(read(fd, &info, sizeof info), (ssize_t)sizeof info);
        CU_ASSERT_EQUAL(info.ssi_signo, (unsigned)both[i]);
    }
    raise(SIGPIPE);
    close(fd);
}

int main(void)
{
    static const struct unit_case cases[] = {
        {"signals arrive at the descriptor", signals_arrive_at_the_descriptor},
    };
    return UNIT_MAIN("signals", cases);
}
