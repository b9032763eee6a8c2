// One side of header_versions_test.cmake: a program or a shared library. The macro SIDE, earlier or later, names the
// version of the headers it is compiled with. Without that macro, this is the program's main.

/** Uses the library through the headers of one version. Returns how much of it went wrong. */
int earlier_check();
int later_check();

#ifndef SIDE

int main()
{
    return earlier_check() + later_check();
}

#else

#include <support/allocators/sealed.h>
#include <support/allocators/secure.h>
#include <support/lockedpool.h>

#include "sides.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

namespace {
/** A function's result, between bytes that the function must not write. */
template <typename Result>
class Surrounded
{
    static constexpr size_t AROUND{1024};
    static constexpr unsigned char BYTE{0xa5};
    alignas(Result) unsigned char memory[AROUND + sizeof(Result) + AROUND];
    const Result* result;

public:
    template <typename Function>
    explicit Surrounded(Function function)
    {
        std::memset(memory, BYTE, sizeof(memory));
        result = new (memory + AROUND) Result(function());
    }
    Surrounded(const Surrounded&) = delete;
    const Result* operator->() const { return result; }
    bool intact() const
    {
        const auto is_byte{[](unsigned char byte) { return byte == BYTE; }};
        return std::all_of(memory, memory + AROUND, is_byte) &&
               std::all_of(memory + AROUND + sizeof(Result), memory + sizeof(memory), is_byte);
    }
};

#define TEXT_OF(side) #side
#define TEXT(side) TEXT_OF(side)

int g_failures;

void Check(bool condition, const char* what)
{
    if (condition) return;
    std::fprintf(stderr, TEXT(SIDE) ": not so: %s\n", what);
    ++g_failures;
}
} // namespace

int NAMED(SIDE, _check)()
{
    using Details = bitcoin_support_locked_pool_stats;
    constexpr size_t SIZE{4096};

    LockedPool pool{std::make_unique<Pages>()};
    void* const chunk{pool.alloc(SIZE)};
    {
        const Surrounded<Details> details{[&] { return pool.details(); }};
        Check(details.intact(), "details() writes only its result");
        Check(details->used == SIZE && details->total == LockedPool::ARENA_SIZE && details->locked == details->total, "details() of bytes");
        Check(details->chunks_used == 1 && details->chunks_free == 1 && details->arenas == 1, "details() of numbers");
        Check(details->peak_used == SIZE && details->lock_failures == 0 && details->secret_memory == 0, "details() beyond Core's figures");
#ifdef GROWN
        const auto is_zero{[](size_t member) { return member == 0; }};
        Check(std::all_of(std::begin(details->added), std::end(details->added), is_zero), "zeros in members that the library does not know");
#endif
    }
    {
        const Surrounded<LockedPool::Stats> stats{[&] { return pool.stats(); }};
        Check(stats.intact(), "stats() writes only its result");
        Check(stats->used == SIZE && stats->total == LockedPool::ARENA_SIZE && stats->locked == stats->total &&
                  stats->free == stats->total - SIZE && stats->chunks_used == 1 && stats->chunks_free == 1,
              "stats()");
    }
    pool.free(chunk);

    Arena arena{reinterpret_cast<void*>(0x08000000), SIZE, 16};
    void* const part{arena.alloc(64)};
    {
        const Surrounded<Arena::Stats> stats{[&] { return arena.stats(); }};
        Check(stats.intact(), "Arena::stats() writes only its result");
        Check(stats->used == 64 && stats->free == SIZE - 64 && stats->total == SIZE && stats->chunks_used == 1 && stats->chunks_free == 1,
              "Arena::stats()");
    }
    arena.free(part);

    secure_sealed<int> sealed{4711};
    sealed.change([](int& number) { ++number; });
    Check(*sealed.open() == 4712, "what is sealed can be changed and opened");
    const SecureString secret{make_secure_string(SIZE)};
    Check(LockedPoolManager::Instance().details().used >= SIZE, "details() of the process-wide pool");
#ifdef TABLE_HAS_MORE
    bitcoin_support_memory_stats memory{};
    Check(bitcoin_support::functions().added(&memory, sizeof(memory)) == BITCOIN_SUPPORT_OK, "the table's new function works");
#endif
    return g_failures;
}

#endif
