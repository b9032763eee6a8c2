// Compares Bitcoin Core's arena and pool, compiled from Core's source, with this library's. Millions of
// random operations run on both. Each must give the same address or the same failure, the same figures and
// the same chunks. Figures that are cheap to read are compared after every operation. Figures that Core
// counts anew each time are compared after every operation in small arenas, and less often in large ones.
//
// The comparison leaves out the cases in which the two differ on purpose. Other tests cover these:
//  - regions whose base or size is not a multiple of the alignment: Core's chunks are misaligned there;
//    the library refuses null, wrapping and oddly aligned regions;
//  - an arena of no bytes, where Core counts one free chunk of no bytes;
//  - LockedPool::free(nullptr), where Core throws although its header says that nothing happens;
//  - a limit on the first arena that is not a multiple of a page: the library rounds it down;
//  - a page allocator that hands out the same pages twice;
//  - the order of the chunks in walk().
//
// The controls at the end compare with arenas that are wrong in one small way each. The comparison finds
// every one of them.

#include "core_reference.h"
#include "test_util.h"

#include <boost/test/unit_test.hpp>

#include <array>
#include <map>
#include <memory>
#include <sstream>
#include <tuple>

using namespace test;
using core_reference::ArenaReference;
using core_reference::PoolReference;
using core_reference::Stats;
using core_reference::WalkedChunk;

namespace core_reference {
bool operator==(const Stats& a, const Stats& b)
{
    return std::tie(a.used, a.free, a.total, a.locked, a.chunks_used, a.chunks_free) ==
           std::tie(b.used, b.free, b.total, b.locked, b.chunks_used, b.chunks_free);
}
bool operator==(const WalkedChunk& a, const WalkedChunk& b)
{
    return std::tie(a.address, a.size, a.used) == std::tie(b.address, b.size, b.used);
}
bool operator<(const WalkedChunk& a, const WalkedChunk& b) { return a.address < b.address; }
} // namespace core_reference

namespace {

/** Statistics of an arena. */
bitcoin_support_arena_stats StatsOf(const bitcoin_support_arena* arena)
{
    bitcoin_support_arena_stats stats{};
    bitcoin_support_arena_get_stats(arena, &stats, sizeof(stats));
    return stats;
}

/** Fewer operations where each takes ten or a hundred times as long. */
size_t Scaled(size_t operations)
{
#ifdef NDEBUG
    constexpr bool DEBUG_BUILD{false};
#else
    constexpr bool DEBUG_BUILD{true};
#endif
    if (UnderValgrind()) return operations / 500;
    return SANITIZED || DEBUG_BUILD || Emulated() ? operations / 10 : operations;
}

/** The events that a comparison has met. It proves nothing about other events. */
struct Coverage {
    size_t operations{0};
    size_t failed_allocations{0};
    size_t refused_frees{0};
    size_t most_chunks{0};

    void Report(const char* on, uint64_t first_seed, uint64_t last_seed) const
    {
        std::printf("%zu operations on %s, seeds %llu to %llu; %zu allocations failed on both sides, %zu frees were refused by both, up to %zu chunks\n",
                    operations, on, static_cast<unsigned long long>(first_seed), static_cast<unsigned long long>(last_seed), failed_allocations,
                    refused_frees, most_chunks);
        BOOST_CHECK_GT(failed_allocations, operations / 200);
        BOOST_CHECK_GT(refused_frees, operations / 200);
    }
};

const std::string BAD_CHUNK{"Arena: invalid or double free"};

std::string StatusMessage(bitcoin_support_status status)
{
    return status == BITCOIN_SUPPORT_OK ? "" : bitcoin_support_status_message(status);
}

/** The library's arena through the C interface, which can also list chunks. */
class OurArena
{
public:
    OurArena(void* base, size_t size, size_t alignment)
    {
        if (bitcoin_support_arena_create(base, size, alignment, &arena) != BITCOIN_SUPPORT_OK) std::abort();
    }
    ~OurArena() { bitcoin_support_arena_destroy(arena); }
    OurArena(const OurArena&) = delete;
    OurArena& operator=(const OurArena&) = delete;

    void* Alloc(size_t size) { return bitcoin_support_arena_alloc(arena, size); }
    std::string Free(void* ptr) { return StatusMessage(bitcoin_support_arena_free(arena, ptr)); }
    bool Contains(void* ptr) const { return bitcoin_support_arena_contains(arena, ptr); }
    Stats GetStats() const
    {
        const auto s{StatsOf(arena)};
        return {s.used, s.free, s.total, 0, s.chunks_used, s.chunks_free};
    }
    std::vector<WalkedChunk> Walk() const
    {
        std::vector<WalkedChunk> chunks;
        bitcoin_support_arena_walk(
            arena,
            [](void* context, void* chunk, size_t size, bool used) {
                static_cast<std::vector<WalkedChunk>*>(context)->push_back({Number(chunk), size, used});
                return true;
            },
            &chunks);
        return chunks;
    }

private:
    bitcoin_support_arena* arena{nullptr};
};

/** The mistake of a mirror of the arena. */
enum class Flaw {
    NONE,
    FIRST_FIT,            // the lowest chunk that fits, not the smallest
    NEWEST_OF_EQUALS,     // of chunks of one size the newest, not the oldest
    REST_KEEPS_ITS_AGE,   // the rest of a chunk keeps the chunk's age
    FROM_THE_FRONT,       // a chunk's first bytes, not its last
    FREED_KEEPS_NO_MERGE, // a freed chunk does not merge with the one above
    FREE_IS_SKIPPED,      // one free in a thousand does nothing
    DOUBLE_FREE_IS_FINE,  // a double free is no error
    ROUNDS_DOWN_ONCE,     // one size in a thousand is a granule short
};

/** A simple and slow arena, right or with a flaw. */
class Mirror
{
public:
    Mirror(void* base, size_t size, size_t alignment_in, Flaw flaw_in)
        : start{Number(base)}, total{size}, alignment{alignment_in}, flaw{flaw_in}
    {
        free_chunks[start] = {size, age++};
    }

    void* Alloc(size_t size)
    {
        size = (size + alignment - 1) / alignment * alignment;
        if (flaw == Flaw::ROUNDS_DOWN_ONCE && size > alignment && ++counter % 1000 == 0) size -= alignment;
        if (size == 0) return nullptr;
        auto best{free_chunks.end()};
        for (auto it{free_chunks.begin()}; it != free_chunks.end(); ++it) {
            if (it->second.size >= size && (best == free_chunks.end() || IsBetter(it->second, best->second))) best = it;
        }
        if (best == free_chunks.end()) return nullptr;
        const uintptr_t from{best->first};
        const FreeChunk chunk{best->second};
        free_chunks.erase(best);
        const size_t rest{chunk.size - size};
        const bool front{flaw == Flaw::FROM_THE_FRONT};
        if (rest > 0) free_chunks[front ? from + size : from] = {rest, flaw == Flaw::REST_KEEPS_ITS_AGE ? chunk.age : age++};
        const uintptr_t taken{front ? from : from + rest};
        used_chunks[taken] = size;
        return Address(taken);
    }

    std::string Free(void* ptr)
    {
        if (!ptr) return "";
        const auto it{used_chunks.find(Number(ptr))};
        if (it == used_chunks.end()) return flaw == Flaw::DOUBLE_FREE_IS_FINE && free_chunks.count(Number(ptr)) ? "" : BAD_CHUNK;
        if (flaw == Flaw::FREE_IS_SKIPPED && ++counter % 1000 == 0) return "";
        uintptr_t from{it->first};
        size_t size{it->second};
        used_chunks.erase(it);
        auto above{free_chunks.lower_bound(from)};
        if (above != free_chunks.begin()) {
            const auto below{std::prev(above)};
            if (below->first + below->second.size == from) {
                from = below->first;
                size += below->second.size;
                above = free_chunks.erase(below);
            }
        }
        if (above != free_chunks.end() && from + size == above->first && flaw != Flaw::FREED_KEEPS_NO_MERGE) {
            size += above->second.size;
            free_chunks.erase(above);
        }
        free_chunks[from] = {size, age++};
        return "";
    }

    bool Contains(void* ptr) const { return Number(ptr) - start < total; }

    Stats GetStats() const
    {
        Stats stats{0, 0, total, 0, used_chunks.size(), free_chunks.size()};
        for (const auto& chunk : used_chunks) stats.used += chunk.second;
        for (const auto& chunk : free_chunks) stats.free += chunk.second.size;
        return stats;
    }

    std::vector<WalkedChunk> Walk() const
    {
        std::vector<WalkedChunk> chunks;
        for (const auto& chunk : used_chunks) chunks.push_back({chunk.first, chunk.second, true});
        for (const auto& chunk : free_chunks) chunks.push_back({chunk.first, chunk.second.size, false});
        return chunks;
    }

private:
    struct FreeChunk {
        size_t size;
        uint64_t age;
    };
    bool IsBetter(const FreeChunk& a, const FreeChunk& b) const
    {
        if (flaw == Flaw::FIRST_FIT) return false;
        if (a.size != b.size) return a.size < b.size;
        return flaw == Flaw::NEWEST_OF_EQUALS ? a.age > b.age : a.age < b.age;
    }
    uintptr_t start;
    size_t total;
    size_t alignment;
    Flaw flaw;
    uint64_t age{0};
    size_t counter{0};
    std::map<uintptr_t, FreeChunk> free_chunks;
    std::map<uintptr_t, size_t> used_chunks;
};

/** The arena for a comparison, and how often figures are compared. */
struct Setting {
    uintptr_t base;
    size_t size;
    size_t alignment;
    size_t operations;
    /** The number of operations between two comparisons of the figures that Core counts, and of all chunks. */
    size_t stats_every;
    size_t chunks_every;
};

/** Sizes and frees that make an arena full, empty, fragmented and everything between, in turns. */
class Script
{
public:
    Script(const Setting& setting_in, uint64_t seed) : setting{setting_in}, random{seed} {}

    /** The probability of a free, and the sizes, change after some operations. */
    void MaybeTurn()
    {
        if (random.Below(turn_every) != 0) return;
        turn_every = std::array<size_t, 3>{500, 2'000, 50'000}[random.Below(3)];
        free_percent = std::array<size_t, 5>{10, 40, 50, 60, 95}[random.Below(5)];
        largest = std::max<size_t>(1, setting.size >> random.Below(20));
        one_size = random.Below(4) == 0 ? 1 + random.Below(largest) : 0;
    }
    bool NextIsFree() { return random.Below(100) < free_percent; }
    bool NextIsBad() { return random.Below(40) == 0; }
    size_t Size()
    {
        switch (random.Below(50)) {
        case 0: return 0;
        case 1: return setting.size + random.Below(3) - 1;
        case 2: return SIZE_MAX - random.Below(2 * setting.alignment);
        case 3: return 1 + random.Below(setting.size);
        default: return one_size ? one_size : 1 + random.Below(largest);
        }
    }
    size_t Below(size_t bound) { return random.Below(bound); }

private:
    const Setting& setting;
    Random random;
    size_t turn_every{2'000};
    size_t free_percent{10};
    size_t largest{256};
    size_t one_size{0};
};

/** Runs the script on Core's arena and on another. Returns the first difference; empty if there is none. */
template <typename Other>
std::string CompareArenas(const Setting& setting, uint64_t seed, Other& other, Coverage& coverage)
{
    ArenaReference core{Address(setting.base), setting.size, setting.alignment};
    Script script{setting, seed};
    std::vector<void*> held;
    std::vector<void*> freed(64, nullptr);
    std::ostringstream difference;

    for (size_t i{0}; i < setting.operations; ++i) {
        script.MaybeTurn();
        if (script.NextIsBad()) {
            uintptr_t bad;
            switch (script.Below(6)) {
            case 0: bad = 0; break;
            case 1: bad = Number(freed[script.Below(freed.size())]); break;
            case 2: bad = held.empty() ? setting.base : Number(held[script.Below(held.size())]) + setting.alignment; break;
            case 3: bad = held.empty() ? setting.base : Number(held[script.Below(held.size())]) + 1; break;
            case 4: bad = setting.base + script.Below(setting.size); break;
            default: bad = setting.base - setting.alignment + script.Below(2) * (setting.size + setting.alignment); break;
            }
            const std::string message{core.Free(Address(bad))};
            const std::string other_message{other.Free(Address(bad))};
            if (message != other_message) {
                difference << "operation " << i << ": free(0x" << std::hex << bad << "): '" << message << "', '" << other_message << "'";
                return difference.str();
            }
            if (core.Contains(Address(bad)) != other.Contains(Address(bad))) return "one arena contains what the other does not";
            coverage.refused_frees += !message.empty();
            // An address that was made up may be the start of a chunk.
            if (bad != 0 && message.empty()) held.erase(std::find(held.begin(), held.end(), Address(bad)));
        } else if (!held.empty() && script.NextIsFree()) {
            const size_t pick{script.Below(held.size())};
            void* const chunk{held[pick]};
            held[pick] = held.back();
            held.pop_back();
            freed[script.Below(freed.size())] = chunk;
            const std::string message{core.Free(chunk)};
            const std::string other_message{other.Free(chunk)};
            if (!message.empty() || !other_message.empty()) {
                difference << "operation " << i << ": free(" << chunk << "): '" << message << "', '" << other_message << "'";
                return difference.str();
            }
        } else {
            const size_t size{script.Size()};
            void* const chunk{core.Alloc(size)};
            void* const other_chunk{other.Alloc(size)};
            if (chunk != other_chunk) {
                difference << "operation " << i << ": alloc(" << size << "): " << chunk << ", " << other_chunk;
                return difference.str();
            }
            if (chunk) held.push_back(chunk);
            coverage.failed_allocations += !chunk;
            coverage.most_chunks = std::max(coverage.most_chunks, held.size());
        }
        ++coverage.operations;

        const bool look{i % setting.stats_every == 0 || i + 1 == setting.operations};
        const bool look_closely{i % setting.chunks_every == 0 || i + 1 == setting.operations};
        if (look && !(core.GetStats() == other.GetStats())) {
            difference << "operation " << i << ": figures differ";
            return difference.str();
        }
        if (look_closely) {
            std::vector<WalkedChunk> chunks{core.Walk()}, other_chunks{other.Walk()};
            std::sort(chunks.begin(), chunks.end());
            std::sort(other_chunks.begin(), other_chunks.end());
            if (!(chunks == other_chunks)) {
                difference << "operation " << i << ": chunks differ";
                return difference.str();
            }
        }
    }
    return "";
}

void CheckSame(const std::vector<Setting>& settings, uint64_t first_seed, size_t seeds)
{
    Coverage coverage;
    for (const Setting& setting : settings) {
        for (uint64_t seed{first_seed}; seed < first_seed + seeds; ++seed) {
            OurArena ours{Address(setting.base), setting.size, setting.alignment};
            const std::string difference{CompareArenas(setting, seed, ours, coverage)};
            BOOST_CHECK_MESSAGE(difference.empty(), setting.size << " bytes at 0x" << std::hex << setting.base << std::dec << " by "
                                                                 << setting.alignment << ", seed " << seed << ": " << difference);
        }
    }
    coverage.Report((std::to_string(settings.size()) + " arenas").c_str(), first_seed, first_seed + seeds - 1);
}

} // namespace

BOOST_AUTO_TEST_SUITE(differential)

BOOST_AUTO_TEST_CASE(small_arenas_looked_at_after_every_operation)
{
    std::vector<Setting> settings;
    for (const size_t granules : {1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 33, 63, 64, 65, 100}) {
        for (const size_t alignment : {1, 2, 16, 64, 4096}) {
            settings.push_back({SYNTHETIC_BASE, granules * alignment, alignment, Scaled(50'000), 1, 50});
        }
    }
    CheckSame(settings, 1000, 2);
}

BOOST_AUTO_TEST_CASE(arenas_of_a_few_thousand_granules)
{
    std::vector<Setting> settings;
    for (const uintptr_t base : {SYNTHETIC_BASE, uintptr_t{4096}, (uintptr_t{1} << (WIDE ? 47 : 31)) - (1 << 16)}) {
        settings.push_back({base, 64 * 1024, 16, Scaled(1'500'000), 500, 5'000});
        settings.push_back({base, 4096, 1, Scaled(600'000), 500, 5'000});
        settings.push_back({base, 1'000'000 / 16 * 16, 256, Scaled(600'000), 500, 5'000});
    }
    // Sizes that are not a power of two in granules, and one as large as the address space allows.
    settings.push_back({SYNTHETIC_BASE, 4097 * 16, 16, Scaled(900'000), 500, 5'000});
    constexpr int large{WIDE ? 40 : 19};
    settings.push_back({uintptr_t{1} << large, size_t{4095} << large, size_t{1} << large, Scaled(900'000), 500, 5'000});
    for (Setting& setting : settings) setting.size = setting.size / setting.alignment * setting.alignment;
    CheckSame(settings, 2000, 2);
}

BOOST_AUTO_TEST_CASE(an_arena_of_a_locked_pool)
{
    CheckSame({{SYNTHETIC_BASE, 256 * 1024, 16, Scaled(3'000'000), 1'000, 50'000}}, 3000, 3);
}

BOOST_AUTO_TEST_CASE(large_arenas)
{
    CheckSame({{SYNTHETIC_BASE, 1 << 20, 16, Scaled(2'500'000), 10'000, 100'000},
               {SYNTHETIC_BASE, 16 << 20, 16, Scaled(1'500'000), 50'000, 200'000},
               {SYNTHETIC_BASE, 1 << 20, 1, Scaled(1'000'000), 50'000, 200'000}},
              4000, 2);
}

// ---- The pool ----------------------------------------------------------------

namespace {

/** Pages at made-up addresses. The seed alone decides which requests fail and which pages are locked. */
class PlannedPages
{
public:
    PlannedPages(uint64_t seed_in, uintptr_t stride_in) : seed{seed_in}, stride{stride_in} {}

    void* Allocate(size_t len, bool* locked)
    {
        Note(1, len);
        // One request in eight fails. The others are locked or unlocked in runs.
        Random random{seed * 1'000'003 + requests++};
        *locked = random.Below(4) != 0;
        if (random.Below(8) == 0) return nullptr;
        // The top bit of the stride means that addresses go down.
        const uintptr_t step{stride & ~DOWN};
        const uintptr_t address{stride & DOWN ? FIRST - granted * step : FIRST + granted * step};
        ++granted;
        Note(2, address);
        return Address(address);
    }
    void Release(void* address, size_t len)
    {
        Note(3, Number(address));
        Note(4, len);
    }
    size_t Limit()
    {
        Note(5, 0);
        // Multiples of a page: with other limits the two differ on purpose.
        return std::array<size_t, 5>{SIZE_MAX, 0, 4096, 65536, 262144}[seed % 5];
    }

    /** All requests, in order. */
    std::vector<std::pair<int, uintptr_t>> journal;

    static constexpr uintptr_t DOWN{~(UINTPTR_MAX >> 1)};
    static constexpr uintptr_t FIRST{uintptr_t{1} << (WIDE ? 46 : 30)};

private:
    void Note(int what, uintptr_t number) { journal.emplace_back(what, number); }
    uint64_t seed;
    uintptr_t stride;
    size_t requests{0};
    size_t granted{0};
};

struct PagesForOurs : LockedPageAllocator {
    explicit PagesForOurs(PlannedPages& plan_in) : plan{plan_in} {}
    void* AllocateLocked(size_t len, bool* lockingSuccess) override { return plan.Allocate(len, lockingSuccess); }
    void FreeLocked(void* addr, size_t len) override { plan.Release(addr, len); }
    size_t GetLimit() override { return plan.Limit(); }
    PlannedPages& plan;
};

// A callback has no context, so there is one for each pool. It agrees two times out of three.
size_t g_core_asked, g_ours_asked;
bool CoreLockingFailed() { return ++g_core_asked % 3 != 0; }
bool OurLockingFailed() { return ++g_ours_asked % 3 != 0; }
bool OurLockingFailedWrongly() { return ++g_ours_asked % 4 != 0; }

enum class PoolFlaw { NONE,
                      CALLBACK_ANSWERS_OTHERWISE,
                      FREE_IS_SKIPPED,
                      PAGES_COME_OTHERWISE };

std::string ComparePools(uint64_t seed, size_t operations, PoolFlaw flaw, size_t& arenas, Coverage& coverage)
{
    constexpr size_t ARENA{LockedPool::ARENA_SIZE};
    constexpr uintptr_t DOWN{PlannedPages::DOWN};
    // Far apart, side by side upwards and downwards, and apart by less than an arena's alignment.
    const uintptr_t stride{std::array<uintptr_t, 4>{uintptr_t{WIDE ? 16 : 1} << 20, ARENA, ARENA | DOWN, ARENA + 16}[seed % 4]};
    PlannedPages core_pages{seed, stride};
    PlannedPages our_pages{flaw == PoolFlaw::PAGES_COME_OTHERWISE ? seed + 5 : seed, stride};
    const bool with_callback{seed % 3 != 0 || flaw != PoolFlaw::NONE};
    LockedPool::LockingFailed_Callback our_callback{with_callback ? &OurLockingFailed : nullptr};
    if (flaw == PoolFlaw::CALLBACK_ANSWERS_OTHERWISE) our_callback = &OurLockingFailedWrongly;
    g_core_asked = g_ours_asked = 0;
    std::ostringstream difference;
    {
        PoolReference core{{[&](size_t len, bool* locked) { return core_pages.Allocate(len, locked); },
                            [&](void* address, size_t len) { core_pages.Release(address, len); },
                            [&] { return core_pages.Limit(); }},
                           with_callback ? &CoreLockingFailed : nullptr};
        LockedPool ours{std::make_unique<PagesForOurs>(our_pages), our_callback};
        const auto free_ours{[&](void* ptr) -> std::string {
            try {
                ours.free(ptr);
                return "";
            } catch (const std::runtime_error& e) {
                return e.what();
            }
        }};

        Random random{seed};
        std::vector<void*> held;
        std::vector<void*> freed(64, Address(PlannedPages::FIRST));
        size_t free_percent{20}, largest{1000};
        for (size_t i{0}; i < operations; ++i) {
            if (random.Below(500) == 0) {
                free_percent = std::array<size_t, 4>{20, 45, 55, 90}[random.Below(4)];
                largest = size_t{1} << (4 + random.Below(14));
            }
            void* victim{nullptr};
            bool is_free{false};
            if (random.Below(30) == 0) {
                is_free = true;
                switch (random.Below(5)) {
                case 0: victim = freed[random.Below(freed.size())]; break;
                case 1: victim = Address(held.empty() ? 16 : Number(held[random.Below(held.size())]) + 16); break;
                case 2: victim = Address(held.empty() ? 16 : Number(held[random.Below(held.size())]) - 1); break;
                case 3: victim = Address(PlannedPages::FIRST + random.Below(64) * ARENA); break;
                default: victim = Address(PlannedPages::FIRST - 16 + random.Below(32 * ARENA)); break;
                }
            } else if (!held.empty() && random.Below(100) < free_percent) {
                is_free = true;
                victim = held[random.Below(held.size())];
            }
            if (is_free) {
                const std::string message{core.Free(victim)};
                const bool skipped{flaw == PoolFlaw::FREE_IS_SKIPPED && message.empty() && i % 1000 == 0};
                const std::string our_message{skipped ? message : free_ours(victim)};
                if (message != our_message) {
                    difference << "operation " << i << ": free(" << victim << "): '" << message << "', '" << our_message << "'";
                    return difference.str();
                }
                coverage.refused_frees += !message.empty();
                if (message.empty()) {
                    held.erase(std::find(held.begin(), held.end(), victim));
                    freed[random.Below(freed.size())] = victim;
                }
            } else {
                size_t size{1 + random.Below(largest)};
                switch (random.Below(60)) {
                case 0: size = 0; break;
                case 1: size = ARENA; break;
                case 2: size = ARENA + 1 + random.Below(1000); break;
                }
                void* const chunk{core.Alloc(size)};
                void* const our_chunk{ours.alloc(size)};
                if (chunk != our_chunk) {
                    difference << "operation " << i << ": alloc(" << size << "): " << chunk << ", " << our_chunk;
                    return difference.str();
                }
                if (chunk) held.push_back(chunk);
                coverage.failed_allocations += !chunk;
                coverage.most_chunks = std::max(coverage.most_chunks, held.size());
            }
            ++coverage.operations;
            if (g_core_asked != g_ours_asked || core_pages.journal.size() != our_pages.journal.size()) {
                difference << "operation " << i << ": the pools have made different requests";
                return difference.str();
            }
            if (i % 20 == 0 || i + 1 == operations) {
                const auto s{ours.stats()};
                if (!(core.GetStats() == Stats{s.used, s.free, s.total, s.locked, s.chunks_used, s.chunks_free})) {
                    difference << "operation " << i << ": figures differ";
                    return difference.str();
                }
            }
        }
        arenas += ours.details().arenas;
    }
    // The destruction of a pool returns every arena, in any order.
    std::sort(core_pages.journal.begin(), core_pages.journal.end());
    std::sort(our_pages.journal.begin(), our_pages.journal.end());
    return core_pages.journal == our_pages.journal ? "" : "the pools have asked their page allocators differently";
}

} // namespace

BOOST_AUTO_TEST_CASE(pools_over_the_same_pages)
{
    constexpr uint64_t FIRST_SEED{5000}, SEEDS{100};
    const size_t operations{Scaled(50'000)};
    size_t arenas{0};
    Coverage coverage;
    for (uint64_t seed{FIRST_SEED}; seed < FIRST_SEED + SEEDS; ++seed) {
        const std::string difference{ComparePools(seed, operations, PoolFlaw::NONE, arenas, coverage)};
        BOOST_CHECK_MESSAGE(difference.empty(), "seed " << seed << ": " << difference);
    }
    coverage.Report((std::to_string(SEEDS) + " pools with " + std::to_string(arenas) + " arenas").c_str(), FIRST_SEED, FIRST_SEED + SEEDS - 1);
    BOOST_CHECK_GT(arenas, 2 * SEEDS);
}

// ---- The controls --------------------------------------------------------------

BOOST_AUTO_TEST_CASE(control_every_flaw_of_an_arena_is_found)
{
    const Setting setting{SYNTHETIC_BASE, 16 * 1024, 16, 50'000, 50, 1'000};
    Coverage coverage;
    const auto difference_with{[&](Flaw flaw) {
        Mirror mirror{Address(setting.base), setting.size, setting.alignment, flaw};
        return CompareArenas(setting, 6000, mirror, coverage);
    }};
    BOOST_CHECK_EQUAL(difference_with(Flaw::NONE), "");
    for (const Flaw flaw : {Flaw::FIRST_FIT, Flaw::NEWEST_OF_EQUALS, Flaw::REST_KEEPS_ITS_AGE, Flaw::FROM_THE_FRONT, Flaw::FREED_KEEPS_NO_MERGE,
                            Flaw::FREE_IS_SKIPPED, Flaw::DOUBLE_FREE_IS_FINE, Flaw::ROUNDS_DOWN_ONCE}) {
        const std::string difference{difference_with(flaw)};
        BOOST_CHECK_MESSAGE(!difference.empty(), "flaw " << static_cast<int>(flaw) << " was not found");
        std::printf("flaw %d: %s\n", static_cast<int>(flaw), difference.c_str());
    }
}

BOOST_AUTO_TEST_CASE(control_every_flaw_of_a_pool_is_found)
{
    size_t arenas{0};
    Coverage coverage;
    for (const PoolFlaw flaw : {PoolFlaw::CALLBACK_ANSWERS_OTHERWISE, PoolFlaw::FREE_IS_SKIPPED, PoolFlaw::PAGES_COME_OTHERWISE}) {
        const std::string difference{ComparePools(7000, 20'000, flaw, arenas, coverage)};
        BOOST_CHECK_MESSAGE(!difference.empty(), "flaw " << static_cast<int>(flaw) << " was not found");
        std::printf("flaw %d: %s\n", static_cast<int>(flaw), difference.c_str());
    }
}

BOOST_AUTO_TEST_SUITE_END()
