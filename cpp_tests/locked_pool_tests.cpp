// LockedPool over page allocators that are written in C++, and over the system's pages. It calls a subclass's
// virtuals as Core does, and never touches the memory that they return. Their exceptions reach the caller. It
// asks before it uses unlocked memory, keeps exact figures, refuses bad pointers, and wipes every chunk of
// the system's pages when it is freed.

#include "test_util.h"

#include <boost/test/unit_test.hpp>

#include <cerrno>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <tuple>

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

std::unique_ptr<LockedPageAllocator> Mock(MockPages::Journal& journal, size_t pages, size_t locked = SIZE_MAX, size_t limit = SIZE_MAX)
{
    return std::make_unique<MockPages>(journal, pages, locked, limit);
}

bool SameStats(const LockedPool::Stats& a, const LockedPool::Stats& b)
{
    return std::tie(a.used, a.free, a.total, a.locked, a.chunks_used, a.chunks_free) ==
           std::tie(b.used, b.free, b.total, b.locked, b.chunks_used, b.chunks_free);
}

void CheckRefused(LockedPool& pool, void* ptr, const std::string& message)
{
    const LockedPool::Stats before{pool.stats()};
    BOOST_CHECK_EXCEPTION(pool.free(ptr), std::runtime_error,
                          [&](const std::runtime_error& e) { return e.what() == message; });
    BOOST_CHECK(SameStats(pool.stats(), before));
}

const std::string NO_CHUNK{"Arena: invalid or double free"};
const std::string NO_ARENA{"LockedPool: invalid address not pointing to any arena"};

/** A pool over the system's pages, for which the C++ class has no constructor. */
class OwnPool
{
public:
    OwnPool() { BOOST_REQUIRE_EQUAL(bitcoin_support_locked_pool_create(nullptr, &handle), BITCOIN_SUPPORT_OK); }
    ~OwnPool() { bitcoin_support_locked_pool_destroy(handle); }
    OwnPool(const OwnPool&) = delete;
    OwnPool& operator=(const OwnPool&) = delete;

    unsigned char* Alloc(size_t size, size_t alignment = 1)
    {
        return static_cast<unsigned char*>(bitcoin_support_locked_pool_alloc_aligned(handle, size, alignment));
    }
    bitcoin_support_status Free(void* ptr) { return bitcoin_support_locked_pool_free(handle, ptr); }
    bitcoin_support_locked_pool_stats Stats() const { return StatsOf(handle); }

private:
    bitcoin_support_locked_pool* handle{nullptr};
};

/** An exception that no library knows. It counts its live copies. */
struct Thrown {
    explicit Thrown(int value_in) : value{value_in} { ++alive; }
    Thrown(const Thrown& other) : value{other.value} { ++alive; }
    Thrown& operator=(const Thrown&) = delete;
    ~Thrown() { --alive; }
    int value;
    static int alive;
};
int Thrown::alive{0};

/** A page allocator whose functions a test can exchange. */
struct ScriptedPages : LockedPageAllocator {
    std::function<void*(size_t, bool*)> allocate;
    std::function<void(void*, size_t)> release{[](void*, size_t) {}};
    std::function<size_t()> limit{[] { return SIZE_MAX; }};

    void* AllocateLocked(size_t len, bool* lockingSuccess) override { return allocate(len, lockingSuccess); }
    void FreeLocked(void* addr, size_t len) override { release(addr, len); }
    size_t GetLimit() override { return limit(); }
};

/** Checks that the pool throws Thrown{value}, and that no exception object stays alive. */
void CheckThrows(LockedPool& pool, int value)
{
    BOOST_CHECK_EXCEPTION(pool.alloc(16), Thrown, [&](const Thrown& e) { return e.value == value; });
    BOOST_CHECK_EQUAL(Thrown::alive, 0);
}

// A LockingFailed_Callback has no context.
int g_callback_calls{0};
bool g_callback_answer{true};
bool CountAndAnswer()
{
    ++g_callback_calls;
    return g_callback_answer;
}

} // namespace

BOOST_AUTO_TEST_SUITE(locked_pool)

BOOST_AUTO_TEST_CASE(calls_the_virtuals_as_core_does)
{
    MockPages::Journal journal;
    {
        LockedPool pool{Mock(journal, 3)};
        BOOST_CHECK_EQUAL(journal.limit_asked, 0U);
        BOOST_CHECK_EQUAL(journal.allocated, 0U); // nothing is mapped before it is needed

        // Half an arena each, so that six fit three arenas.
        void* chunks[6];
        for (void*& chunk : chunks) {
            chunk = pool.alloc(ARENA / 2);
            BOOST_CHECK(chunk != nullptr);
        }
        BOOST_CHECK_EQUAL(journal.limit_asked, 1U); // for the first arena only
        const std::vector<std::pair<uintptr_t, size_t>> expected{
            {SYNTHETIC_BASE, ARENA}, {SYNTHETIC_BASE + 0x1000000, ARENA}, {SYNTHETIC_BASE + 0x2000000, ARENA}};
        BOOST_CHECK(journal.live == expected);
        BOOST_CHECK_EQUAL(chunks[0], Address(SYNTHETIC_BASE + ARENA / 2));
        BOOST_CHECK_EQUAL(chunks[5], Address(SYNTHETIC_BASE + 0x2000000));

        BOOST_CHECK(pool.alloc(16) == nullptr); // there are no more pages
        for (void* const chunk : chunks) pool.free(chunk);
        BOOST_CHECK(SameStats(pool.stats(), {0, 3 * ARENA, 3 * ARENA, 3 * ARENA, 0, 3}));
        BOOST_CHECK_EQUAL(journal.live.size(), 3U); // arenas stay
        BOOST_CHECK(!journal.destroyed);
    }
    BOOST_CHECK(journal.live.empty());
    BOOST_CHECK(!journal.freed_other_than_allocated);
    BOOST_CHECK(journal.destroyed);
}

BOOST_AUTO_TEST_CASE(sizes_at_the_edges)
{
    MockPages::Journal journal;
    LockedPool pool{Mock(journal, 2)};
    for (const size_t size : {size_t{0}, ARENA + 1, std::numeric_limits<size_t>::max(), std::numeric_limits<size_t>::max() - 15}) {
        BOOST_CHECK(pool.alloc(size) == nullptr);
        BOOST_CHECK(pool.alloc(size, 64) == nullptr);
    }
    BOOST_CHECK_EQUAL(journal.allocated, 0U); // refused without mapping anything
    BOOST_CHECK(pool.alloc(ARENA) != nullptr);
    BOOST_CHECK(pool.alloc(1) != nullptr);
    BOOST_CHECK_EQUAL(journal.allocated, 2U);
    BOOST_CHECK(SameStats(pool.stats(), {ARENA + 16, ARENA - 16, 2 * ARENA, 2 * ARENA, 2, 1}));
}

BOOST_AUTO_TEST_CASE(first_arena_is_capped_by_the_limit)
{
    struct Case {
        size_t limit;
        size_t asked;
    };
    const size_t page{PageSize()};
    for (const Case& c : {Case{SIZE_MAX, ARENA}, {ARENA, ARENA}, {ARENA - 1, ARENA - page}, {page, page}, {3 * page + 1, 3 * page},
                          // A limit below a page is rounded down to a multiple of a chunk's alignment.
                          {1001, 992},
                          {16, 16},
                          // A limit below a chunk's alignment is no limit.
                          {15, ARENA},
                          {0, ARENA}}) {
        MockPages::Journal journal;
        LockedPool pool{Mock(journal, 2, SIZE_MAX, c.limit)};
        BOOST_CHECK(pool.alloc(16) != nullptr);
        BOOST_REQUIRE_EQUAL(journal.live.size(), 1U);
        BOOST_CHECK_MESSAGE(journal.live[0].second == c.asked, "limit " << c.limit << ": asked for " << journal.live[0].second);
        BOOST_CHECK(SameStats(pool.stats(), {16, c.asked - 16, c.asked, c.asked, 1, c.asked > 16 ? 1U : 0U}));
        if (c.asked > 16) pool.alloc(c.asked - 16);
        // The second arena is not limited.
        BOOST_CHECK(pool.alloc(ARENA) != nullptr);
        BOOST_CHECK_EQUAL(journal.live.back().second, ARENA);
    }
}

BOOST_AUTO_TEST_CASE(callback_decides_about_unlocked_memory)
{
    for (const bool answer : {true, false}) {
        g_callback_answer = answer;
        g_callback_calls = 0;
        MockPages::Journal journal;
        LockedPool pool{Mock(journal, 4, 1), &CountAndAnswer};
        BOOST_CHECK(pool.alloc(ARENA) != nullptr);
        BOOST_CHECK_EQUAL(g_callback_calls, 0); // not asked, as the memory is locked
        BOOST_CHECK_EQUAL(pool.alloc(ARENA) != nullptr, answer);
        BOOST_CHECK_EQUAL(g_callback_calls, 1);
        BOOST_CHECK_EQUAL(pool.alloc(ARENA) != nullptr, answer);
        BOOST_CHECK_EQUAL(g_callback_calls, 2); // asked each time
        const size_t arenas{answer ? size_t{3} : size_t{1}};
        BOOST_CHECK_EQUAL(journal.live.size(), arenas); // refused pages went back
        BOOST_CHECK(!journal.freed_other_than_allocated);
        BOOST_CHECK(SameStats(pool.stats(), {arenas * ARENA, 0, arenas * ARENA, ARENA, arenas, 0}));
        const auto details{pool.details()};
        BOOST_CHECK_EQUAL(details.arenas, arenas);
        BOOST_CHECK_EQUAL(details.lock_failures, 2U);
        BOOST_CHECK_EQUAL(details.last_lock_error, 0);
        BOOST_CHECK_EQUAL(details.last_lock_limit, SIZE_MAX);
    }
    // Without a callback, unlocked memory is used and counted.
    MockPages::Journal journal;
    LockedPool pool{Mock(journal, 1, 0)};
    BOOST_CHECK(pool.alloc(16) != nullptr);
    BOOST_CHECK_EQUAL(pool.stats().locked, 0U);
    BOOST_CHECK_EQUAL(pool.details().lock_failures, 1U);
}

BOOST_AUTO_TEST_CASE(exceptions_of_the_virtuals_arrive)
{
    bool throws{true};
    int allocated{0};
    auto pages{std::make_unique<ScriptedPages>()};
    pages->limit = [&]() -> size_t { if (throws) throw Thrown{1}; return SIZE_MAX; };
    pages->allocate = [&](size_t, bool* locked) { *locked = true; return Address(SYNTHETIC_BASE + (size_t(++allocated) << 24)); };
    ScriptedPages& script{*pages};
    LockedPool pool{std::move(pages)};

    CheckThrows(pool, 1);
    CheckThrows(pool, 1);
    BOOST_CHECK_EQUAL(allocated, 0); // Core does not call it either
    throws = false;
    BOOST_CHECK(pool.alloc(ARENA) != nullptr);

    auto working{std::exchange(script.allocate, [](size_t, bool*) -> void* { throw Thrown{2}; })};
    CheckThrows(pool, 2);
    script.allocate = [](size_t, bool*) -> void* { throw std::length_error{"not memory's fault"}; };
    BOOST_CHECK_THROW(pool.alloc(16), std::length_error);
    // Existing memory can still be used, and the next call is not affected.
    BOOST_CHECK(SameStats(pool.stats(), {ARENA, 0, ARENA, ARENA, 1, 0}));
    script.allocate = [](size_t, bool*) -> void* { return nullptr; };
    BOOST_CHECK(pool.alloc(16) == nullptr);
    script.allocate = working;
    BOOST_CHECK(pool.alloc(16) != nullptr);
    BOOST_CHECK_EQUAL(Thrown::alive, 0);
}

BOOST_AUTO_TEST_CASE(exceptions_of_the_callback_and_of_FreeLocked_arrive)
{
    auto pages{std::make_unique<ScriptedPages>()};
    int released{0};
    pages->allocate = [](size_t, bool* locked) { *locked = false; return Address(SYNTHETIC_BASE); };
    pages->release = [&](void*, size_t) { ++released; };
    ScriptedPages& script{*pages};
    LockedPool pool{std::move(pages), [] { if (g_callback_answer) throw Thrown{3}; return false; }};
    g_callback_answer = true;
    CheckThrows(pool, 3);
    BOOST_CHECK_EQUAL(released, 1); // the pages that the callback did not accept

    script.release = [&](void*, size_t) { ++released; throw Thrown{4}; };
    CheckThrows(pool, 3); // the first of two
    g_callback_answer = false;
    CheckThrows(pool, 4);
    BOOST_CHECK_EQUAL(released, 3);
    BOOST_CHECK(SameStats(pool.stats(), {0, 0, 0, 0, 0, 0}));
}

BOOST_AUTO_TEST_CASE(exceptions_do_not_stray)
{
    // An exception in a call through the C interface cannot reach the caller, ...
    auto pages{std::make_unique<ScriptedPages>()};
    pages->allocate = [](size_t, bool*) -> void* { throw Thrown{5}; };
    LockedPool broken{std::move(pages)};
    BOOST_CHECK(bitcoin_support_locked_pool_alloc(broken.handle(), 16) == nullptr);
    BOOST_CHECK_EQUAL(Thrown::alive, 0);
    // ... and does not appear in another pool.
    MockPages::Journal journal;
    LockedPool sound{Mock(journal, 1)};
    BOOST_CHECK(sound.alloc(16) != nullptr);
    BOOST_CHECK(sound.alloc(ARENA) == nullptr);

    // A virtual that uses another pool can catch the exception of that pool's virtual.
    auto nested{std::make_unique<ScriptedPages>()};
    nested->allocate = [&](size_t, bool* locked) {
        BOOST_CHECK_THROW(broken.alloc(16), Thrown);
        *locked = true;
        return Address(SYNTHETIC_BASE);
    };
    LockedPool outer{std::move(nested)};
    BOOST_CHECK(outer.alloc(16) != nullptr);
    BOOST_CHECK(outer.alloc(ARENA + 1) == nullptr);
    BOOST_CHECK_EQUAL(Thrown::alive, 0);
}

#ifndef _WIN32
BOOST_AUTO_TEST_CASE(an_exception_that_cannot_be_carried_ends_the_process)
{
    // A destructor cannot throw the exception. Core's ends the process as well.
    struct Report {
        bool reached;
    };
    const auto child{RunInChild<Report>([](Report& report) {
        std::set_terminate([] { _exit(42); });
        auto pages{std::make_unique<ScriptedPages>()};
        pages->allocate = [](size_t, bool* locked) { *locked = true; return Address(SYNTHETIC_BASE); };
        pages->release = [](void*, size_t) { throw Thrown{6}; };
        {
            LockedPool pool{std::move(pages)};
            pool.alloc(16);
        }
        report.reached = true;
    })};
    BOOST_CHECK(WIFEXITED(child.status) && WEXITSTATUS(child.status) == 42);
}
#endif

BOOST_AUTO_TEST_CASE(refuses_bad_frees_and_changes_nothing)
{
    MockPages::Journal journal;
    LockedPool pool{Mock(journal, 2)};
    pool.free(nullptr); // does nothing, also before there is an arena
    CheckRefused(pool, Address(SYNTHETIC_BASE), NO_ARENA);

    const uintptr_t chunk{Number(pool.alloc(256))};
    const uintptr_t freed{Number(pool.alloc(256))};
    void* const other{pool.alloc(ARENA)}; // in the second arena
    pool.free(Address(freed));
    pool.free(nullptr);
    CheckRefused(pool, Address(freed), NO_CHUNK);
    CheckRefused(pool, Address(chunk + 16), NO_CHUNK);
    CheckRefused(pool, Address(chunk + 1), NO_CHUNK);
    CheckRefused(pool, Address(SYNTHETIC_BASE), NO_CHUNK);
    CheckRefused(pool, Address(Number(other) + ARENA - 16), NO_CHUNK);
    CheckRefused(pool, Address(SYNTHETIC_BASE - 16), NO_ARENA);
    CheckRefused(pool, Address(SYNTHETIC_BASE + ARENA), NO_ARENA);
    CheckRefused(pool, Address(Number(other) + ARENA), NO_ARENA);
    CheckRefused(pool, &pool, NO_ARENA);
    CheckRefused(pool, Address(std::numeric_limits<uintptr_t>::max()), NO_ARENA);
    pool.free(Address(chunk));
    pool.free(other);
    CheckRefused(pool, other, NO_CHUNK);
    BOOST_CHECK(SameStats(pool.stats(), {0, 2 * ARENA, 2 * ARENA, 2 * ARENA, 0, 2}));
}

BOOST_AUTO_TEST_CASE(finds_the_arena_of_every_chunk_among_a_thousand)
{
    // The pages are 16 MiB apart, and 32 bits have no more addresses.
    constexpr size_t ARENAS{WIDE ? 1000 : 200};
    MockPages::Journal journal;
    LockedPool pool{Mock(journal, ARENAS)};
    std::vector<void*> chunks;
    for (size_t i{0}; i < 2 * ARENAS; ++i) {
        chunks.push_back(pool.alloc(ARENA / 2));
        BOOST_REQUIRE(chunks.back() != nullptr);
    }
    BOOST_CHECK(pool.alloc(1) == nullptr);
    BOOST_CHECK_EQUAL(pool.details().arenas, ARENAS);
    Random random{0x5eed0002};
    for (size_t i{chunks.size()}; i > 1; --i) std::swap(chunks[i - 1], chunks[random.Below(i)]);
    // Each freed chunk is the place of the next chunk of its size, as there is no other room.
    for (size_t i{0}; i < chunks.size(); ++i) {
        pool.free(chunks[i]);
        BOOST_REQUIRE_EQUAL(pool.alloc(ARENA / 2), chunks[i]);
    }
    for (void* const chunk : chunks) pool.free(chunk);
    BOOST_CHECK(SameStats(pool.stats(), {0, ARENAS * ARENA, ARENAS * ARENA, ARENAS * ARENA, 0, ARENAS}));
    // The oldest arena with room comes first.
    BOOST_CHECK_EQUAL(pool.alloc(ARENA), Address(SYNTHETIC_BASE));
}

BOOST_AUTO_TEST_CASE(over_aligned_chunks)
{
    MockPages::Journal journal;
    LockedPool pool{Mock(journal, 3)};
    pool.alloc(16);
    std::vector<void*> chunks;
    for (size_t alignment{1}; alignment <= ARENA / 4; alignment *= 2) {
        chunks.push_back(pool.alloc(100, alignment));
        BOOST_REQUIRE(chunks.back() != nullptr);
        BOOST_CHECK_EQUAL(Number(chunks.back()) % alignment, 0U);
    }
    for (void* const chunk : chunks) pool.free(chunk);
    BOOST_CHECK_EQUAL(pool.stats().used, 16U);
    for (const size_t alignment : {size_t{0}, size_t{3}, size_t{24}, SIZE_MAX}) BOOST_CHECK(pool.alloc(16, alignment) == nullptr);

    // Over the system's pages, an alignment above a page's needs room for an aligned place.
    OwnPool own;
    for (size_t alignment{1}; alignment <= ARENA / 2; alignment *= 2) {
        unsigned char* const chunk{own.Alloc(64, alignment)};
        BOOST_REQUIRE(chunk != nullptr);
        BOOST_CHECK_EQUAL(Number(chunk) % alignment, 0U);
        std::memset(chunk, 1, 64);
    }
    const size_t arenas{own.Stats().arenas};
    BOOST_CHECK(own.Alloc(64, ARENA) == nullptr); // a new arena may have no such place, so nothing is mapped
    BOOST_CHECK_EQUAL(own.Stats().arenas, arenas);
}

BOOST_AUTO_TEST_CASE(details_agree_with_stats)
{
    MockPages::Journal journal;
    LockedPool pool{Mock(journal, 3, 2)};
    const auto empty{pool.details()};
    BOOST_CHECK_EQUAL(empty.arenas + empty.peak_used + empty.total + empty.lock_failures, 0U);
    void* const a{pool.alloc(ARENA)};
    void* const b{pool.alloc(ARENA - 100)};
    void* const c{pool.alloc(1000)};
    pool.free(b);
    pool.free(a);
    const auto details{pool.details()};
    const auto stats{pool.stats()};
    BOOST_CHECK_EQUAL(details.used, stats.used);
    BOOST_CHECK_EQUAL(details.free, stats.free);
    BOOST_CHECK_EQUAL(details.total, stats.total);
    BOOST_CHECK_EQUAL(details.locked, stats.locked);
    BOOST_CHECK_EQUAL(details.chunks_used, stats.chunks_used);
    BOOST_CHECK_EQUAL(details.chunks_free, stats.chunks_free);
    BOOST_CHECK(SameStats(stats, {1008, 3 * ARENA - 1008, 3 * ARENA, 2 * ARENA, 1, 3}));
    BOOST_CHECK_EQUAL(details.arenas, 3U);
    BOOST_CHECK_EQUAL(details.peak_used, ARENA + (ARENA - 96) + 1008);
    BOOST_CHECK_EQUAL(details.lock_failures, 1U);
    pool.free(c);
    BOOST_CHECK_EQUAL(pool.details().peak_used, details.peak_used);
}

BOOST_AUTO_TEST_CASE(pages_at_odd_places)
{
    // A misaligned range: chunks are aligned nevertheless, and the bytes at its ends are not used.
    auto misaligned{std::make_unique<ScriptedPages>()};
    misaligned->allocate = [](size_t, bool* locked) { *locked = true; return Address(SYNTHETIC_BASE + 8); };
    {
        LockedPool pool{std::move(misaligned)};
        BOOST_CHECK_EQUAL(Number(pool.alloc(1)) % 16, 0U);
        BOOST_CHECK(SameStats(pool.stats(), {16, ARENA - 32, ARENA - 16, pool.stats().locked, 1, 1}));
        BOOST_CHECK(pool.alloc(ARENA) == nullptr);
    }

    // The same range twice: its memory serves only one chunk.
    auto twice{std::make_unique<ScriptedPages>()};
    int released{0};
    twice->allocate = [](size_t, bool* locked) { *locked = true; return Address(SYNTHETIC_BASE); };
    twice->release = [&](void*, size_t) { ++released; };
    {
        LockedPool pool{std::move(twice)};
        BOOST_CHECK(pool.alloc(ARENA) != nullptr);
        BOOST_CHECK(pool.alloc(ARENA) == nullptr);
        BOOST_CHECK_EQUAL(released, 0); // a release would unmap the first arena's chunks
        BOOST_CHECK_EQUAL(pool.stats().total, ARENA);
    }
    BOOST_CHECK_EQUAL(released, 1);
}

#ifndef _WIN32
BOOST_AUTO_TEST_CASE(pages_past_the_end_of_the_address_space_are_refused)
{
    struct Report {
        bool refused;
    };
    const auto child{RunInChild<Report>([](Report& report) {
        auto pages{std::make_unique<ScriptedPages>()};
        int released{0};
        pages->allocate = [](size_t, bool* locked) { *locked = true; return Address(SIZE_MAX - 4095); };
        pages->release = [&](void*, size_t) { ++released; };
        LockedPool pool{std::move(pages)};
        report.refused = pool.alloc(16) == nullptr && released == 1 && pool.stats().total == 0;
    })};
    BOOST_CHECK_EQUAL(child.status, 0);
    BOOST_CHECK(child.report.refused);
}
#endif

BOOST_AUTO_TEST_CASE(own_pages_are_zero_locked_and_guarded)
{
    OwnPool pool;
    unsigned char* const chunk{pool.Alloc(ARENA)};
    BOOST_REQUIRE(chunk != nullptr);
    BOOST_CHECK(AllBytesAre(chunk, ARENA, 0));
    std::memset(chunk, 0xa5, ARENA);
    BOOST_CHECK(AllBytesAre(chunk, ARENA, 0xa5));
    BOOST_CHECK_EQUAL(pool.Stats().locked, pool.Stats().lock_failures == 0 ? ARENA : 0U);

#ifndef _WIN32
    // An access beyond either end faults. An access within does not.
    struct Report {
        unsigned char byte;
    };
    if (UnderValgrind()) SKIP_TEST("valgrind's own messages about the two faults would count as errors");
    for (unsigned char* const address : {chunk - 1, chunk + ARENA, chunk, chunk + ARENA - 1}) {
        const auto child{RunInChild<Report>([&](Report& report) { report.byte = *static_cast<volatile unsigned char*>(address); })};
        const bool inside{address == chunk || address == chunk + ARENA - 1};
        BOOST_CHECK_EQUAL(child.reported, inside);
        if (!inside) BOOST_CHECK(child.Killed(SIGSEGV));
    }
#endif
}

#ifdef _WIN32
/** Whether the system says that a byte may not be written. */
bool KillsAChild(unsigned char* address)
{
    MEMORY_BASIC_INFORMATION page;
    if (VirtualQuery(address, &page, sizeof(page)) != sizeof(page)) return true;
    return page.State != MEM_COMMIT || (page.Protect != PAGE_READWRITE && page.Protect != PAGE_WRITECOPY);
}
#else
/** Whether a child process dies of writing a byte. */
bool KillsAChild(unsigned char* address)
{
    const auto child{RunInChild<int>([&](int&) { *const_cast<volatile unsigned char*>(address) = 1; })};
    BOOST_CHECK(child.reported || child.Killed(SIGSEGV));
    return child.Killed(SIGSEGV);
}
#endif

BOOST_AUTO_TEST_CASE(guard_pages_stop_what_leaves_an_arena)
{
    OwnPool pool;
    for (int arenas{0}; arenas < 2; ++arenas) {
        unsigned char* const whole{pool.Alloc(ARENA)};
        BOOST_CHECK(KillsAChild(whole + ARENA) && KillsAChild(whole - 1));
        BOOST_CHECK(!KillsAChild(whole) && !KillsAChild(whole + ARENA - 1));
    }
    // The control: a page in the middle of a mapping has no guard pages beside it.
    static unsigned char memory[3 * ARENA];
    unsigned char* const middle{memory + ARENA};
    BOOST_CHECK(!KillsAChild(middle + ARENA) && !KillsAChild(middle - 1));
}

BOOST_AUTO_TEST_CASE(own_chunks_are_wiped_whole_as_they_are_freed)
{
    OwnPool pool;
    for (const size_t size : {size_t{1}, size_t{15}, size_t{16}, size_t{100}, size_t{4096}, size_t{5000}, ARENA / 2}) {
        const size_t chunk_size{(size + 15) / 16 * 16};
        unsigned char* const above{pool.Alloc(16)};
        unsigned char* const chunk{pool.Alloc(size)};
        unsigned char* const below{pool.Alloc(16)};
        BOOST_REQUIRE(below + 16 == chunk && chunk + chunk_size == above); // neighbours
        for (auto* const bytes : {below, above}) std::memset(bytes, 0xa5, 16);
        std::memset(chunk, 0xa5, size);
        BOOST_CHECK_EQUAL(pool.Free(chunk), BITCOIN_SUPPORT_OK);
        // The pool keeps its pages, so their bytes can be read.
        BOOST_CHECK_MESSAGE(AllBytesAre(chunk, chunk_size, 0), size << " bytes are wiped, padding included");
        BOOST_CHECK(AllBytesAre(below, 16, 0xa5) && AllBytesAre(above, 16, 0xa5));
        // A free that is refused does not wipe.
        BOOST_CHECK_EQUAL(pool.Free(above + 1), BITCOIN_SUPPORT_INVALID_FREE);
        BOOST_CHECK(AllBytesAre(above, 16, 0xa5));
        pool.Free(above);
        pool.Free(below);
    }
    BOOST_CHECK_EQUAL(pool.Stats().used, 0U);
}

BOOST_AUTO_TEST_CASE(pages_of_others_are_not_touched)
{
    // The control of the test above: memory of a foreign allocator is not wiped.
    alignas(4096) static unsigned char memory[ARENA];
    std::memset(memory, 0xa5, ARENA);
    auto pages{std::make_unique<ScriptedPages>()};
    pages->allocate = [&](size_t, bool* locked) { *locked = true; return static_cast<void*>(memory); };
    {
        LockedPool pool{std::move(pages)};
        pool.free(pool.alloc(1000));
        pool.free(pool.alloc(ARENA));
    }
    BOOST_CHECK(AllBytesAre(memory, ARENA, 0xa5));
}

BOOST_AUTO_TEST_CASE(threads_hand_chunks_to_each_other)
{
    // Each thread writes its mark into its chunks, and frees chunks of the other thread.
    constexpr int ROUNDS{20'000};
    struct Item {
        unsigned char* chunk;
        size_t size;
        unsigned char mark;
    };
    OwnPool pool;
    std::mutex mutex;
    std::vector<Item> shared;
    std::vector<std::string> errors;
    const auto work{[&](unsigned char mark) {
        Random random{mark};
        const auto fail{[&](const char* what) {
            const std::lock_guard<std::mutex> lock{mutex};
            errors.emplace_back(what);
        }};
        for (int i{0}; i < ROUNDS; ++i) {
            const size_t size{1 + random.Below(512)};
            unsigned char* const chunk{pool.Alloc(size)};
            if (!chunk) return fail("no memory");
            if (!AllBytesAre(chunk, size, 0)) fail("a chunk was not zero");
            std::memset(chunk, mark, size);
            Item taken{};
            {
                const std::lock_guard<std::mutex> lock{mutex};
                shared.push_back({chunk, size, mark});
                if (shared.size() > 500) {
                    std::swap(shared[random.Below(shared.size())], shared.back());
                    taken = shared.back();
                    shared.pop_back();
                }
            }
            if (!taken.chunk) continue;
            if (!AllBytesAre(taken.chunk, taken.size, taken.mark)) fail("a chunk lost its bytes");
            if (pool.Free(taken.chunk) != BITCOIN_SUPPORT_OK) fail("a chunk could not be freed");
            const auto stats{pool.Stats()};
            if (stats.used + stats.free != stats.total) fail("figures do not add up");
        }
    }};
    std::thread first{work, 1}, second{work, 2};
    first.join();
    second.join();
    for (const std::string& error : errors) BOOST_ERROR(error);
    for (const Item& item : shared) BOOST_CHECK_EQUAL(pool.Free(item.chunk), BITCOIN_SUPPORT_OK);
    const auto stats{pool.Stats()};
    BOOST_CHECK_EQUAL(stats.used + stats.chunks_used, 0U);
    BOOST_CHECK_EQUAL(stats.chunks_free, stats.arenas);
}

BOOST_AUTO_TEST_SUITE_END()
