// The pool under RLIMIT_MEMLOCK, for a user without privileges. It locks as much as it may, and reports
// exactly how much (the kernel's count agrees). It prefers a small locked arena to a large unlocked one, and
// asks the callback before it uses unlocked memory. Under any limit it loses no byte, misaligns no chunk,
// prints nothing, and never ends the process.
//
// Each case runs in a child process that gives up root's privileges, because no limit binds root.

#include "test_util.h"

#include <support/allocators/secure.h>

#include <boost/test/unit_test.hpp>

#include <cerrno>
#include <cstdarg>
#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>

using namespace test;

namespace {

/** Statistics of a pool. */
bitcoin_support_locked_pool_stats StatsOf(const bitcoin_support_locked_pool* pool)
{
    bitcoin_support_locked_pool_stats stats{};
    bitcoin_support_locked_pool_get_stats(pool, &stats, sizeof(stats));
    return stats;
}

constexpr size_t ARENA{LockedPool::ARENA_SIZE};
constexpr uid_t NOBODY{65534};
const size_t PAGE{static_cast<size_t>(sysconf(_SC_PAGESIZE))};

/** The report from the child to its parent: everything that was wrong. */
struct Report {
    bool limited{false};
    char problems[4000]{};

    [[gnu::format(printf, 3, 4)]] void Expect(bool holds, const char* format, ...)
    {
        if (holds) return;
        const size_t length{std::strlen(problems)};
        va_list arguments;
        va_start(arguments, format);
        std::vsnprintf(problems + length, sizeof(problems) - length, format, arguments);
        va_end(arguments);
        std::strncat(problems, "\n", sizeof(problems) - std::strlen(problems) - 1);
    }
};

bool SetLimit(size_t soft, size_t hard)
{
    const rlimit limit{soft == SIZE_MAX ? RLIM_INFINITY : soft, hard == SIZE_MAX ? RLIM_INFINITY : hard};
    return setrlimit(RLIMIT_MEMLOCK, &limit) == 0;
}

/** Runs body(report) in a child that may lock `soft` bytes. With hard above soft, the child may raise its
 *  limit. */
template <typename Body>
void UnderLimit(size_t soft, size_t hard, Body body)
{
    if (SANITIZED) SKIP_TEST("AddressSanitizer makes mlock do nothing");
    const auto child{RunInChild<Report>([&](Report& report) {
        if (!SetLimit(soft, hard)) return;
        if (geteuid() == 0 && (setgroups(0, nullptr) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0)) return;
        report.limited = true;
        body(report);
    })};
    BOOST_CHECK_EQUAL(child.status, 0);
    BOOST_REQUIRE(child.reported);
    if (!child.report.limited) SKIP_TEST("this user may not set the limit, or not give up privileges");
    BOOST_CHECK_EQUAL(child.report.problems, "");
}
template <typename Body>
void UnderLimit(size_t limit, Body body)
{
    UnderLimit(limit, limit, body);
}

/** The arguments of the callback, and its answer. */
struct Decision {
    bool answer;
    size_t calls{0};
    int error{0};
    size_t limit{0};
};

/** A pool over the system's pages. Writes all bytes of each chunk, and checks that they stay. */
class Holder
{
public:
    explicit Holder(Report& report_in, bool answer = true) : report{report_in}, decision{answer}
    {
        report.Expect(bitcoin_support_locked_pool_create(nullptr, &pool) == BITCOIN_SUPPORT_OK, "no pool");
        bitcoin_support_locked_pool_set_locking_failed(
            pool,
            [](void* context, int error, size_t limit) {
                auto& d{*static_cast<Decision*>(context)};
                ++d.calls;
                d.error = error;
                d.limit = limit;
                return d.answer;
            },
            &decision);
    }
    ~Holder()
    {
        Check();
        while (!chunks.empty()) FreeLast();
        const auto stats{Stats()};
        report.Expect(stats.used == 0 && stats.chunks_used == 0, "%zu bytes are left", stats.used);
        bitcoin_support_locked_pool_destroy(pool);
        report.Expect(KernelLockedBytes() == 0, "the pool is gone and %zu bytes are locked", KernelLockedBytes());
    }
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;

    bool Alloc(size_t size)
    {
        auto* const chunk{static_cast<unsigned char*>(bitcoin_support_locked_pool_alloc(pool, size))};
        if (chunk) {
            report.Expect(Number(chunk) % 16 == 0, "a chunk of %zu bytes at %p", size, static_cast<void*>(chunk));
            report.Expect(AllBytesAre(chunk, size, 0), "a chunk of %zu bytes was not zero", size);
            chunks.push_back({chunk, size, static_cast<unsigned char>(chunks.size() * 7 + 1)});
            std::memset(chunk, chunks.back().mark, size);
        }
        const auto stats{Stats()};
        report.Expect(stats.locked == KernelLockedBytes(), "%zu bytes locked, says the pool; the kernel: %zu", stats.locked, KernelLockedBytes());
        report.Expect(stats.used + stats.free == stats.total && stats.locked <= stats.total, "figures do not add up");
        return chunk != nullptr;
    }

    void FreeLast()
    {
        report.Expect(bitcoin_support_locked_pool_free(pool, chunks.back().bytes) == BITCOIN_SUPPORT_OK, "a chunk cannot be freed");
        chunks.pop_back();
    }

    void Check()
    {
        for (const Chunk& chunk : chunks) report.Expect(AllBytesAre(chunk.bytes, chunk.size, chunk.mark), "a chunk of %zu bytes lost some", chunk.size);
    }

    bitcoin_support_locked_pool_stats Stats() const { return StatsOf(pool); }
    const Decision& Asked() const { return decision; }

private:
    struct Chunk {
        unsigned char* bytes;
        size_t size;
        unsigned char mark;
    };
    Report& report;
    Decision decision;
    bitcoin_support_locked_pool* pool{nullptr};
    std::vector<Chunk> chunks;
};

} // namespace

BOOST_AUTO_TEST_SUITE(limits)

BOOST_AUTO_TEST_CASE(nothing_may_be_locked)
{
    UnderLimit(0, [](Report& report) {
        Holder holder{report};
        for (int i{0}; i < 600; ++i) report.Expect(holder.Alloc(1000), "no memory");
        const auto stats{holder.Stats()};
        report.Expect(stats.locked == 0 && stats.arenas == 3, "%zu bytes locked of %zu arenas", stats.locked, stats.arenas);
        report.Expect(holder.Asked().calls == stats.arenas, "asked %zu times", holder.Asked().calls);
        report.Expect(holder.Asked().error != 0 && holder.Asked().limit == 0, "told error %d and limit %zu", holder.Asked().error, holder.Asked().limit);
        report.Expect(stats.lock_failures >= stats.arenas && stats.last_lock_error == holder.Asked().error && stats.last_lock_limit == 0, "%zu failures counted", stats.lock_failures);
    });
}

BOOST_AUTO_TEST_CASE(nothing_may_be_locked_and_unlocked_memory_is_refused)
{
    UnderLimit(0, [](Report& report) {
        const size_t mappings{MappingCount()};
        Holder holder{report, /*answer=*/false};
        for (size_t i{1}; i <= 10; ++i) {
            report.Expect(!holder.Alloc(1000), "memory, though it was refused");
            report.Expect(holder.Asked().calls == i, "asked %zu times", holder.Asked().calls);
        }
        const auto stats{holder.Stats()};
        report.Expect(stats.total == 0 && stats.arenas == 0, "an arena was kept");
        report.Expect(MappingCount() == mappings, "mappings were kept");
    });
}

BOOST_AUTO_TEST_CASE(one_page)
{
    UnderLimit(PAGE, [](Report& report) {
        Holder holder{report, /*answer=*/false};
        for (size_t i{0}; i < PAGE / 64; ++i) report.Expect(holder.Alloc(64), "a page has room for chunk %zu", i);
        report.Expect(holder.Asked().calls == 0, "asked while there was locked memory");
        report.Expect(holder.Stats().locked == PAGE && holder.Stats().total == PAGE, "%zu bytes locked", holder.Stats().locked);
        report.Expect(!holder.Alloc(64) && holder.Asked().calls == 1, "a page is full, and the callback did not agree to more");
        // Freed chunks are locked memory, which can be allocated again.
        holder.FreeLast();
        report.Expect(holder.Alloc(64) && holder.Asked().calls == 1, "a chunk that was freed can be had again");
    });
    UnderLimit(PAGE, [](Report& report) {
        Holder holder{report};
        for (size_t i{0}; i < PAGE / 64; ++i) holder.Alloc(64);
        report.Expect(holder.Alloc(64) && holder.Asked().calls == 1, "the callback agreed");
        report.Expect(holder.Alloc(ARENA) && holder.Asked().calls == 2, "the callback agreed again");
        const auto stats{holder.Stats()};
        report.Expect(stats.locked == PAGE && stats.total == PAGE + 2 * ARENA, "%zu bytes locked of %zu", stats.locked, stats.total);
    });
}

BOOST_AUTO_TEST_CASE(a_limit_that_is_no_multiple_of_a_page)
{
    constexpr size_t LIMIT{100'000};
    UnderLimit(LIMIT, [](Report& report) {
        const size_t whole_pages{LIMIT - LIMIT % PAGE};
        Holder holder{report};
        report.Expect(holder.Alloc(90'000), "no memory");
        report.Expect(holder.Asked().calls == 0 && holder.Stats().total == whole_pages && holder.Stats().locked == whole_pages,
                      "%zu bytes locked", holder.Stats().locked);
        report.Expect(holder.Stats().lock_failures == 0, "more was tried than can be had");
        for (size_t i{0}; i < (whole_pages - 90'000) / 16; ++i) report.Expect(holder.Alloc(1 + i % 16), "no memory");
        report.Expect(holder.Asked().calls == 0 && holder.Stats().free == 0, "%zu bytes are free", holder.Stats().free);
        // A chunk above the limit is not locked, and the callback is asked.
        report.Expect(holder.Alloc(200'000) && holder.Asked().calls == 1, "no memory");
        report.Expect(holder.Asked().limit == LIMIT && holder.Asked().error == ENOMEM, "told error %d and limit %zu", holder.Asked().error, holder.Asked().limit);
        report.Expect(holder.Stats().locked == whole_pages, "%zu bytes locked", holder.Stats().locked);
    });
}

BOOST_AUTO_TEST_CASE(a_smaller_locked_arena_comes_before_an_unlocked_one)
{
    constexpr size_t LIMIT{300'000};
    UnderLimit(LIMIT, [](Report& report) {
        const size_t whole_pages{LIMIT - LIMIT % PAGE};
        Holder holder{report};
        // One arena is locked as a whole. Of the second one, only the rest of the limit is locked.
        size_t chunks{0};
        while (holder.Asked().calls == 0 && chunks < 1000) {
            report.Expect(holder.Alloc(1000), "no memory");
            ++chunks;
        }
        const auto stats{holder.Stats()};
        report.Expect(stats.locked == whole_pages, "%zu bytes locked of the %zu that may be", stats.locked, whole_pages);
        report.Expect(stats.arenas == 3 && stats.total == whole_pages + ARENA, "%zu arenas, %zu bytes", stats.arenas, stats.total);
        // The first unlocked chunk is the first that fits neither locked arena.
        report.Expect(chunks == ARENA / 1008 + (whole_pages - ARENA) / 1008 + 1, "asked at chunk %zu", chunks);
        // Smaller chunks still go to locked memory.
        const size_t unlocked_used{stats.used - (chunks - 1) * 1008};
        report.Expect(unlocked_used == 1008, "%zu bytes unlocked", unlocked_used);
        report.Expect(holder.Alloc(16) && holder.Asked().calls == 1, "no memory");
    });
}

/** Locks so many arenas as a whole. The callback is not asked, and no failure is counted. */
void LockWholeArenas(Report& report, size_t arenas)
{
    Holder holder{report, /*answer=*/false};
    for (size_t i{0}; i < 2 * arenas; ++i) report.Expect(holder.Alloc(ARENA / 2), "no memory");
    const auto stats{holder.Stats()};
    report.Expect(stats.locked == arenas * ARENA && stats.total == stats.locked, "%zu bytes locked", stats.locked);
    report.Expect(stats.lock_failures == 0 && stats.last_lock_error == 0 && stats.last_lock_limit == SIZE_MAX, "a failure was counted");
}

BOOST_AUTO_TEST_CASE(a_limit_above_all_need)
{
    UnderLimit(16 * ARENA, [](Report& report) { LockWholeArenas(report, 16); });
}

BOOST_AUTO_TEST_CASE(no_limit)
{
    UnderLimit(SIZE_MAX, [](Report& report) { LockWholeArenas(report, 40); });
}

BOOST_AUTO_TEST_CASE(a_limit_that_is_raised_is_used)
{
    UnderLimit(0, 4 * ARENA, [](Report& report) {
        Holder holder{report};
        report.Expect(holder.Alloc(ARENA) && holder.Stats().locked == 0, "no memory, or locked beyond the limit");
        SetLimit(4 * ARENA, 4 * ARENA);
        report.Expect(holder.Alloc(ARENA) && holder.Stats().locked == ARENA, "%zu bytes locked", holder.Stats().locked);
        report.Expect(holder.Asked().calls == 1, "asked %zu times", holder.Asked().calls);
    });
}

BOOST_AUTO_TEST_CASE(every_limit_up_to_two_arenas)
{
    for (size_t pages{0}; pages <= 2 * ARENA / PAGE + 1; pages += 9) {
        UnderLimit(pages * PAGE + pages % 3, [&](Report& report) {
            Random random{pages};
            Holder holder{report};
            for (int i{0}; i < 100; ++i) report.Expect(holder.Alloc(1 + random.Below(10'000)), "no memory under a limit of %zu pages", pages);
            report.Expect(holder.Stats().locked <= pages * PAGE, "locked more than may be");
            report.Expect(holder.Stats().locked + PAGE > std::min(pages * PAGE, holder.Stats().used), "%zu bytes locked of %zu used, limit of %zu pages",
                          holder.Stats().locked, holder.Stats().used, pages);
        });
    }
}

BOOST_AUTO_TEST_CASE(the_process_wide_pool_prints_nothing)
{
    UnderLimit(0, [](Report& report) {
        // Core's functional tests fail on any unexpected output.
        std::FILE* const output{std::tmpfile()};
        if (!output) return report.Expect(false, "no temporary file");
        dup2(fileno(output), STDOUT_FILENO);
        dup2(fileno(output), STDERR_FILENO);
        {
            SecureString secret(100, 's');
            report.Expect(LockedPoolManager::Instance().stats().locked == 0 && KernelLockedBytes() == 0, "locked beyond the limit");
            report.Expect(LockedPoolManager::Instance().details().lock_failures > 0, "no failure was counted");
            report.Expect(secret == SecureString(100, 's'), "the secret is lost");
        }
        std::fflush(nullptr);
        struct stat status;
        report.Expect(fstat(fileno(output), &status) == 0 && status.st_size == 0, "something was printed");
    });
}

BOOST_AUTO_TEST_SUITE_END()
