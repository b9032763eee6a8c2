// A program that becomes a daemon like bitcoind -daemonwait. Secrets enter the pool before main. The process
// forks; the parent waits for a message from the child and ends; the child starts a new session without a
// terminal. The locked memory of the daemon must be what the statistics say, to the byte. The control is a
// page that the program has locked by itself: it is not locked in the daemon.

#include "test_util.h"

#include <support/allocators/secure.h>

#include <boost/test/unit_test.hpp>

#include <array>
#include <fcntl.h>
#include <sys/mman.h>

using namespace test;

namespace {

using State = std::array<unsigned char, 96>;

/** Random state that exists before main, as in a node. */
const secure_unique_ptr<State> g_state{[] {
    auto state{make_secure_unique<State>()};
    state->fill(0x5a);
    return state;
}()};

struct Report {
    bool is_leader{false};
    bool kept_state{false};
    size_t locked{0};
    size_t total{0};
    size_t kernel{0};
    size_t kernel_after_more{0};
    size_t locked_after_more{0};
};

/** Forks. The parent ends when the child has written to the descriptor that this returns in the child. */
int BecomeDaemon()
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) _exit(90);
    const pid_t pid{fork()};
    if (pid < 0) _exit(91);
    if (pid > 0) {
        close(ends[1]);
        char word{0};
        _exit(read(ends[0], &word, 1) == 1 ? 0 : 92);
    }
    close(ends[0]);
    if (setsid() < 0) _exit(93);
    const int null{open("/dev/null", O_RDWR)};
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (dup2(null, fd) < 0) _exit(94);
    }
    if (null > STDERR_FILENO) close(null);
    return ends[1];
}

} // namespace

BOOST_AUTO_TEST_SUITE(daemonize)

BOOST_AUTO_TEST_CASE(a_daemons_memory_is_locked)
{
    if (SANITIZED) SKIP_TEST("AddressSanitizer makes mlock do nothing");
    const size_t page{static_cast<size_t>(sysconf(_SC_PAGESIZE))};
    void* const plain{mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)};
    BOOST_REQUIRE(plain != MAP_FAILED && mlock(plain, page) == 0);
    const auto stats{LockedPoolManager::Instance().stats()};
    BOOST_REQUIRE_GT(stats.locked, 0U);
    BOOST_REQUIRE_EQUAL(KernelLockedBytes(), stats.locked + page);

    const auto child{RunInChild<Report>([](Report& report) {
        // From here on this process is the daemon. Its parent has ended, and the pipe of the report is still
        // open.
        const int word{BecomeDaemon()};
        const auto before{LockedPoolManager::Instance().stats()};
        report.is_leader = getsid(0) == getpid();
        report.kept_state = AllBytesAre(g_state->data(), g_state->size(), 0x5a);
        report.locked = before.locked;
        report.total = before.total;
        report.kernel = KernelLockedBytes();
        std::array<SecureString, 50> more;
        for (auto& text : more) text.assign(20000, 'x');
        report.locked_after_more = LockedPoolManager::Instance().stats().locked;
        report.kernel_after_more = KernelLockedBytes();
        if (write(word, "!", 1) != 1) _exit(95);
    })};
    BOOST_CHECK_EQUAL(child.status, 0);
    BOOST_REQUIRE(child.reported);
    const Report& report{child.report};
    BOOST_CHECK(report.is_leader);
    BOOST_CHECK(report.kept_state);
    BOOST_CHECK_EQUAL(report.locked, stats.locked);
    BOOST_CHECK_EQUAL(report.total, stats.total);
    BOOST_CHECK_EQUAL(report.kernel, report.locked); // without the control, the one more page of the parent
    BOOST_CHECK_GE(report.locked_after_more, report.locked);
    BOOST_CHECK_EQUAL(report.kernel_after_more, report.locked_after_more);
    munmap(plain, page);
}

BOOST_AUTO_TEST_SUITE_END()
