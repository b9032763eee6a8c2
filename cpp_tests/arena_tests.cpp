// Arena through its C++ class, over memory that does not exist. It serves each request that fits. It refuses
// every pointer that is not the start of a live chunk, and changes nothing then. Its figures are exact.
// Absurd regions, sizes and alignments do no harm.

#define ARENA_DEBUG
#include "test_util.h"

#include <boost/test/unit_test.hpp>

#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <tuple>

using namespace test;

namespace {

/** Statistics of an arena. */
bitcoin_support_arena_stats StatsOf(const bitcoin_support_arena* arena)
{
    bitcoin_support_arena_stats stats{};
    bitcoin_support_arena_get_stats(arena, &stats, sizeof(stats));
    return stats;
}

constexpr size_t KIB{1024};
constexpr size_t MIB{1024 * KIB};

struct Walked {
    uintptr_t address;
    size_t size;
    bool used;

    bool operator==(const Walked& other) const
    {
        return std::tie(address, size, used) == std::tie(other.address, other.size, other.used);
    }
};

/** Reads back what Arena::walk prints. */
std::vector<Walked> Walk(const Arena& arena)
{
    // walk() writes to stdout, so stdout is a file meanwhile.
    std::fflush(stdout);
    std::FILE* const file{std::tmpfile()};
    const int saved{dup(STDOUT_FILENO)};
    dup2(fileno(file), STDOUT_FILENO);
    arena.walk();
    std::fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);

    std::rewind(file);
    std::vector<Walked> chunks;
    size_t address, size;
    unsigned used;
    while (std::fscanf(file, "%zx %zx %x", &address, &size, &used) == 3) chunks.push_back({address, size, used != 0});
    std::fclose(file);
    return chunks;
}

bool SameStats(const Arena::Stats& a, const Arena::Stats& b)
{
    return std::tie(a.used, a.free, a.total, a.chunks_used, a.chunks_free) ==
           std::tie(b.used, b.free, b.total, b.chunks_used, b.chunks_free);
}

/** Checks that the arena refuses to free ptr with Core's message, and stays unchanged. */
void CheckRefused(Arena& arena, void* ptr)
{
    const Arena::Stats before{arena.stats()};
    BOOST_CHECK_EXCEPTION(arena.free(ptr), std::runtime_error,
                          [](const std::runtime_error& e) { return std::string{e.what()} == "Arena: invalid or double free"; });
    BOOST_CHECK(SameStats(arena.stats(), before));
}

} // namespace

BOOST_AUTO_TEST_SUITE(arena)

BOOST_AUTO_TEST_CASE(serves_from_the_end_of_the_region)
{
    Arena arena{Address(SYNTHETIC_BASE), MIB, 16};
    BOOST_CHECK_EQUAL(Number(arena.alloc(1000)), SYNTHETIC_BASE + MIB - 1008);
    BOOST_CHECK_EQUAL(Number(arena.alloc(1)), SYNTHETIC_BASE + MIB - 1008 - 16);
    BOOST_CHECK(SameStats(arena.stats(), {1024, MIB - 1024, MIB, 2, 1}));
}

BOOST_AUTO_TEST_CASE(prefers_the_smallest_chunk_that_fits_and_the_oldest_of_equals)
{
    Arena arena{Address(SYNTHETIC_BASE), MIB, 16};
    // Holes of 64, 32 and 32 bytes, with live chunks between them.
    void* const large{arena.alloc(64)};
    arena.alloc(16);
    void* const older{arena.alloc(32)};
    arena.alloc(16);
    void* const newer{arena.alloc(32)};
    arena.alloc(16);
    arena.free(large);
    arena.free(older);
    arena.free(newer);
    BOOST_CHECK_EQUAL(arena.alloc(32), older);
    BOOST_CHECK_EQUAL(arena.alloc(32), newer);
    BOOST_CHECK_EQUAL(arena.alloc(48), Address(Number(large) + 16));
}

BOOST_AUTO_TEST_CASE(merges_with_both_neighbours_at_once)
{
    Arena arena{Address(SYNTHETIC_BASE), 48, 16};
    void* const high{arena.alloc(16)};
    void* const middle{arena.alloc(16)};
    void* const low{arena.alloc(16)};
    arena.free(low);
    arena.free(high);
    BOOST_CHECK_EQUAL(arena.stats().chunks_free, 2U);
    BOOST_CHECK(arena.alloc(32) == nullptr);
    arena.free(middle);
    BOOST_CHECK(SameStats(arena.stats(), {0, 48, 48, 0, 1}));
    BOOST_CHECK_EQUAL(arena.alloc(48), low);
}

BOOST_AUTO_TEST_CASE(sizes_at_the_edges)
{
    Arena arena{Address(SYNTHETIC_BASE), MIB, 16};
    constexpr size_t MAX{std::numeric_limits<size_t>::max()};
    for (const size_t size : {size_t{0}, MIB + 1, MAX, MAX - 14, MAX - 15, MAX - 16, MAX / 2}) {
        BOOST_CHECK_MESSAGE(arena.alloc(size) == nullptr, "alloc(" << size << ")");
    }
    BOOST_CHECK(SameStats(arena.stats(), {0, MIB, MIB, 0, 1}));

    void* const whole{arena.alloc(MIB - 15)}; // rounds up to all of it
    BOOST_CHECK_EQUAL(Number(whole), SYNTHETIC_BASE);
    BOOST_CHECK(SameStats(arena.stats(), {MIB, 0, MIB, 1, 0}));
    BOOST_CHECK(arena.alloc(1) == nullptr);
    arena.free(whole);
    BOOST_CHECK_EQUAL(Number(arena.alloc(1)), SYNTHETIC_BASE + MIB - 16);
}

BOOST_AUTO_TEST_CASE(fills_up_without_losing_a_byte)
{
    Arena arena{Address(SYNTHETIC_BASE), MIB, 16};
    std::vector<void*> chunks;
    for (size_t i{0}; i < MIB / 16; ++i) chunks.push_back(arena.alloc(1 + i % 16));
    BOOST_CHECK(std::find(chunks.begin(), chunks.end(), nullptr) == chunks.end());
    BOOST_CHECK(arena.alloc(1) == nullptr);
    BOOST_CHECK(SameStats(arena.stats(), {MIB, 0, MIB, MIB / 16, 0}));
    std::sort(chunks.begin(), chunks.end());
    for (size_t i{0}; i < chunks.size(); ++i) BOOST_REQUIRE_EQUAL(Number(chunks[i]), SYNTHETIC_BASE + 16 * i);
    for (void* const chunk : chunks) arena.free(chunk);
    BOOST_CHECK(SameStats(arena.stats(), {0, MIB, MIB, 0, 1}));
}

BOOST_AUTO_TEST_CASE(refuses_bad_frees_and_changes_nothing)
{
    Arena arena{Address(SYNTHETIC_BASE), MIB, 16};
    const uintptr_t chunk{Number(arena.alloc(256))};
    const uintptr_t freed{Number(arena.alloc(256))};
    arena.alloc(256);
    arena.free(Address(freed));

    CheckRefused(arena, Address(freed));               // double
    CheckRefused(arena, Address(freed + 16));          // inside a free chunk
    CheckRefused(arena, Address(chunk + 16));          // interior, a granule in
    CheckRefused(arena, Address(chunk + 1));           // interior, misaligned
    CheckRefused(arena, Address(chunk - 1));           // misaligned, the granule before
    CheckRefused(arena, Address(chunk + 256));         // one past the chunk, and the region's end
    CheckRefused(arena, Address(SYNTHETIC_BASE));      // never handed out
    CheckRefused(arena, Address(SYNTHETIC_BASE - 16)); // below
    CheckRefused(arena, Address(16));                  // far below: wraps around
    CheckRefused(arena, Address(std::numeric_limits<uintptr_t>::max() - 15));
    CheckRefused(arena, &arena); // foreign
    arena.free(nullptr);         // does nothing

    arena.free(Address(chunk));
    CheckRefused(arena, Address(chunk));
}

BOOST_AUTO_TEST_CASE(sizes_and_alignments_can_be_checked_on_free)
{
    bitcoin_support_arena* arena{nullptr};
    BOOST_REQUIRE_EQUAL(bitcoin_support_arena_create(Address(SYNTHETIC_BASE), MIB, 16, &arena), BITCOIN_SUPPORT_OK);
    void* const chunk{bitcoin_support_arena_alloc_aligned(arena, 100, 64)};
    BOOST_CHECK_EQUAL(bitcoin_support_arena_free_sized(arena, chunk, 96, 64), BITCOIN_SUPPORT_SIZE_MISMATCH);
    BOOST_CHECK_EQUAL(bitcoin_support_arena_free_sized(arena, chunk, 113, 64), BITCOIN_SUPPORT_SIZE_MISMATCH);
    BOOST_CHECK_EQUAL(bitcoin_support_arena_free_sized(arena, chunk, 0, 64), BITCOIN_SUPPORT_SIZE_MISMATCH);
    BOOST_CHECK_EQUAL(bitcoin_support_arena_free_sized(arena, chunk, 100, 3), BITCOIN_SUPPORT_SIZE_MISMATCH);
    BOOST_CHECK_EQUAL(bitcoin_support_arena_free_sized(arena, chunk, 100, MIB), BITCOIN_SUPPORT_SIZE_MISMATCH);
    BOOST_CHECK_EQUAL(bitcoin_support_arena_free_sized(arena, Address(Number(chunk) + 16), 100, 16), BITCOIN_SUPPORT_INVALID_FREE);
    BOOST_CHECK_EQUAL(StatsOf(arena).chunks_used, 1U);
    BOOST_CHECK_EQUAL(bitcoin_support_arena_free_sized(arena, chunk, 100, 64), BITCOIN_SUPPORT_OK);
    BOOST_CHECK_EQUAL(bitcoin_support_arena_free_sized(arena, chunk, 100, 64), BITCOIN_SUPPORT_INVALID_FREE);
    bitcoin_support_arena_destroy(arena);
}

BOOST_AUTO_TEST_CASE(own_alignment_from_1_to_64_KiB)
{
    for (size_t alignment{1}; alignment <= 64 * KIB; alignment *= 2) {
        // A misaligned region that contains exactly 7 granules.
        const size_t inset{alignment > 1 ? alignment / 2 + 1 : 0};
        Arena arena{Address(SYNTHETIC_BASE + inset), 8 * alignment - inset, alignment};
        const size_t granules{alignment > 1 ? size_t{7} : size_t{8}};
        BOOST_CHECK(SameStats(arena.stats(), {0, granules * alignment, granules * alignment, 0, 1}));
        for (size_t i{0}; i < granules; ++i) {
            void* const chunk{arena.alloc(1)};
            BOOST_CHECK_EQUAL(Number(chunk) % alignment, 0U);
            BOOST_CHECK(arena.addressInArena(chunk));
        }
        BOOST_CHECK(arena.alloc(1) == nullptr);
    }
}

BOOST_AUTO_TEST_CASE(misaligned_regions_are_rounded_inward)
{
    struct Case {
        uintptr_t base_offset;
        size_t size;
        size_t total;
    };
    for (const Case& c : {Case{0, 100, 96}, {1, 1024, 1008}, {15, 1024, 1008}, {8, 24, 16}, {8, 23, 0}, {1, 15, 0}, {0, 15, 0}, {0, 16, 16}}) {
        const uintptr_t base{SYNTHETIC_BASE + c.base_offset};
        Arena arena{Address(base), c.size, 16};
        BOOST_CHECK(SameStats(arena.stats(), {0, c.total, c.total, 0, c.total > 0 ? 1U : 0U}));
        while (void* const chunk{arena.alloc(16)}) {
            BOOST_CHECK_EQUAL(Number(chunk) % 16, 0U);
            BOOST_CHECK_GE(Number(chunk), base);
            BOOST_CHECK_LE(Number(chunk) + 16, base + c.size);
        }
        BOOST_CHECK_EQUAL(arena.stats().used, c.total);
        // The whole region belongs to the arena, with the bytes at its ends.
        BOOST_CHECK(arena.addressInArena(Address(base)));
        BOOST_CHECK(arena.addressInArena(Address(base + c.size - 1)));
        BOOST_CHECK(!arena.addressInArena(Address(base + c.size)));
        BOOST_CHECK(!arena.addressInArena(Address(base - 1)));
        BOOST_CHECK(!arena.addressInArena(nullptr));
    }
}

BOOST_AUTO_TEST_CASE(empty_arena_is_always_full)
{
    Arena arena{Address(SYNTHETIC_BASE), 0, 16};
    BOOST_CHECK(SameStats(arena.stats(), {0, 0, 0, 0, 0}));
    BOOST_CHECK(arena.alloc(1) == nullptr);
    BOOST_CHECK(arena.alloc(1, 64) == nullptr);
    BOOST_CHECK(!arena.addressInArena(Address(SYNTHETIC_BASE)));
    CheckRefused(arena, Address(SYNTHETIC_BASE));
    BOOST_CHECK(Walk(arena).empty());
}

BOOST_AUTO_TEST_CASE(absurd_arenas_are_refused)
{
    constexpr size_t MAX{std::numeric_limits<size_t>::max()};
    const auto make{[](uintptr_t base, size_t size, size_t alignment) { Arena{Address(base), size, alignment}; }};
    for (const size_t alignment : {size_t{0}, size_t{3}, size_t{24}, MAX, MAX / 2}) {
        BOOST_CHECK_THROW(make(SYNTHETIC_BASE, MIB, alignment), std::invalid_argument);
    }
    BOOST_CHECK_THROW(make(0, MIB, 16), std::invalid_argument);
    BOOST_CHECK_THROW(make(SYNTHETIC_BASE, MAX, 16), std::invalid_argument);
    BOOST_CHECK_THROW(make(MAX - 15, 17, 16), std::invalid_argument);
    // A petabyte in granules of a byte would need more bookkeeping than there is memory, and so would half of the
    // addresses of 32 bits.
    constexpr size_t huge{size_t{1} << (WIDE ? 50 : 31)};
    BOOST_CHECK_THROW(make(SYNTHETIC_BASE, huge, 1), std::bad_alloc);
    // The same region works with 1024 granules,
    Arena coarse{Address(huge / 1024), huge, huge / 1024};
    BOOST_CHECK_EQUAL(coarse.stats().total, huge);
    BOOST_CHECK_EQUAL(Number(coarse.alloc(1)), huge);
    // and so does an alignment of which the region has no multiple.
    Arena none{Address(SYNTHETIC_BASE + 16), MIB, MAX / 2 + 1};
    BOOST_CHECK_EQUAL(none.stats().total, 0U);
    BOOST_CHECK(none.alloc(1) == nullptr);
    // The last bytes of the address space: the end is one past the last address.
    Arena last{Address(MAX - 31), 31, 16};
    BOOST_CHECK_EQUAL(Number(last.alloc(16)), MAX - 31);
}

BOOST_AUTO_TEST_CASE(over_aligned_chunks)
{
    Arena arena{Address(SYNTHETIC_BASE), MIB, 16};
    std::vector<void*> chunks;
    for (size_t alignment{1}; alignment <= 64 * KIB; alignment *= 2) {
        arena.alloc(16); // moves the next free end off every alignment
        chunks.push_back(arena.alloc(100, alignment));
        BOOST_REQUIRE(chunks.back() != nullptr);
        BOOST_CHECK_EQUAL(Number(chunks.back()) % alignment, 0U);
    }
    for (size_t i{1}; i < chunks.size(); ++i) {
        for (size_t j{0}; j < i; ++j) {
            BOOST_CHECK_GE(std::max(Number(chunks[i]), Number(chunks[j])) - std::min(Number(chunks[i]), Number(chunks[j])), 112U);
        }
    }
    for (const size_t alignment : {size_t{0}, size_t{3}, size_t{48}, std::numeric_limits<size_t>::max()}) {
        BOOST_CHECK(arena.alloc(16, alignment) == nullptr);
    }
    BOOST_CHECK(arena.alloc(16, std::numeric_limits<size_t>::max() / 2 + 1) == nullptr);
    BOOST_CHECK(arena.alloc(0, 64) == nullptr);
    for (void* const chunk : chunks) arena.free(chunk);
    const Arena::Stats stats{arena.stats()};
    BOOST_CHECK_EQUAL(stats.used, chunks.size() * 16);
    BOOST_CHECK_EQUAL(stats.used + stats.free, stats.total);
}

BOOST_AUTO_TEST_CASE(over_aligned_chunk_from_the_only_place_that_suits)
{
    // Of four granules only the second and the fourth are aligned to 32 bytes, counted from 16.
    Arena arena{Address(SYNTHETIC_BASE + 16), 64, 16};
    BOOST_CHECK_EQUAL(Number(arena.alloc(32, 32)), SYNTHETIC_BASE + 32);
    BOOST_CHECK(SameStats(arena.stats(), {32, 32, 64, 1, 2}));
    BOOST_CHECK(arena.alloc(32) == nullptr);
    BOOST_CHECK_EQUAL(Number(arena.alloc(16, 32)), SYNTHETIC_BASE + 64);
    BOOST_CHECK(arena.alloc(16, 32) == nullptr);
    BOOST_CHECK_EQUAL(Number(arena.alloc(16)), SYNTHETIC_BASE + 16);
}

BOOST_AUTO_TEST_CASE(walk_visits_every_chunk_in_order)
{
    Arena arena{Address(SYNTHETIC_BASE), 256, 16};
    const uintptr_t a{Number(arena.alloc(16))};
    const uintptr_t b{Number(arena.alloc(32))};
    const uintptr_t c{Number(arena.alloc(48))};
    arena.free(Address(b));
    const std::vector<Walked> expected{{c, 48, true}, {a, 16, true}, {SYNTHETIC_BASE, 160, false}, {b, 32, false}};
    BOOST_CHECK(Walk(arena) == expected);
}

BOOST_AUTO_TEST_CASE(figures_are_exact_through_random_use)
{
    constexpr uint64_t SEED{0x5eed0001};
    Random random{SEED};
    Arena arena{Address(SYNTHETIC_BASE), 64 * KIB, 16};
    std::vector<std::pair<void*, size_t>> chunks;
    size_t used{0};
    for (int i{0}; i < 20'000; ++i) {
        if (chunks.empty() || random.Below(5) < 3) {
            const size_t size{1 + random.Below(600)};
            if (void* const chunk{arena.alloc(size, size_t{1} << random.Below(9))}) {
                chunks.emplace_back(chunk, (size + 15) / 16 * 16);
                used += chunks.back().second;
            }
        } else {
            const size_t pick{random.Below(chunks.size())};
            arena.free(chunks[pick].first);
            used -= chunks[pick].second;
            chunks[pick] = chunks.back();
            chunks.pop_back();
        }
        const Arena::Stats stats{arena.stats()};
        BOOST_REQUIRE_EQUAL(stats.used, used);
        BOOST_REQUIRE_EQUAL(stats.used + stats.free, stats.total);
        BOOST_REQUIRE_EQUAL(stats.chunks_used, chunks.size());
    }
    // The chunks of a walk tile the region.
    std::vector<Walked> walked{Walk(arena)};
    std::sort(walked.begin(), walked.end(), [](const Walked& a, const Walked& b) { return a.address < b.address; });
    uintptr_t end{SYNTHETIC_BASE};
    for (const Walked& chunk : walked) {
        BOOST_REQUIRE_EQUAL(chunk.address, end);
        end += chunk.size;
    }
    BOOST_CHECK_EQUAL(end, SYNTHETIC_BASE + 64 * KIB);
}

BOOST_AUTO_TEST_CASE(a_subclass_is_destroyed_through_its_base)
{
    // Core's class has a virtual destructor, and some code derives from it.
    struct Derived : Arena {
        Derived(bool& gone_in) : Arena{Address(SYNTHETIC_BASE), MIB, 16}, gone{gone_in} {}
        ~Derived() override { gone = true; }
        bool& gone;
    };
    bool gone{false};
    std::unique_ptr<Arena> arena{std::make_unique<Derived>(gone)};
    arena.reset();
    BOOST_CHECK(gone);
    static_assert(!std::is_copy_constructible<Arena>::value && !std::is_copy_assignable<Arena>::value, "two would free one region");
}

BOOST_AUTO_TEST_SUITE_END()
