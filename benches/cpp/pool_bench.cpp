// The cost of a secret: allocation, wipe and free of chunks, memory, statistics, wiping and start-up of the
// process-wide pool, compared with Bitcoin Core's pool, the secure heaps of other libraries, and ordinary
// heaps with a wipe before each free.
//
//   pool_bench [--rounds N] [--quick] [--filter TEXT] [--peers NAME,NAME...] [--csv FILE]
//
// --filter runs the rows whose name contains TEXT. --peers leaves out all other competitors, but not the pool
// itself.
//
// All allocators run in one program, in turn within each round. Figures are medians over rounds; ratios are
// medians of each round's ratio. The pool is called as C programs call it, through the shared library. A
// competitor that is not installed, or cannot do a workload, is "n/a", with the reason below the table.
// Outside the timed parts the program checks the allocators: they must return every chunk, aligned and
// writable in all bytes without changing another chunk; chunks must be locked where the competitor promises
// it, and wiped when they are freed. The pool's statistics must be exact, and the pool must be empty at the
// end (exit status 1 if not).

#include "bench_peers.h"
#include "bench_report.h"
#include "core_reference.h"

#include <bitcoin_support.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <set>
#include <spawn.h>
#include <sstream>
#include <string>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <thread>
#include <type_traits>
#include <unistd.h>
#include <utility>
#include <vector>

#include <string.h>

namespace {

/** Statistics of a pool. */
bitcoin_support_locked_pool_stats StatsOf(const bitcoin_support_locked_pool* pool)
{
    bitcoin_support_locked_pool_stats stats{};
    bitcoin_support_locked_pool_get_stats(pool, &stats, sizeof(stats));
    return stats;
}

/** The bytes that a chunk of 32 bytes takes. It takes more in builds for sanitizers, where the edges of
 *  chunks are marked. */
#ifdef BITCOIN_SUPPORT_SEES_EDGES
constexpr size_t TAKEN_BY_32{48};
#else
constexpr size_t TAKEN_BY_32{32};
#endif

using namespace bench;

bool g_failed{false};
/** Notes for the reader of the figures, each once. */
std::set<std::string> g_notes;

void Require(bool condition, const std::string& what)
{
    if (condition) return;
    std::printf("FAILED: %s\n", what.c_str());
    g_failed = true;
}

size_t Next(uint64_t& state)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state >> 20;
}
constexpr uint64_t SEED{88172645463325252U};

// ---- Checks ----------------------------------------------------------------------

#ifdef __SANITIZE_ADDRESS__ // which makes mlock do nothing
constexpr bool MLOCK_WORKS{false};
#else
constexpr bool MLOCK_WORKS{true};
#endif

/** Whether the system has locked the page of each address (sorted), by the flags of its mapping. */
std::vector<bool> AreLocked(const std::vector<uintptr_t>& addresses)
{
    std::vector<bool> locked;
    std::ifstream smaps{"/proc/self/smaps"};
    bool inside{false};
    for (std::string line; locked.size() < addresses.size() && std::getline(smaps, line);) {
        unsigned long long begin, end;
        if (std::sscanf(line.c_str(), "%llx-%llx ", &begin, &end) == 2) {
            inside = begin <= addresses[locked.size()] && addresses[locked.size()] < end;
        } else if (inside && line.rfind("VmFlags:", 0) == 0) {
            while (locked.size() < addresses.size() && addresses[locked.size()] < end) {
                locked.push_back(line.find(" lo") != std::string::npos);
            }
        }
    }
    locked.resize(addresses.size(), false);
    return locked;
}

constexpr unsigned char SECRET{0xa5};

/** The address as a number that the compiler cannot trace to the pointer, to read the memory after the free. */
uintptr_t AddressOf(const void* chunk)
{
    auto address{reinterpret_cast<uintptr_t>(chunk)};
    __asm__ volatile(""
                     : "+r"(address));
    return address;
}

/** How many of the bytes still have the secret's value, as the system reads them; 0 where no memory is mapped. */
size_t SecretBytesAt(uintptr_t address, size_t size)
{
    std::vector<unsigned char> bytes(size);
    const iovec to{bytes.data(), size}, from{reinterpret_cast<void*>(address), size};
    const ssize_t got{process_vm_readv(getpid(), &to, 1, &from, 1, 0)};
    if (got < 0 && errno != EFAULT) {
        g_notes.insert("whether memory is wiped was not checked: process_vm_readv is refused here");
        return 0;
    }
    return got < 0 ? 0 : static_cast<size_t>(std::count(bytes.begin(), bytes.begin() + got, SECRET));
}

/** Checks that A does this work properly. Returns why it cannot take part; empty if it can. */
template <typename A>
std::string Check(const Work& work)
{
    A::Prepare(work);
    uint64_t state{SEED};
    std::vector<std::pair<unsigned char*, size_t>> chunks;
    const auto free_all{[&] {
        for (const auto& [chunk, size] : chunks) A::Free(chunk, size);
    }};
    const std::string name{std::string{A::NAME} + ", " + std::to_string(work.live) + " of up to " + std::to_string(work.most)};
    for (size_t i{0}; i < work.live; ++i) {
        const size_t size{work.least + Next(state) % (work.most - work.least + 1)};
        auto* const chunk{static_cast<unsigned char*>(A::Alloc(size))};
        if (!chunk) {
            free_all();
            Require(!std::is_same<A, Ours>::value, name + ": there is memory");
            return "no memory after " + std::to_string(i) + " chunks";
        }
        memset(chunk, SECRET, size);
        // Each chunk has a different mark, which a write to a neighbour must not change.
        const uint64_t mark{i};
        if (size >= sizeof mark) memcpy(chunk, &mark, sizeof mark);
        chunks.emplace_back(chunk, size);
    }
    bool disjoint{true}, aligned{true};
    for (size_t i{0}; i < work.live; ++i) {
        const auto& [chunk, size]{chunks[i]};
        const uint64_t mark{i};
        disjoint &= chunk[size - 1] == (size == sizeof mark ? static_cast<unsigned char>(i >> 56) : SECRET);
        disjoint &= size < sizeof mark || memcmp(chunk, &mark, sizeof mark) == 0;
        aligned &= reinterpret_cast<uintptr_t>(chunk) % BITCOIN_SUPPORT_ARENA_ALIGN == 0;
    }
    Require(disjoint, name + ": chunks hold what was written");
    if (std::is_same<A, Ours>::value || std::is_same<A, CorePool>::value) Require(aligned, name + ": chunks are aligned");
    if constexpr (std::is_same<A, Ours>::value) {
        const auto stats{StatsOf(Ours::Pool())};
        Require(stats.chunks_used == work.live, name + ": every chunk is counted");
        Require(work.least != 32 || work.most != 32 || stats.used == TAKEN_BY_32 * work.live, name + ": every byte is counted");
        Require(stats.used + stats.free == stats.total, name + ": used and free bytes make up the total");
    }

    // Checks a few chunks from outside.
    std::vector<size_t> samples{0, work.live / 2, work.live - 1};
    std::sort(samples.begin(), samples.end(), [&](size_t a, size_t b) { return chunks[a].first < chunks[b].first; });
    samples.erase(std::unique(samples.begin(), samples.end()), samples.end());
    if constexpr (A::LOCKS && MLOCK_WORKS) {
        std::vector<uintptr_t> addresses;
        for (const size_t i : samples) addresses.push_back(reinterpret_cast<uintptr_t>(chunks[i].first));
        const auto locked{AreLocked(addresses)};
        if (std::count(locked.begin(), locked.end(), false) != 0) {
            if (std::is_same<A, Ours>::value) {
                Require(StatsOf(Ours::Pool()).last_lock_error != 0, name + ": chunks are locked");
            }
            g_notes.insert(name + ": not all of it is locked; the limit (ulimit -l) may be too low");
        }
    }
    std::vector<size_t> freed;
    for (const size_t i : samples) {
        const auto [chunk, size]{chunks[i]};
        const uintptr_t address{AddressOf(chunk)};
        A::Free(chunk, size);
        // Heaps keep lists in the first bytes of free chunks; the pool promises that all are wiped.
        const size_t skipped{std::is_same<A, Ours>::value ? 0U : std::min<size_t>(size, 16)};
        if (size > skipped) Require(SecretBytesAt(address + skipped, size - skipped) == 0, name + ": what is freed is wiped");
        freed.push_back(i);
    }
    std::sort(freed.begin(), freed.end(), std::greater<size_t>{});
    for (const size_t i : freed) chunks.erase(chunks.begin() + static_cast<std::ptrdiff_t>(i));
    free_all();
    if constexpr (std::is_same<A, Ours>::value) {
        Require(StatsOf(Ours::Pool()).used == 0, name + ": nothing is left");
    }
    return {};
}

/**
 * The controls: the checks find memory that is not wiped (Core's pool does not wipe), and memory that is not
 * locked.
 */
void CheckTheChecks()
{
    const auto ordinary{std::make_unique<unsigned char>()};
    Require(!AreLocked({AddressOf(ordinary.get())})[0], "memory that is not locked is found");
    void* const neighbour{core_reference::ManagerAlloc(64)};
    void* const chunk{core_reference::ManagerAlloc(64)};
    memset(chunk, SECRET, 64);
    const uintptr_t address{AddressOf(chunk)};
    core_reference::ManagerFree(chunk);
    const size_t found{SecretBytesAt(address, 64)};
    core_reference::ManagerFree(neighbour);
    Require(found == 64 || !g_notes.empty(), "memory that is not wiped is found");
}

// ---- Workloads: nanoseconds for a pair of allocation and free --------------------

template <typename A>
void* Write(size_t size)
{
    void* const chunk{A::Alloc(size)};
    if (!chunk) {
        std::printf("FAILED: %s has no memory in the middle of a workload\n", A::NAME);
        std::exit(EXIT_FAILURE);
    }
    static_cast<volatile unsigned char*>(chunk)[0] = 1;
    static_cast<volatile unsigned char*>(chunk)[size - 1] = 1;
    return chunk;
}

/**
 * Nanoseconds for an operation: the median of ten slices of the time, so that an interruption of some
 * milliseconds by the system does not count.
 */
template <typename Operation>
double Time(size_t count, Operation operation)
{
    constexpr size_t SLICES{10};
    std::vector<double> times;
    for (size_t slice{0}; slice < SLICES; ++slice) {
        const auto start{Clock::now()};
        for (size_t i{0}; i < count / SLICES; ++i) operation();
        times.push_back(NanosecondsSince(start) / static_cast<double>(count / SLICES));
    }
    return Median(times);
}

template <typename A>
double Pair(size_t size, size_t pairs)
{
    return Time(pairs, [=] { A::Free(Write<A>(size), size); });
}

template <typename A>
double Replace(size_t live, size_t pairs)
{
    std::vector<void*> chunks(live);
    for (void*& chunk : chunks) chunk = Write<A>(32);
    uint64_t state{SEED};
    const double result{Time(pairs, [&] {
        void*& chunk{chunks[Next(state) % live]};
        A::Free(chunk, 32);
        chunk = Write<A>(32);
    })};
    for (void* const chunk : chunks) A::Free(chunk, 32);
    return result;
}

template <typename A>
double Mixed(const Work& work, size_t pairs)
{
    std::vector<std::pair<void*, size_t>> chunks(work.live, {nullptr, 0});
    uint64_t state{SEED};
    const double result{Time(pairs, [&] {
        auto& [chunk, size]{chunks[Next(state) % work.live]};
        if (chunk) A::Free(chunk, size);
        size = work.least + Next(state) % (work.most - work.least + 1);
        chunk = Write<A>(size);
    })};
    for (const auto& [chunk, size] : chunks) {
        if (chunk) A::Free(chunk, size);
    }
    return result;
}

/** Each thread replaces its own 16 chunks. The start and the end of the threads do not count. */
template <typename A>
double Ring(size_t count, size_t pairs)
{
    std::atomic<size_t> ready{0};
    std::atomic<bool> go{false};
    std::vector<Clock::time_point> ends(count);
    std::vector<std::thread> threads;
    for (size_t t{0}; t < count; ++t) {
        threads.emplace_back([&, t] {
            void* ring[16];
            for (void*& chunk : ring) chunk = Write<A>(32);
            ++ready;
            while (!go) std::this_thread::yield();
            for (size_t i{0}; i < pairs; ++i) {
                void*& chunk{ring[i % 16]};
                A::Free(chunk, 32);
                chunk = Write<A>(32);
            }
            ends[t] = Clock::now();
            for (void* const chunk : ring) A::Free(chunk, 32);
        });
    }
    while (ready < count) std::this_thread::yield();
    const auto start{Clock::now()};
    go = true;
    for (auto& thread : threads) thread.join();
    const auto end{*std::max_element(ends.begin(), ends.end())};
    return std::chrono::duration<double, std::nano>{end - start}.count() / static_cast<double>(count * pairs);
}

/** Work without an allocator: a thread writes and wipes the same objects of 32 bytes again and again. */
template <size_t OBJECTS>
struct NoAllocator {
    static constexpr const char* NAME{"no allocator"};
    static void* Alloc(size_t size)
    {
        alignas(64) thread_local unsigned char objects[OBJECTS * 32];
        thread_local size_t next{0};
        void* const object{objects + next};
        next = (next + size) % sizeof objects;
        return object;
    }
    static void Free(void* object, size_t size) { explicit_bzero(object, size); }
};

/** Threads start one after another, each makes 16 chunks, frees them and ends, while `busy` others replace theirs. */
template <typename A>
double ComeAndGo(size_t busy, size_t count)
{
    std::atomic<size_t> ready{0};
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (size_t t{0}; t < busy; ++t) {
        threads.emplace_back([&] {
            void* ring[16];
            for (void*& chunk : ring) chunk = Write<A>(32);
            ++ready;
            for (size_t i{0}; !stop.load(std::memory_order_relaxed); ++i) {
                void*& chunk{ring[i % 16]};
                A::Free(chunk, 32);
                chunk = Write<A>(32);
            }
            for (void* const chunk : ring) A::Free(chunk, 32);
        });
    }
    while (ready < busy) std::this_thread::yield();
    const auto start{Clock::now()};
    for (size_t i{0}; i < count; ++i) {
        std::thread{[] {
            void* chunks[16];
            for (void*& chunk : chunks) chunk = Write<A>(32);
            for (void* const chunk : chunks) A::Free(chunk, 32);
        }}.join();
    }
    const double nanoseconds{NanosecondsSince(start)};
    stop = true;
    for (auto& thread : threads) thread.join();
    return nanoseconds / static_cast<double>(count);
}

constexpr size_t BATCH{256}, SLOTS{8};

/** One thread allocates batches, the other frees them; or one thread does both. */
template <typename A>
double Handover(size_t threads, size_t pairs)
{
    static std::vector<void*> slots[SLOTS];
    static std::atomic<size_t> made, gone;
    made = gone = 0;
    for (auto& slot : slots) slot.resize(BATCH);
    const size_t batches{std::max<size_t>(pairs / BATCH, SLOTS)};
    const auto consume{[](size_t batch) {
        for (void* const chunk : slots[batch % SLOTS]) A::Free(chunk, 32);
    }};
    std::atomic<bool> ready{threads == 1};
    std::thread consumer;
    if (threads == 2) {
        consumer = std::thread{[&] {
            ready = true;
            for (size_t batch{0}; batch < batches; ++batch) {
                while (made.load(std::memory_order_acquire) == batch) std::this_thread::yield();
                consume(batch);
                gone.store(batch + 1, std::memory_order_release);
            }
        }};
    }
    while (!ready) std::this_thread::yield();
    const auto start{Clock::now()};
    for (size_t batch{0}; batch < batches; ++batch) {
        if (threads == 2) {
            while (gone.load(std::memory_order_acquire) + SLOTS == batch) std::this_thread::yield();
        }
        for (void*& chunk : slots[batch % SLOTS]) chunk = Write<A>(32);
        made.store(batch + 1, std::memory_order_release);
        if (threads == 1) consume(batch);
    }
    if (consumer.joinable()) consumer.join();
    return NanosecondsSince(start) / static_cast<double>(batches * BATCH);
}

std::vector<std::string> PeerNames()
{
    std::vector<std::string> names;
    ForEachPeer([&](auto a) { names.emplace_back(decltype(a)::NAME); });
    return names;
}

/** One entry for each allocator. measure(A{}, pairs) does the measurement. */
template <typename Measure>
std::vector<Entry> Entries(const Options& options, const Work& work, size_t pairs, Measure measure)
{
    std::vector<Entry> entries;
    ForEachPeer([&](auto a) {
        using A = decltype(a);
        if (!options.WantsPeer(A::NAME)) return;
        std::string why_not{A::Missing()};
        if (why_not.empty()) why_not = A::Cannot(work);
        entries.push_back({A::NAME, why_not, [work] { return Check<A>(work); },
                           [=] { return measure(A{}, std::max<size_t>(pairs / A::Fewer(work), 100)); }});
    });
    return entries;
}

/** The speed of several threads relative to one, in each round. */
Values Scaling(const Values& by_one, const Values& by_many)
{
    Values scaling;
    for (const auto& [peer, ones] : by_one) {
        const auto found{by_many.find(peer)};
        if (found == by_many.end()) continue;
        for (size_t i{0}; i < std::min(ones.size(), found->second.size()); ++i) {
            scaling[peer].push_back(ones[i] / found->second[i]);
        }
    }
    return scaling;
}

void Pairs(const Options& options, Csv& csv)
{
    const size_t pairs{options.quick ? 20'000U : 100'000U};
    Table table{options, csv, "pairs",
                "Allocation, wipe and free: nanoseconds for a pair, and what part of a competitor's time the pool takes",
                "ns for a pair", PeerNames()};
    for (const size_t size : {16, 32, 64, 128, 256, 512, 1024, 2048, 4096}) {
        table.Row("one of " + std::to_string(size) + " bytes", options.rounds,
                  Entries(options, {1, size, size}, pairs, [=](auto a, size_t n) { return Pair<decltype(a)>(size, n); }));
    }
    for (const size_t live : {1000, 10'000, 100'000, 1'000'000}) {
        table.Row("replace one of " + std::to_string(live), live == 1'000'000 ? options.long_rounds : options.rounds,
                  Entries(options, {live, 32, 32}, pairs, [=](auto a, size_t n) { return Replace<decltype(a)>(live, n); }));
    }
    for (const Work& work : {Work{2048, 1, 2048}, Work{1024, 16, 256}}) {
        table.Row(std::to_string(work.live) + " of " + std::to_string(work.least) + " to " + std::to_string(work.most) + " bytes",
                  options.rounds, Entries(options, work, pairs, [=](auto a, size_t n) { return Mixed<decltype(a)>(work, n); }));
    }

    Values by_one, by_two;
    const auto ring{[&](size_t threads) {
        return Entries(options, {2 * 16, 32, 32}, 5 * pairs, [=](auto a, size_t n) { return Ring<decltype(a)>(threads, n); });
    }};
    by_one = table.Row("ring by one thread", options.rounds, ring(1));
    by_two = table.Row("ring by two threads", options.rounds, ring(2));
    table.Derived("ring scaling", "x", Scaling(by_one, by_two));
    for (size_t threads{4}; threads <= std::thread::hardware_concurrency(); threads *= 2) {
        const std::string row{"ring by " + std::to_string(threads) + " threads"};
        table.Derived(row + ", scaling", "x", Scaling(by_one, table.Row(row, options.rounds, ring(threads))));
    }

    using Bare = NoAllocator<SLOTS * BATCH>;
    const auto handover{[&](size_t threads) {
        auto entries{Entries(options, {(SLOTS + 1) * BATCH, 32, 32}, 2 * pairs,
                             [=](auto a, size_t n) { return Handover<decltype(a)>(threads, n); })};
        entries.push_back({Bare::NAME, {}, {}, [=] { return Handover<Bare>(threads, 2 * pairs); }});
        return entries;
    }};
    by_one = table.Row("handover by one thread", options.rounds, handover(1));
    by_two = table.Row("handover by two threads", options.rounds, handover(2));
    table.Derived("handover scaling", "x", Scaling(by_one, by_two));

    const size_t others{std::max(std::thread::hardware_concurrency(), 2U) - 1};
    for (const size_t busy : {size_t{0}, others}) {
        auto entries{Entries(options, {(busy + 1) * 16, 32, 32}, pairs / 100,
                             [=](auto a, size_t n) { return ComeAndGo<decltype(a)>(busy, n); })};
        entries.push_back({NoAllocator<16>::NAME, {}, {}, [=] { return ComeAndGo<NoAllocator<16>>(busy, pairs / 100); }});
        table.Row(busy == 0 ? "thread that comes and goes" : "thread beside " + std::to_string(busy) + " busy ones", options.rounds, entries);
    }
}

// ---- Statistics, and many arenas --------------------------------------------------

/** Hands out addresses where no memory is, arena by arena. */
class NoMemory
{
public:
    static constexpr size_t ARENAS{1000};
    static void* Next(size_t size)
    {
        static unsigned char* const region{[] {
            void* const pages{mmap(nullptr, ARENAS * BITCOIN_SUPPORT_ARENA_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)};
            return static_cast<unsigned char*>(pages == MAP_FAILED ? nullptr : pages);
        }()};
        if (!region || given + size > ARENAS * BITCOIN_SUPPORT_ARENA_SIZE) return nullptr;
        void* const pages{region + given};
        given += size;
        return pages;
    }
    static inline size_t given;
};

struct OurPoolOverNoMemory {
    bitcoin_support_locked_pool* pool{nullptr};
    OurPoolOverNoMemory()
    {
        const bitcoin_support_page_allocator pages{
            nullptr,
            [](void*, size_t size, bool* locked) { return *locked = true, NoMemory::Next(size); },
            [](void*, void*, size_t) {},
            [](void*) { return std::numeric_limits<size_t>::max(); },
            nullptr};
        bitcoin_support_locked_pool_create(&pages, &pool);
    }
    ~OurPoolOverNoMemory() { bitcoin_support_locked_pool_destroy(pool); }
    OurPoolOverNoMemory(const OurPoolOverNoMemory&) = delete;
    OurPoolOverNoMemory& operator=(const OurPoolOverNoMemory&) = delete;
    void* Alloc(size_t size) { return bitcoin_support_locked_pool_alloc(pool, size); }
    bool Free(void* chunk) { return bitcoin_support_locked_pool_free(pool, chunk) == BITCOIN_SUPPORT_OK; }
    size_t Used() { return StatsOf(pool).used; }
};

struct CorePoolOverNoMemory {
    core_reference::PoolReference pool{{[](size_t size, bool* locked) { return *locked = true, NoMemory::Next(size); },
                                        [](void*, size_t) {},
                                        [] { return std::numeric_limits<size_t>::max(); }},
                                       nullptr};
    void* Alloc(size_t size) { return pool.Alloc(size); }
    bool Free(void* chunk) { return pool.Free(chunk).empty(); }
    size_t Used() { return pool.GetStats().used; }
};

/**
 * Nanoseconds for each of 8000 frees in random order. The chunks are spread over `spread` arenas of a pool of
 * `arenas`. The other arenas are full; half of them are made before and half after. Nothing is wiped, as
 * there is no memory.
 */
template <typename Pool>
double FreeInto(size_t spread, size_t arenas)
{
    constexpr size_t CHUNKS{8000};
    NoMemory::given = 0;
    Pool pool;
    bool there{true};
    const auto fill_others{[&](size_t count) {
        for (size_t i{0}; i < count; ++i) there &= pool.Alloc(BITCOIN_SUPPORT_ARENA_SIZE) != nullptr;
    }};
    const size_t others{arenas - spread}, size{spread == 1 ? 32U : BITCOIN_SUPPORT_ARENA_SIZE / (CHUNKS / spread)};
    std::vector<void*> chunks(CHUNKS);
    uint64_t state{SEED};
    double result{0};
    fill_others(others / 2);
    for (const bool timed : {false, true}) { // once before, so that the bookkeeping's memory is there
        for (void*& chunk : chunks) there &= (chunk = pool.Alloc(size)) != nullptr;
        if (!timed) fill_others(others - others / 2);
        Require(there && NoMemory::given == arenas * BITCOIN_SUPPORT_ARENA_SIZE, "there are " + std::to_string(arenas) + " arenas");
        for (size_t i{CHUNKS - 1}; i > 0; --i) std::swap(chunks[i], chunks[Next(state) % (i + 1)]);
        bool freed{true};
        const auto start{Clock::now()};
        for (void* const chunk : chunks) freed &= pool.Free(chunk);
        if (timed) result = NanosecondsSince(start) / CHUNKS;
        Require(freed && pool.Used() == others * BITCOIN_SUPPORT_ARENA_SIZE, "all chunks are freed");
    }
    return result;
}

void Bookkeeping(const Options& options, Csv& csv)
{
    Table table{options, csv, "bookkeeping", "The pools' bookkeeping: nanoseconds for a call", "ns", {Ours::NAME, CorePool::NAME}};
    for (const size_t live : {1000, 1'000'000}) {
        std::vector<void*> ours, cores;
        const auto fill{[=](std::vector<void*>& chunks, auto a) {
            chunks.resize(live);
            for (void*& chunk : chunks) chunk = Write<decltype(a)>(32);
        }};
        const auto fill_ours{[&] {
            fill(ours, Ours{});
            const auto stats{StatsOf(Ours::Pool())};
            Require(stats.used == TAKEN_BY_32 * live && stats.chunks_used == live, "the pool's statistics are exact");
            Require(stats.used + stats.free == stats.total, "used and free bytes make up the total");
            return std::string{};
        }};
        const auto fill_cores{[&] {
            fill(cores, CorePool{});
            Require(core_reference::ManagerGetStats().used == 32 * live, "Core's statistics are exact");
            return std::string{};
        }};
        const auto ask{[](auto get_stats, size_t calls) {
            const auto start{Clock::now()};
            for (size_t i{0}; i < calls; ++i) get_stats();
            return NanosecondsSince(start) / static_cast<double>(calls);
        }};
        const auto ask_ours{[=] { return ask([] { StatsOf(Ours::Pool()); }, 10'000); }};
        const auto ask_core{[=] { return ask([] { core_reference::ManagerGetStats(); }, live < 10'000 ? 100 : 1); }};
        table.Row("stats() of " + std::to_string(live), options.rounds,
                  {{Ours::NAME, {}, fill_ours, ask_ours}, {CorePool::NAME, {}, fill_cores, ask_core}});
        for (void* const chunk : ours) Ours::Free(chunk, 32);
        for (void* const chunk : cores) CorePool::Free(chunk, 32);
    }
    const struct {
        const char* name;
        size_t spread, arenas;
    } shapes[]{{"free into 1 arena", 1, 1}, {"free into one of 1000 arenas", 1, 1000}, {"free into all of 1000 arenas", 1000, 1000}};
    for (const auto& shape : shapes) {
        table.Row(shape.name, options.rounds,
                  {{Ours::NAME, {}, {}, [=] { return FreeInto<OurPoolOverNoMemory>(shape.spread, shape.arenas); }},
                   {CorePool::NAME, {}, {}, [=] { return FreeInto<CorePoolOverNoMemory>(shape.spread, shape.arenas); }}});
    }
}

// ---- Memory -----------------------------------------------------------------------

/** Bytes of the process. */
struct Memory {
    /** Locked, and resident in mappings that are not. */
    double locked{0}, resident_besides{0};

    static Memory Now()
    {
        // Adds up the mappings. /proc/self/status has only an estimate of the resident memory, and counts
        // memory that is locked on first touch (as in OpenSSL's heap) as locked, but not as resident.
        Memory memory;
        std::ifstream smaps{"/proc/self/smaps"};
        double size{0}, resident{0};
        for (std::string line; std::getline(smaps, line);) {
            const auto kilobytes{[&] { return 1024 * std::strtod(line.c_str() + line.find(':') + 1, nullptr); }};
            if (line.rfind("Size:", 0) == 0) size = kilobytes();
            if (line.rfind("Rss:", 0) == 0) resident = kilobytes();
            if (line.rfind("VmFlags:", 0) == 0) {
                (line.find(" lo") != std::string::npos ? memory.locked : memory.resident_besides) +=
                    line.find(" lo") != std::string::npos ? size : resident;
            }
        }
        return memory;
    }
};

/** Runs in a separate process (--memory-of). Makes chunks, and prints the memory that each took. */
int MemoryChild(const std::string& peer, size_t live)
{
    int status{2};
    ForEachPeer([&](auto a) {
        using A = decltype(a);
        if (peer != A::NAME || !A::Missing().empty()) return;
        void* const list{mmap(nullptr, live * sizeof(void*), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0)};
        if (list == MAP_FAILED) return;
        auto* const chunks{static_cast<void**>(list)};
        Memory::Now(); // the memory for reading the files is not counted
        const Memory before{Memory::Now()};
        A::Prepare({live, 32, 32});
        for (size_t i{0}; i < live; ++i) chunks[i] = Write<A>(32);
        const Memory after{Memory::Now()};
        // In an ordinary heap, the chunks themselves are a part of the resident memory.
        std::printf("%f %f\n", (after.locked - before.locked) / static_cast<double>(live),
                    (after.resident_besides - before.resident_besides) / static_cast<double>(live) - (A::LOCKS ? 0 : 32));
        for (size_t i{0}; i < live; ++i) A::Free(chunks[i], 32);
        status = EXIT_SUCCESS;
    });
    return status;
}

/** Runs a program and returns the two numbers that it prints. Exits if it prints no numbers. */
std::pair<double, double> TwoNumbersFrom(const std::string& program, std::vector<std::string> arguments)
{
    arguments.insert(arguments.begin(), program);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    int ends[2];
    posix_spawn_file_actions_t actions;
    pid_t child;
    std::string output;
    // fork would take longer, the more memory this process has.
    if (pipe(ends) == 0 && posix_spawn_file_actions_init(&actions) == 0 && posix_spawn_file_actions_adddup2(&actions, ends[1], 1) == 0 &&
        posix_spawn_file_actions_addclose(&actions, ends[0]) == 0 && posix_spawn_file_actions_addclose(&actions, ends[1]) == 0 &&
        posix_spawn(&child, program.c_str(), &actions, nullptr, argv.data(), environ) == 0) {
        posix_spawn_file_actions_destroy(&actions);
        close(ends[1]);
        char buffer[256];
        for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0;) output.append(buffer, static_cast<size_t>(got));
        close(ends[0]);
        waitpid(child, nullptr, 0);
    }
    std::pair<double, double> numbers;
    if (std::sscanf(output.c_str(), "%lf %lf", &numbers.first, &numbers.second) != 2) {
        std::printf("FAILED: %s %s does not answer\n", program.c_str(), arguments.size() > 1 ? arguments[1].c_str() : "");
        std::exit(EXIT_FAILURE);
    }
    return numbers;
}

void MemoryOfEach(const Options& options, Csv& csv)
{
    Table table{options, csv, "memory",
                "Memory for each live chunk of 32 bytes, counted in separate processes. Besides: resident memory that is neither\n"
                "locked nor the chunk itself",
                "bytes", PeerNames()};
    for (const size_t live : {10'000, 100'000, 1'000'000}) {
        if (options.quick && live == 1'000'000) continue;
        std::map<std::string, std::pair<double, double>> known;
        const auto of{[&](const std::string& peer) {
            if (known.count(peer) == 0) known[peer] = TwoNumbersFrom("/proc/self/exe", {"--memory-of", peer, std::to_string(live)});
            return known[peer];
        }};
        const auto entries{[&](auto value) {
            std::vector<Entry> list;
            ForEachPeer([&](auto a) {
                using A = decltype(a);
                if (!options.WantsPeer(A::NAME)) return;
                const std::string missing{A::Missing()};
                list.push_back({A::NAME, missing.empty() ? A::Cannot({live, 32, 32}) : missing, {}, [=] { return value(of(A::NAME)); }});
            });
            return list;
        }};
        table.Row("memory locked at " + std::to_string(live), 1, entries([](auto memory) { return memory.first; }));
        table.Row("memory besides at " + std::to_string(live), 1,
                  entries([](auto memory) { return memory.second; }));
    }
}

// ---- Wiping -----------------------------------------------------------------------

void MemsetAndBarrier(void* bytes, size_t size)
{
    memset(bytes, 0, size);
    __asm__ volatile(""
                     :
                     : "r"(bytes)
                     : "memory");
}

void VolatileLoop(void* bytes, size_t size)
{
    auto* const byte{static_cast<volatile unsigned char*>(bytes)};
    for (size_t i{0}; i < size; ++i) byte[i] = 0;
}

void Wiping(const Options& options, Csv& csv)
{
    const std::vector<std::pair<std::string, void (*)(void*, size_t)>> wipes{
        {OURS, memory_cleanse},
        {"Bitcoin Core", core_reference::MemoryCleanse},
        {"explicit_bzero", explicit_bzero},
        {"memset+barrier", MemsetAndBarrier},
        {"OPENSSL_cleanse", OpenSsl::Missing().empty() ? OpenSsl::cleanse : nullptr},
        {"volatile loop", VolatileLoop}};
    std::vector<std::string> names;
    for (const auto& wipe : wipes) names.push_back(wipe.first);
    Table table{options, csv, "wipe", "Wiping memory: nanoseconds, memory_cleanse beside other ways", "ns", names};
    constexpr size_t MOST{16 << 20};
    static unsigned char* const memory{static_cast<unsigned char*>(std::aligned_alloc(4096, MOST))};
    for (const size_t size : {size_t{16}, size_t{32}, size_t{64}, size_t{256}, size_t{1} << 10, size_t{4} << 10, size_t{64} << 10, size_t{1} << 20, MOST}) {
        std::vector<Entry> entries;
        for (const auto& [name, wipe] : wipes) {
            const auto prepare{[size, wipe = wipe, name = name] {
                memset(memory, SECRET, MOST);
                wipe(memory, size);
                Require(static_cast<size_t>(std::count(memory, memory + MOST, 0)) == size, name + " wipes so many bytes and no more");
                return std::string{};
            }};
            const auto measure{[size, wipe = wipe] {
                const size_t times{std::min<size_t>(std::max<size_t>((1 << 20) / size, 1), 20'000)};
                wipe(memory, size); // warm
                const auto start{Clock::now()};
                for (size_t i{0}; i < times; ++i) wipe(memory, size);
                return NanosecondsSince(start) / static_cast<double>(times);
            }};
            entries.push_back({name, wipe ? "" : "not installed", prepare, measure});
        }
        std::string text{std::to_string(size) + " B"};
        if (size >= 1 << 10) text = std::to_string(size >> 10) + " KiB";
        if (size >= 1 << 20) text = std::to_string(size >> 20) + " MiB";
        table.Row("wipe " + text, options.rounds, entries);
    }
}

// ---- Start-up ---------------------------------------------------------------------

void StartUp(const Options& options, Csv& csv)
{
    char self[4096];
    const ssize_t length{readlink("/proc/self/exe", self, sizeof self)};
    const std::string path(self, length < 0 ? 0 : static_cast<size_t>(length));
    const std::string directory{path.substr(0, path.rfind('/') + 1)};
    const std::string ours{directory + "startup_bench"}, core{directory + "startup_bench_core"};
    {
        Table table{options, csv, "startup", "The first allocation of a process: a new process each time", "ns", {OURS, "Bitcoin Core"}};
        table.Row("first allocation", 20 * options.rounds,
                  {{OURS, {}, {}, [&] { return TwoNumbersFrom(ours, {}).first; }},
                   {"Bitcoin Core", {}, {}, [&] { return TwoNumbersFrom(core, {}).first; }}});
    }
    Table table{options, csv, "startup_memory", "Locked memory of a process after its first allocation", "kB", {OURS, "Bitcoin Core"}};
    table.Row("idle process", 1,
              {{OURS, {}, {}, [&] { return TwoNumbersFrom(ours, {}).second; }},
               {"Bitcoin Core", {}, {}, [&] { return TwoNumbersFrom(core, {}).second; }}});
}

// ---- The run ----------------------------------------------------------------------

std::string Processor()
{
    std::ifstream file{"/proc/cpuinfo"};
    std::string model{"unknown processor"};
    bool is_virtual{false};
    for (std::string line; std::getline(file, line);) {
        if (line.rfind("model name", 0) == 0) model = line.substr(line.find(':') + 2);
        if (line.rfind("flags", 0) == 0) is_virtual = line.find(" hypervisor") != std::string::npos;
    }
    return model + ", " + std::to_string(std::thread::hardware_concurrency()) + " processors" + (is_virtual ? " of a virtual machine" : "");
}

} // namespace

int main(int argc, char** argv)
{
    ReserveTlsForJemalloc(argv);
    if (argc == 4 && std::string{argv[1]} == "--memory-of") return MemoryChild(argv[2], std::strtoul(argv[3], nullptr, 10));
    Options options;
    if (!options.Parse(argc, argv)) {
        std::fprintf(stderr, "usage: pool_bench %s\n", Options::USAGE);
        return 2;
    }
    Csv csv{options.csv};
    utsname system;
    uname(&system);
    csv.Comment("machine", Processor());
    csv.Comment("kernel", std::string{system.sysname} + " " + system.release + " " + system.machine);
#ifdef __clang__
    csv.Comment("compiler", __VERSION__);
#else
    csv.Comment("compiler", "g++ " __VERSION__);
#endif
    csv.Comment("rounds", std::to_string(options.rounds) + ", of a million " + std::to_string(options.long_rounds) +
                              ", fewer for slow allocators" + (options.quick ? "; quick" : ""));
    ForEachPeer([&](auto a) {
        using A = decltype(a);
        const std::string missing{A::Missing()};
        csv.Comment(A::NAME, missing.empty() ? A::Version() : "not installed: " + missing);
    });
    csv.Header();

    CheckTheChecks();
    StartUp(options, csv);
    Pairs(options, csv);
    Bookkeeping(options, csv);
    MemoryOfEach(options, csv);
    Wiping(options, csv);
    Require(StatsOf(Ours::Pool()).used == 0, "nothing is left in the pool");
    for (const std::string& note : g_notes) std::printf("note: %s\n", note.c_str());
    return g_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
