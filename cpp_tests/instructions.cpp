// The hot paths, whose instructions instructions.cmake counts under callgrind.
//
//   instructions [slowed]
//
// Each path runs once to warm up, then in a function <path>_short and in a function <path>_long. The
// difference of the two counts is LONG - SHORT operations. With "slowed" every operation runs twice, which
// the check must notice.

#include <bitcoin_support.h>
#include <support/allocators/secure.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

/** Statistics of a pool. */
bitcoin_support_locked_pool_stats StatsOf(const bitcoin_support_locked_pool* pool)
{
    bitcoin_support_locked_pool_stats stats{};
    bitcoin_support_locked_pool_get_stats(pool, &stats, sizeof(stats));
    return stats;
}

constexpr size_t SHORT{1000}, LONG{3000}; // instructions.cmake knows the difference

size_t g_times{1};

bitcoin_support_locked_pool* Pool() { return bitcoin_support_locked_pool_instance(); }

void Check(bool condition)
{
    if (condition) return;
    std::fprintf(stderr, "a call failed\n");
    std::abort();
}

void Pair(size_t size)
{
    void* const chunk{bitcoin_support_locked_pool_alloc(Pool(), size)};
    Check(chunk && bitcoin_support_locked_pool_free(Pool(), chunk) == BITCOIN_SUPPORT_OK);
}

void Pair32() { Pair(32); }
void Pair1024() { Pair(1024); }

// The operations of objects in C++ programs.
void SecureAllocator32()
{
    secure_allocator<unsigned char> allocator;
    allocator.deallocate(allocator.allocate(32), 32);
}

// A batch, by a thread that has had many chunks of other sizes: what its heap keeps of those must not leave the batch
// without slabs.
void Batch32AfterOtherSizes()
{
    static void* chunks[256];
    static const bool had_others{[] {
        for (size_t size{16}; size <= 256; size += 16) {
            for (void*& chunk : chunks) Check((chunk = bitcoin_support_locked_pool_alloc(Pool(), size)) != nullptr);
            for (void* const chunk : chunks) Check(bitcoin_support_locked_pool_free(Pool(), chunk) == BITCOIN_SUPPORT_OK);
        }
        return true;
    }()};
    Check(had_others);
    for (void*& chunk : chunks) Check((chunk = bitcoin_support_locked_pool_alloc(Pool(), 32)) != nullptr);
    for (void* const chunk : chunks) Check(bitcoin_support_locked_pool_free(Pool(), chunk) == BITCOIN_SUPPORT_OK);
}

void FreeSized32()
{
    void* const chunk{bitcoin_support_locked_pool_alloc(Pool(), 32)};
    Check(chunk && bitcoin_support_locked_pool_free_sized(Pool(), chunk, 32, 1) == BITCOIN_SUPPORT_OK);
}

void Replace32Of1000()
{
    static void* chunks[1000];
    static uint32_t state{0x12345678};
    state = (state >> 1) ^ (state & 1 ? 0xf00f00f0 : 0);
    void*& chunk{chunks[state % 1000]};
    Check(bitcoin_support_locked_pool_free(Pool(), chunk) == BITCOIN_SUPPORT_OK); // NULL at first
    Check((chunk = bitcoin_support_locked_pool_alloc(Pool(), 32)) != nullptr);
}

void ArenaPair32()
{
    static bitcoin_support_arena* const arena{[] {
        bitcoin_support_arena* made{nullptr};
        Check(bitcoin_support_arena_create(reinterpret_cast<void*>(0x08000000), 1 << 20, 16, &made) == BITCOIN_SUPPORT_OK);
        return made;
    }()};
    void* const chunk{bitcoin_support_arena_alloc(arena, 32)};
    Check(chunk && bitcoin_support_arena_free(arena, chunk) == BITCOIN_SUPPORT_OK);
}

void Stats() { Check(StatsOf(Pool()).total > 0); }

template <void (*Operation)()>
void Run(size_t turns)
{
    for (size_t i{0}; i < turns * g_times; ++i) Operation();
}

} // namespace

// callgrind reports functions by name, so these must be neither inlined nor merged.
#define PATH(name, operation)                                 \
    extern "C" __attribute__((noinline)) void name##_short(); \
    extern "C" __attribute__((noinline)) void name##_long();  \
    void name##_short()                                       \
    {                                                         \
        Run<operation>(SHORT);                                \
        __asm__ volatile("");                                 \
    }                                                         \
    void name##_long()                                        \
    {                                                         \
        Run<operation>(LONG);                                 \
        __asm__ volatile("");                                 \
    }

PATH(pair_32, Pair32)
PATH(pair_1024, Pair1024)
PATH(secure_allocator_pair_32, SecureAllocator32)
PATH(free_sized_pair_32, FreeSized32)
PATH(replace_32_of_1000, Replace32Of1000)
PATH(arena_pair_32, ArenaPair32)
PATH(stats, Stats)
PATH(batch_32_after_other_sizes, Batch32AfterOtherSizes)

int main(int argc, char** argv)
{
    if (argc > 1 && std::strcmp(argv[1], "slowed") == 0) g_times = 2;
    Run<Replace32Of1000>(20'000); // all slots are filled, and the pool has chunks in use for the other paths too
    const struct {
        void (*warm_up)(size_t);
        void (*short_run)();
        void (*long_run)();
    } paths[]{
        {Run<Pair32>, pair_32_short, pair_32_long},
        {Run<Pair1024>, pair_1024_short, pair_1024_long},
        {Run<SecureAllocator32>, secure_allocator_pair_32_short, secure_allocator_pair_32_long},
        {Run<FreeSized32>, free_sized_pair_32_short, free_sized_pair_32_long},
        {Run<Replace32Of1000>, replace_32_of_1000_short, replace_32_of_1000_long},
        {Run<ArenaPair32>, arena_pair_32_short, arena_pair_32_long},
        {Run<Stats>, stats_short, stats_long},
        {Run<Batch32AfterOtherSizes>, batch_32_after_other_sizes_short, batch_32_after_other_sizes_long},
    };
    for (const auto& path : paths) {
        path.warm_up(SHORT);
        path.short_run();
        path.long_run();
    }
    return EXIT_SUCCESS;
}
