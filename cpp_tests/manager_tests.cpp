// LockedPoolManager is one pool for C++ and C in a process. It can be used before main, after main, and by
// thread-local objects. Secrets that are left when the process ends are wiped after all of them have run,
// unless another thread still runs.
//
// This program itself uses the pool before and after main. A fault there ends it with a special status (see
// Die).

#include "test_util.h"

#include <support/allocators/secure.h>

#include <boost/test/unit_test.hpp>

#include <cerrno>
#include <memory>
#include <sched.h>
#include <stdexcept>
#include <thread>

using namespace test;

namespace {

/** Statistics of a pool. */
bitcoin_support_locked_pool_stats StatsOf(const bitcoin_support_locked_pool* pool)
{
    bitcoin_support_locked_pool_stats stats{};
    bitcoin_support_locked_pool_get_stats(pool, &stats, sizeof(stats));
    return stats;
}

constexpr size_t SIZE{64};
constexpr unsigned char MARK{0xa5};

[[noreturn]] void Die(const char* what)
{
    std::fprintf(stderr, "outside main: %s\n", what);
    _exit(70);
}

/** The descriptor to which an exiting child process writes what happens after main. */
int g_diary{-1};
void Write(const char* line)
{
    if (g_diary >= 0 && write(g_diary, line, std::strlen(line)) < 0) Die("no diary");
}

/** A chunk of the process-wide pool, with a mark in it. */
class Holder
{
public:
    explicit Holder(const char* name_in)
        : name{name_in}, chunk{static_cast<unsigned char*>(LockedPoolManager::Instance().alloc(SIZE))}
    {
        if (!chunk) Die("no memory");
        std::memset(chunk, MARK, SIZE);
    }
    ~Holder()
    {
        if (!AllBytesAre(chunk, SIZE, MARK)) Die("bytes were lost");
        LockedPoolManager::Instance().free(chunk);
        if (!AllBytesAre(chunk, SIZE, 0)) Die("bytes were not wiped");
        Write(name);
    }
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;

    const char* name;
    unsigned char* chunk;
};

/** Never freed, so that the wipe at the end of the process wipes it. */
unsigned char* g_forgotten{nullptr};

/** Runs after this program's exit handlers and static destructors, and after the library has been finalized. */
void AfterTheEnd(int, void*)
{
    // The pool still works.
    void* const late{LockedPoolManager::Instance().alloc(SIZE)};
    if (!late) Die("no memory after the wipe");
    LockedPoolManager::Instance().free(late);
    const bool wiped{AllBytesAre(g_forgotten, SIZE, 0)};
    if (!wiped && !AllBytesAre(g_forgotten, SIZE, MARK)) Die("something else is there");
    LockedPoolManager::Instance().free(g_forgotten);
    Write(wiped ? "wiped\n" : "left\n");
}

/** A handler that is registered after the others have run, and by no library, runs last. */
__attribute__((destructor)) void RegisterAfterTheEnd()
{
    if (on_exit(&AfterTheEnd, nullptr) != 0) Die("no room for a handler");
}

/** Registered before the pool's first allocation, and so the last of the exit handlers. */
void LastHandler()
{
    if (!AllBytesAre(g_forgotten, SIZE, MARK)) Die("a secret has been wiped under an exit handler");
    Write("handler\n");
}

/** Whether the system can tell if a process has more threads. Sandboxes may forbid the call. */
bool AloneIsKnown() { return unshare(CLONE_VM) == 0 || errno == EINVAL; }

// These run before main, in this order.
const bool g_registered{std::atexit(&LastHandler) == 0};
const bool g_empty_at_first{LockedPoolManager::Instance().details().arenas == 0};
Holder g_holder{"static\n"};
const bool g_forgot{(g_forgotten = static_cast<unsigned char*>(bitcoin_support_locked_pool_alloc(bitcoin_support_locked_pool_instance(), SIZE)),
                     std::memset(g_forgotten, MARK, SIZE), true)};
const SecureString g_string(100, 'x');

/** The text that a child has written to the diary when it has ended. */
template <typename Body>
std::string DiaryOfChild(Body body, int& status)
{
    int ends[2];
    BOOST_REQUIRE_EQUAL(pipe(ends), 0);
    struct Nothing {
    };
    const auto child{RunInChild<Nothing>(
        [&](Nothing&) {
            close(ends[0]);
            g_diary = ends[1];
            body();
        },
        [](int code) { std::exit(code); })};
    close(ends[1]);
    std::string text;
    char buffer[256];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof(buffer))) > 0;) text.append(buffer, static_cast<size_t>(n));
    close(ends[0]);
    status = child.status;
    return text;
}

} // namespace

BOOST_AUTO_TEST_SUITE(manager)

BOOST_AUTO_TEST_CASE(one_instance_for_all_threads)
{
    LockedPoolManager* const here{&LockedPoolManager::Instance()};
    LockedPoolManager* there[4]{};
    std::vector<std::thread> threads;
    for (auto& instance : there) threads.emplace_back([&instance] { instance = &LockedPoolManager::Instance(); });
    for (auto& thread : threads) thread.join();
    for (auto* const instance : there) BOOST_CHECK_EQUAL(instance, here);
}

BOOST_AUTO_TEST_CASE(cpp_and_c_share_it)
{
    LockedPoolManager& manager{LockedPoolManager::Instance()};
    bitcoin_support_locked_pool* const pool{bitcoin_support_locked_pool_instance()};
    BOOST_CHECK_EQUAL(manager.handle(), pool);

    const auto before{StatsOf(pool)};
    void* const from_cpp{manager.alloc(100)};
    void* const from_c{bitcoin_support_locked_pool_alloc(pool, 100)};
    BOOST_CHECK_EQUAL(manager.stats().used, before.used + 2 * TAKEN_BY_100);
    BOOST_CHECK_EQUAL(StatsOf(pool).chunks_used, before.chunks_used + 2);
    BOOST_CHECK_EQUAL(bitcoin_support_locked_pool_free(pool, from_cpp), BITCOIN_SUPPORT_OK);
    manager.free(from_c);
    BOOST_CHECK_EQUAL(bitcoin_support_locked_pool_free(pool, from_c), BITCOIN_SUPPORT_INVALID_FREE);
    BOOST_CHECK_THROW(manager.free(from_cpp), std::runtime_error);
    BOOST_CHECK_EQUAL(manager.stats().used, before.used);
}

BOOST_AUTO_TEST_CASE(works_before_main)
{
    BOOST_CHECK(g_registered);
    BOOST_CHECK(g_empty_at_first);
    BOOST_CHECK(g_forgot);
    BOOST_CHECK(AllBytesAre(g_holder.chunk, SIZE, MARK));
    BOOST_CHECK(g_string == SecureString(100, 'x'));
    BOOST_CHECK_GE(LockedPoolManager::Instance().stats().chunks_used, 3U);
}

BOOST_AUTO_TEST_CASE(works_after_main_and_wipes_what_is_left)
{
    int status;
    const std::string diary{DiaryOfChild(
        [] {
            thread_local Holder in_main_thread{"thread-local of the main thread\n"};
            static Holder in_function{"static in a function\n"};
            std::thread{[] {
                thread_local Holder in_thread{"thread-local\n"};
                Write(in_thread.chunk ? "in the thread\n" : "");
            }}.join();
            Write(in_main_thread.chunk && in_function.chunk ? "exit\n" : "");
        },
        status)};
    BOOST_CHECK_EQUAL(status, 0);
    const std::string end{AloneIsKnown() ? "wiped\n" : "left\n"};
    BOOST_CHECK_EQUAL(diary, "in the thread\nthread-local\nexit\nthread-local of the main thread\nstatic in a function\nstatic\nhandler\n" + end);
    if (!AloneIsKnown()) SKIP_TEST("nothing is wiped where unshare is forbidden");
}

BOOST_AUTO_TEST_CASE(exit_from_within_another_thread_wipes_nothing)
{
    // The main thread still runs.
    int status;
    const std::string diary{DiaryOfChild([] { std::thread{[] { std::exit(0); }}.join(); }, status)};
    BOOST_CHECK_EQUAL(status, 0);
    BOOST_CHECK_EQUAL(diary, "static\nhandler\nleft\n");
}

BOOST_AUTO_TEST_CASE(what_is_not_wiped_is_seen)
{
    // The control: after _exit no handler runs, and the diary is empty.
    int status;
    const std::string diary{DiaryOfChild([] { _exit(0); }, status)};
    BOOST_CHECK_EQUAL(status, 0);
    BOOST_CHECK_EQUAL(diary, "");
    // The forgotten secret stays as long as the process lives.
    BOOST_CHECK(AllBytesAre(g_forgotten, SIZE, MARK));
}

BOOST_AUTO_TEST_SUITE_END()
