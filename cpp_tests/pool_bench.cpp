// What a secret costs: allocation, wipe and free of small chunks, in the process-wide pool, in Bitcoin
// Core's pool, in the secure heaps of other libraries, and on ordinary heaps with a wipe before each free.
//
//   pool_bench [rounds] [file.csv]
//
// All allocators run in one program, in turn within each round; the figures are medians over rounds. The
// pool is called as C programs call it, through the shared library. Other libraries are looked for when
// the program runs; what is not installed, or cannot do a workload, is "n/a". Chunks must be writable,
// and the pool must hold locked memory and nothing in the end (exit status 1 if not).

#include "core_reference.h"

#include <bitcoin_support.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <fstream>
#include <functional>
#include <limits>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <vector>

#include <string.h>

namespace {

constexpr double NOT_AVAILABLE{std::numeric_limits<double>::quiet_NaN()};

bool g_failed{false};

void Require(bool condition, const char* what)
{
    if (condition) return;
    std::printf("FAILED: %s\n", what);
    g_failed = true;
}

template <typename Function>
bool Find(void* library, const char* name, Function*& function)
{
    function = library ? reinterpret_cast<Function*>(dlsym(library, name)) : nullptr;
    return function != nullptr;
}

void* Open(const char* name) { return dlopen(name, RTLD_NOW | RTLD_LOCAL); }

// ---- Allocators: Alloc(size), Free(chunk, size), which wipes --------------------

struct Ours {
    static constexpr const char* NAME{"bitcoin-support"};
    static constexpr size_t MOST{1'000'000};
    static bool Available() { return true; }
    static bitcoin_support_locked_pool* Pool()
    {
        static bitcoin_support_locked_pool* const pool{bitcoin_support_locked_pool_instance()};
        return pool;
    }
    static void* Alloc(size_t size) { return bitcoin_support_locked_pool_alloc(Pool(), size); }
    static void Free(void* chunk, size_t) { bitcoin_support_locked_pool_free(Pool(), chunk); }
};

struct CorePool {
    static constexpr const char* NAME{"Bitcoin Core"};
    static constexpr size_t MOST{1'000'000};
    static bool Available() { return true; }
    static core_reference::PoolReference& Pool()
    {
        // Pages as Core gets them. Core's pool has a mutex, so that this serves threads as well.
        static core_reference::PoolReference pool{
            {[](size_t size, bool* locked) {
                 void* const pages{mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)};
                 if (pages == MAP_FAILED) return static_cast<void*>(nullptr);
                 *locked = mlock(pages, size) == 0;
                 return pages;
             },
             [](void* pages, size_t size) { munmap(pages, size); },
             [] { return std::numeric_limits<size_t>::max(); }},
            nullptr};
        return pool;
    }
    static void* Alloc(size_t size) { return Pool().Alloc(size); }
    static void Free(void* chunk, size_t size)
    {
        memory_cleanse(chunk, size); // as Core's secure_allocator does
        Pool().Free(chunk);
    }
};

struct OpenSsl {
    static constexpr const char* NAME{"OpenSSL"};
    static constexpr size_t MOST{100'000};
    static inline int (*init)(size_t, size_t);
    static inline void* (*alloc)(size_t, const char*, int);
    static inline void (*clear_free)(void*, size_t, const char*, int);
    static bool Available()
    {
        static const bool available{[] {
            void* const library{Open("libcrypto.so.3")};
            return Find(library, "CRYPTO_secure_malloc_init", init) && Find(library, "CRYPTO_secure_malloc", alloc) &&
                   Find(library, "CRYPTO_secure_clear_free", clear_free) && init(16 << 20, 16) != 0;
        }()};
        return available;
    }
    static void* Alloc(size_t size) { return alloc(size, "", 0); }
    static void Free(void* chunk, size_t size) { clear_free(chunk, size, "", 0); }
};

struct Sodium {
    static constexpr const char* NAME{"libsodium"};
    static constexpr size_t MOST{1000};
    static inline int (*init)();
    static inline void* (*alloc)(size_t);
    static inline void (*release)(void*);
    static bool Available()
    {
        static const bool available{[] {
            void* const library{Open("libsodium.so.23")};
            return Find(library, "sodium_init", init) && Find(library, "sodium_malloc", alloc) &&
                   Find(library, "sodium_free", release) && init() >= 0;
        }()};
        return available;
    }
    static void* Alloc(size_t size) { return alloc(size); }
    static void Free(void* chunk, size_t) { release(chunk); }
};

struct Glibc {
    static constexpr const char* NAME{"malloc"};
    static constexpr size_t MOST{1'000'000};
    static bool Available() { return true; }
    static void* Alloc(size_t size) { return std::malloc(size); }
    static void Free(void* chunk, size_t size)
    {
        explicit_bzero(chunk, size);
        std::free(chunk);
    }
};

/** A heap of the same interface from a library. */
template <typename Traits>
struct OtherHeap {
    static constexpr const char* NAME{Traits::NAME};
    static constexpr size_t MOST{1'000'000};
    static inline void* (*alloc)(size_t);
    static inline void (*release)(void*);
    static bool Available()
    {
        static const bool available{[] {
            void* const library{Open(Traits::LIBRARY)};
            return Find(library, Traits::ALLOC, alloc) && Find(library, Traits::FREE, release);
        }()};
        return available;
    }
    static void* Alloc(size_t size) { return alloc(size); }
    static void Free(void* chunk, size_t size)
    {
        explicit_bzero(chunk, size);
        release(chunk);
    }
};
struct MimallocTraits {
    static constexpr const char *NAME{"mimalloc"}, *LIBRARY{"libmimalloc.so.2.0"}, *ALLOC{"mi_malloc"}, *FREE{"mi_free"};
};
using Mimalloc = OtherHeap<MimallocTraits>;

// ---- Workloads: nanoseconds for a pair of allocation and free --------------------

using Clock = std::chrono::steady_clock;

double Nanoseconds(Clock::time_point start, size_t pairs)
{
    return std::chrono::duration<double, std::nano>{Clock::now() - start}.count() / static_cast<double>(pairs);
}

template <typename A>
void* Write(size_t size)
{
    void* const chunk{A::Alloc(size)};
    if (!chunk) {
        Require(false, A::NAME);
        std::exit(EXIT_FAILURE);
    }
    static_cast<volatile unsigned char*>(chunk)[0] = 1;
    static_cast<volatile unsigned char*>(chunk)[size - 1] = 1;
    return chunk;
}

size_t Next(uint64_t& state)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state >> 20;
}

template <typename A>
double Pair(size_t size, size_t pairs)
{
    const auto start{Clock::now()};
    for (size_t i{0}; i < pairs; ++i) A::Free(Write<A>(size), size);
    return Nanoseconds(start, pairs);
}

template <typename A>
double Replace(size_t live, size_t pairs)
{
    if (live > A::MOST) return NOT_AVAILABLE;
    std::vector<void*> chunks(live);
    for (void*& chunk : chunks) chunk = Write<A>(32);
    uint64_t state{88172645463325252U};
    const auto start{Clock::now()};
    for (size_t i{0}; i < pairs; ++i) {
        void*& chunk{chunks[Next(state) % live]};
        A::Free(chunk, 32);
        chunk = Write<A>(32);
    }
    const double result{Nanoseconds(start, pairs)};
    for (void* const chunk : chunks) A::Free(chunk, 32);
    return result;
}

template <typename A>
double Mixed(size_t slots, size_t least, size_t most, size_t pairs)
{
    if (slots > A::MOST) return NOT_AVAILABLE;
    std::vector<std::pair<void*, size_t>> chunks(slots, {nullptr, 0});
    uint64_t state{88172645463325252U};
    const auto start{Clock::now()};
    for (size_t i{0}; i < pairs; ++i) {
        auto& [chunk, size]{chunks[Next(state) % slots]};
        if (chunk) A::Free(chunk, size);
        size = least + Next(state) % (most - least + 1);
        chunk = Write<A>(size);
    }
    const double result{Nanoseconds(start, pairs)};
    for (const auto& [chunk, size] : chunks) {
        if (chunk) A::Free(chunk, size);
    }
    return result;
}

/** Each thread replaces its own 16 chunks. */
template <typename A>
double Threads(size_t count, size_t pairs)
{
    const auto start{Clock::now()};
    std::vector<std::thread> threads;
    for (size_t t{0}; t < count; ++t) {
        threads.emplace_back([pairs] {
            void* ring[16]{};
            for (size_t i{0}; i < pairs; ++i) {
                void*& chunk{ring[i % 16]};
                if (chunk) A::Free(chunk, 32);
                chunk = Write<A>(32);
            }
            for (void* const chunk : ring) A::Free(chunk, 32);
        });
    }
    for (auto& thread : threads) thread.join();
    return Nanoseconds(start, count * pairs);
}

/** One thread allocates batches, the other frees them; or one thread does both. */
template <typename A>
double Handover(size_t threads, size_t pairs)
{
    constexpr size_t BATCH{256}, SLOTS{8};
    static std::vector<void*> slots[SLOTS];
    static std::atomic<size_t> made, gone;
    made = gone = 0;
    for (auto& slot : slots) slot.resize(BATCH);
    const size_t batches{pairs / BATCH};
    const auto consume{[](size_t batch) {
        for (void* const chunk : slots[batch % SLOTS]) A::Free(chunk, 32);
    }};
    const auto start{Clock::now()};
    std::thread consumer;
    if (threads == 2) {
        consumer = std::thread{[&] {
            for (size_t batch{0}; batch < batches; ++batch) {
                while (made.load(std::memory_order_acquire) == batch) std::this_thread::yield();
                consume(batch);
                gone.store(batch + 1, std::memory_order_release);
            }
        }};
    }
    for (size_t batch{0}; batch < batches; ++batch) {
        if (threads == 2) {
            while (gone.load(std::memory_order_acquire) + SLOTS == batch) std::this_thread::yield();
        }
        for (void*& chunk : slots[batch % SLOTS]) chunk = Write<A>(32);
        made.store(batch + 1, std::memory_order_release);
        if (threads == 1) consume(batch);
    }
    if (consumer.joinable()) consumer.join();
    return Nanoseconds(start, batches * BATCH);
}

// ---- The table -------------------------------------------------------------------

/** Kilobytes of a line of /proc/self/status. */
double StatusKb(const std::string& field)
{
    std::ifstream status{"/proc/self/status"};
    for (std::string line; std::getline(status, line);) {
        if (line.rfind(field + ":", 0) == 0) return std::strtod(line.c_str() + field.size() + 1, nullptr);
    }
    return 0;
}

double Median(std::vector<double> values)
{
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

std::FILE* g_csv{nullptr};

template <typename... Allocators, typename Workload>
void Row(size_t rounds, const std::string& name, Workload workload)
{
    std::vector<double> times[sizeof...(Allocators)];
    for (size_t round{0}; round < rounds; ++round) {
        size_t column{0};
        (times[column++].push_back(Allocators::Available() ? workload(Allocators{}) : NOT_AVAILABLE), ...);
    }
    std::printf("%-26s", name.c_str());
    if (g_csv) std::fprintf(g_csv, "%s", name.c_str());
    const double ours{Median(times[0])};
    for (const auto& column : times) {
        const double median{Median(column)};
        if (std::isnan(median)) {
            std::printf(" %16s", "n/a");
        } else {
            std::printf(" %8.1f %6.2fx", median, ours / median);
        }
        if (g_csv) std::fprintf(g_csv, std::isnan(median) ? "," : ",%.2f", median);
    }
    std::printf("\n");
    if (g_csv) std::fprintf(g_csv, "\n");
}

template <typename... Allocators>
void Run(size_t rounds)
{
    std::printf("%-26s", "ns for a pair");
    if (g_csv) std::fprintf(g_csv, "workload");
    ((std::printf(" %16s", Allocators::NAME), g_csv ? std::fprintf(g_csv, ",%s", Allocators::NAME) : 0), ...);
    std::printf("\n");
    if (g_csv) std::fprintf(g_csv, "\n");
    constexpr size_t PAIRS{100'000};
    const auto pairs_for{[](auto allocator) { return decltype(allocator)::MOST <= 1000 ? PAIRS / 100 : PAIRS; }};
    for (const size_t size : {16, 32, 64, 256, 1024, 4096}) {
        Row<Allocators...>(rounds, "one of " + std::to_string(size) + " bytes",
                           [&](auto a) { return Pair<decltype(a)>(size, pairs_for(a)); });
    }
    for (const size_t live : {1000, 10'000, 100'000, 1'000'000}) {
        Row<Allocators...>(live >= 1'000'000 ? std::min<size_t>(rounds, 5) : rounds, "replace one of " + std::to_string(live),
                           [&](auto a) { return Replace<decltype(a)>(live, pairs_for(a)); });
    }
    Row<Allocators...>(rounds, "2048 of 1 to 2048 bytes", [&](auto a) { return Mixed<decltype(a)>(2048, 1, 2048, pairs_for(a)); });
    Row<Allocators...>(rounds, "1024 of 16 to 256 bytes", [&](auto a) { return Mixed<decltype(a)>(1024, 16, 256, pairs_for(a)); });
    Row<Allocators...>(rounds, "one thread, 16 each", [&](auto a) { return Threads<decltype(a)>(1, 20 * pairs_for(a)); });
    Row<Allocators...>(rounds, "two threads, 16 each", [&](auto a) { return Threads<decltype(a)>(2, 20 * pairs_for(a)); });
    Row<Allocators...>(rounds, "made and freed by one", [&](auto a) { return Handover<decltype(a)>(1, 2 * pairs_for(a)); });
    Row<Allocators...>(rounds, "made by one, freed by two", [&](auto a) { return Handover<decltype(a)>(2, 2 * pairs_for(a)); });
}

/** What only the pool is asked. */
void Figures()
{
    for (const size_t live : {100'000, 1'000'000}) {
        const double resident{StatusKb("VmRSS")};
        std::vector<void*> chunks(live);
        for (void*& chunk : chunks) chunk = Write<Ours>(32);
        const bitcoin_support_locked_pool_stats stats{bitcoin_support_locked_pool_get_stats(Ours::Pool())};
#ifdef BITCOIN_SUPPORT_SEES_EDGES
        constexpr size_t TAKEN{48};
#else
        constexpr size_t TAKEN{32};
#endif
        Require(stats.used == TAKEN * live && stats.chunks_used == live, "statistics are exact");
        Require(stats.used + stats.free == stats.total, "used + free = total");
        Require(stats.locked > 0, "memory is locked");
        constexpr size_t TIMES{10'000};
        const auto start{Clock::now()};
        for (size_t i{0}; i < TIMES; ++i) bitcoin_support_locked_pool_get_stats(Ours::Pool());
        std::printf("%zu of 32 bytes: %.0f ns for statistics, %.2f bytes in arenas and %.2f resident for each\n", live,
                    Nanoseconds(start, TIMES), static_cast<double>(stats.total) / static_cast<double>(live),
                    (StatusKb("VmRSS") - resident) * 1024 / static_cast<double>(live) - sizeof(void*));
        for (void* const chunk : chunks) Ours::Free(chunk, 32);
    }
    Require(bitcoin_support_locked_pool_get_stats(Ours::Pool()).used == 0, "nothing is left");
}

} // namespace

int main(int argc, char** argv)
{
    const size_t rounds{argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 15};
    if (rounds == 0) return 2;
    if (argc > 2) g_csv = std::fopen(argv[2], "w");
    std::printf("medians of %zu rounds; how long the pool takes, divided by how long each takes\n", rounds);
    Figures();
    Run<Ours, CorePool, OpenSsl, Sodium, Glibc, Mimalloc>(rounds);
    if (g_csv) std::fclose(g_csv);
    return g_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
