// The process-wide pool under a long mixed load. Threads start and end and free chunks of others, the process
// forks meanwhile, and memory that cannot be locked is used. Every byte of every chunk is checked: it is zero
// when the chunk is handed out, and has the chunk's pattern when the chunk is freed. At the end the
// statistics must be exact.
//
//   long_run [operations [seed [threads]]]       2000000, 1 and 2 unless told otherwise
//   long_run --break=byte|free|wipe ...          makes a mistake half-way, which must be reported
//   long_run --control ...                       makes each of these mistakes, and succeeds if each is reported
//
// Allocations, frees, frees that must be refused and reads of the statistics count as operations. If
// something is wrong, the program prints it on stderr and exits with status 1.

#include <bitcoin_support.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/capability.h>
#include <mutex>
#include <string>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

/** Statistics of a pool. */
bitcoin_support_locked_pool_stats StatsOf(const bitcoin_support_locked_pool* pool)
{
    bitcoin_support_locked_pool_stats stats{};
    bitcoin_support_locked_pool_get_stats(pool, &stats, sizeof(stats));
    return stats;
}

// The counts, in the order in which they are printed.
enum Kind { ALLOCATED,
            OVER_ALIGNED,
            LARGE,
            FREED,
            FREED_FOR_OTHERS,
            FREED_SIZED,
            REFUSED_FREES,
            STATISTICS,
            NO_MEMORY,
            THREADS,
            FORKS,
            FULL_CHECKS,
            EXHAUSTIONS,
            KINDS };
const char* const NAMES[KINDS]{"allocated", "over-aligned", "large", "freed", "freed by another thread", "freed with size",
                               "bad frees refused", "statistics", "no memory", "threads", "forks", "full checks", "exhaustions"};
using Counts = std::array<uint64_t, KINDS>;

enum class Break { NOTHING,
                   BYTE,
                   FREE,
                   WIPE };

bitcoin_support_locked_pool* g_pool{nullptr};
uint64_t g_seed{1};
std::atomic<uint64_t> g_done{0};

/** Reports what is wrong, and ends the process at once, from any thread. */
[[noreturn]] void Fail(const char* what, uint64_t expected = 0, uint64_t found = 0)
{
    char line[300];
    const int length{std::snprintf(line, sizeof(line), "long_run: %s (%llu, %llu) after about %llu operations, seed %llu\n", what,
                                   static_cast<unsigned long long>(expected), static_cast<unsigned long long>(found),
                                   static_cast<unsigned long long>(g_done.load()), static_cast<unsigned long long>(g_seed))};
    if (write(STDERR_FILENO, line, static_cast<size_t>(length)) < 0) _exit(2);
    _exit(1);
}

void Expect(bool holds, const char* what, uint64_t expected = 0, uint64_t found = 0)
{
    if (!holds) Fail(what, expected, found);
}

/** xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016). */
class Random
{
public:
    explicit Random(uint64_t seed) : state{seed * 0x9e3779b97f4a7c15 + 1} {}

    uint64_t Next()
    {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return state * 0x2545f4914f6cdd1d;
    }

    size_t Below(size_t bound) { return static_cast<size_t>(((Next() >> 32) * bound) >> 32); }
    bool OneIn(size_t turns) { return Below(turns) == 0; }

private:
    uint64_t state;
};

/** A chunk, with the numbers from which its contents are made. */
struct Record {
    unsigned char* address;
    size_t size;
    uint64_t key;

    uint64_t Word(size_t i) const { return key + reinterpret_cast<uintptr_t>(address) + i * 0x9e3779b97f4a7c15; }

    void Fill() const
    {
        size_t at{0};
        for (; at + 8 <= size; at += 8) {
            const uint64_t word{Word(at)};
            std::memcpy(address + at, &word, 8);
        }
        for (; at < size; ++at) address[at] = static_cast<unsigned char>(Word(at) >> 56);
    }

    bool Intact() const
    {
        uint64_t differences{0};
        size_t at{0};
        for (; at + 8 <= size; at += 8) {
            uint64_t word;
            std::memcpy(&word, address + at, 8);
            differences |= word ^ Word(at);
        }
        for (; at < size; ++at) differences |= address[at] ^ static_cast<unsigned char>(Word(at) >> 56);
        return differences == 0;
    }

    bool AllZeros() const
    {
        uint64_t bits{0};
        size_t at{0};
        for (; at + 8 <= size; at += 8) {
            uint64_t word;
            std::memcpy(&word, address + at, 8);
            bits |= word;
        }
        for (; at < size; ++at) bits |= address[at];
        return bits == 0;
    }
};

/** Allocates a chunk and fills it. Returns false if there is no memory. */
bool Allocate(Random& random, size_t size, size_t alignment, Record& record)
{
    void* const chunk{alignment == 0 ? bitcoin_support_locked_pool_alloc(g_pool, size) :
                                       bitcoin_support_locked_pool_alloc_aligned(g_pool, size, alignment)};
    if (!chunk) return false;
    record = {static_cast<unsigned char*>(chunk), size, random.Next()};
    Expect(reinterpret_cast<uintptr_t>(chunk) % std::max(alignment, size_t{BITCOIN_SUPPORT_ARENA_ALIGN}) == 0, "a chunk is not aligned", alignment);
    Expect(record.AllZeros(), "a chunk is handed out that is not wiped", size);
    record.Fill();
    return true;
}

void Verify(const Record& record) { Expect(record.Intact(), "a chunk has changed", record.size); }

void Free(const Record& record)
{
    Verify(record);
    const auto status{bitcoin_support_locked_pool_free(g_pool, record.address)};
    Expect(status == BITCOIN_SUPPORT_OK, "a chunk cannot be freed", BITCOIN_SUPPORT_OK, status);
}

/** Threads pass through the gate often. A closed gate keeps all of them from work. */
class Gate
{
public:
    void Enter()
    {
        std::unique_lock<std::mutex> lock{mutex};
        changed.wait(lock, [this] { return !closed; });
        ++inside;
    }
    void Leave()
    {
        const std::lock_guard<std::mutex> lock{mutex};
        --inside;
        changed.notify_all();
    }
    void Pass()
    {
        if (!closed) return;
        Leave();
        Enter();
    }
    void Close()
    {
        std::unique_lock<std::mutex> lock{mutex};
        closed = true;
        changed.wait(lock, [this] { return inside == 0; });
    }
    void Open()
    {
        const std::lock_guard<std::mutex> lock{mutex};
        closed = false;
        changed.notify_all();
    }

private:
    std::mutex mutex;
    std::condition_variable changed;
    std::atomic<bool> closed{false};
    size_t inside{0};
};

/** The data of a thread and of its successors. */
struct Slot {
    /** The thread's chunks. */
    std::vector<Record> held;
    /** Chunks that others have handed over to be freed. */
    std::mutex mutex;
    std::vector<Record> handed_over;
};

class LongRun
{
public:
    LongRun(uint64_t operations_in, size_t threads, Break breaks_in)
        : operations{operations_in}, breaks{breaks_in}, slots(threads), coordinator{g_seed}
    {
        for (Slot& slot : slots) {
            slot.held.reserve(MOST_HELD + 1);
            slot.handed_over.reserve(MOST_HELD + 1);
        }
        ballast.reserve(1 << 16);
    }

    void Run()
    {
        getrlimit(RLIMIT_MEMLOCK, &limit);
        std::vector<std::thread> keepers;
        for (size_t number{0}; number < slots.size(); ++number) {
            keepers.emplace_back([this, number] {
                for (uint64_t life{0}; g_done < operations; ++life) {
                    std::thread{[=] { Live(number, life); }}.join();
                }
            });
        }
        // At the end of each stage everything is checked, and most stages change how much memory there is.
        const uint64_t stages{std::clamp<uint64_t>(operations / 1000000 / 40 * 40, 40, 2000)};
        for (uint64_t stage{1}; stage <= stages; ++stage) {
            WaitFor(operations / stages * stage);
            gate.Close();
            FullCheck();
            if (stage == stages / 2) DoWrong();
            ForkWithAll();
            if (stage % 4 == 1) RunDry();
            if (stage % 4 == 2) {
                // The other threads run into it too.
                LockNoMore(true);
                FillUp();
                gate.Open();
                WaitFor(g_done + operations / stages / 50);
                gate.Close();
                Relieve();
                FullCheck();
            }
            if (stage % 4 == 3) DoWithUnlocked();
            Print(stage % (stages / 20) == 0);
            gate.Open();
        }
        for (std::thread& keeper : keepers) keeper.join();
        End();
    }

private:
    static constexpr size_t MOST_HELD{3000};
    static constexpr size_t BATCH{1024};

    const uint64_t operations;
    const Break breaks;
    std::vector<Slot> slots;
    Random coordinator;
    Gate gate;
    rlimit limit{};
    std::vector<Record> ballast;

    std::mutex mutex;
    std::condition_variable progressed;
    Counts total{};

    /** The life of a thread: tens or hundreds of thousands of operations. */
    void Live(size_t number, uint64_t life)
    {
        Random random{g_seed ^ (uint64_t{number} << 56) ^ (life << 24)};
        Slot& slot{slots[number]};
        Slot& other{slots[(number + 1) % slots.size()]};
        const size_t turns{20000 + random.Below(300000)};
        size_t target{random.Below(MOST_HELD)};
        Counts counts{};
        ++counts[THREADS];
        gate.Enter();
        for (size_t turn{1}; turn <= turns; ++turn) {
            if (turn % 64 == 0) gate.Pass();
            if (turn % 4096 == 0) target = random.Below(random.OneIn(2) ? 100 : MOST_HELD);
            if (slot.held.empty() || (slot.held.size() < MOST_HELD && random.Below(64) < (slot.held.size() < target ? 40U : 24U))) {
                AllocateOne(random, slot, counts);
            } else {
                FreeOne(random, slot, other, counts);
            }
            if (turn % 128 == 0) FreeForOthers(slot, counts);
            if (turn % 512 == 0) FreeBadly(random, slot, counts);
            if (turn % 8192 == 0) LookAtStatistics(slot, counts);
            if (random.OneIn(FORK_EVERY)) ForkWithOwn(slot, counts);
            if (turn % BATCH == 0 && !Report(counts)) break;
        }
        FreeForOthers(slot, counts);
        Report(counts);
        gate.Leave();
    }

    static constexpr size_t FORK_EVERY{1000000};

    void AllocateOne(Random& random, Slot& slot, Counts& counts)
    {
        const size_t choice{random.Below(4096)};
        const size_t range{choice < 2800 ? 256U : choice < 4000 ? 4096U :
                                              choice < 4094     ? 20000U :
                                                                  BITCOIN_SUPPORT_ARENA_SIZE};
        const size_t size{1 + random.Below(range)};
        const size_t alignment{choice % 128 == 0 ? size_t{1} << random.Below(13) : 0};
        Record record;
        if (!Allocate(random, size, alignment, record)) {
            ++counts[NO_MEMORY];
            // Makes room, as a program would have to do.
            for (size_t i{0}; i < 20 && !slot.held.empty(); ++i) {
                Free(slot.held.back());
                slot.held.pop_back();
                ++counts[FREED];
            }
            return;
        }
        slot.held.push_back(record);
        ++counts[ALLOCATED];
        counts[OVER_ALIGNED] += alignment > BITCOIN_SUPPORT_ARENA_ALIGN;
        counts[LARGE] += size > 4096;
    }

    void FreeOne(Random& random, Slot& slot, Slot& other, Counts& counts)
    {
        std::swap(slot.held[random.Below(slot.held.size())], slot.held.back());
        const Record record{slot.held.back()};
        slot.held.pop_back();
        const size_t choice{random.Below(32)};
        if (choice == 0) {
            const std::lock_guard<std::mutex> lock{other.mutex};
            if (other.handed_over.size() < MOST_HELD) {
                other.handed_over.push_back(record);
                return;
            }
        }
        ++counts[FREED];
        if (choice == 1) {
            Verify(record);
            // The pool compares rounded sizes. No chunk has this size even when rounded.
            const auto wrong{bitcoin_support_locked_pool_free_sized(g_pool, record.address, record.size * 2 + 2048, 1)};
            Expect(wrong == BITCOIN_SUPPORT_SIZE_MISMATCH, "a free with another size is not refused", BITCOIN_SUPPORT_SIZE_MISMATCH, wrong);
            const auto status{bitcoin_support_locked_pool_free_sized(g_pool, record.address, record.size, 1)};
            ++counts[REFUSED_FREES];
            if (status == BITCOIN_SUPPORT_OK) {
                ++counts[FREED_SIZED];
                return;
            }
            // An over-aligned chunk takes more bytes, so it must be freed with its alignment.
            Expect(status == BITCOIN_SUPPORT_SIZE_MISMATCH, "a chunk cannot be freed", BITCOIN_SUPPORT_OK, status);
        }
        Free(record);
    }

    void FreeForOthers(Slot& slot, Counts& counts)
    {
        const std::lock_guard<std::mutex> lock{slot.mutex};
        for (const Record& record : slot.handed_over) Free(record);
        counts[FREED] += slot.handed_over.size();
        counts[FREED_FOR_OTHERS] += slot.handed_over.size();
        slot.handed_over.clear();
    }

    /** Frees addresses where no chunk can ever begin, whatever other threads do. */
    void FreeBadly(Random& random, const Slot& slot, Counts& counts)
    {
        if (slot.held.empty()) return;
        const Record& record{slot.held[random.Below(slot.held.size())]};
        unsigned char on_stack;
        unsigned char* const inside{record.address + 1 + random.Below(record.size)};
        // The last byte is followed by padding or another chunk.
        if (inside < record.address + record.size) {
            const auto status{bitcoin_support_locked_pool_free(g_pool, inside)};
            Expect(status == BITCOIN_SUPPORT_INVALID_FREE, "a free inside a chunk is not refused", BITCOIN_SUPPORT_INVALID_FREE, status);
            ++counts[REFUSED_FREES];
        }
        const auto status{bitcoin_support_locked_pool_free(g_pool, &on_stack)};
        Expect(status == BITCOIN_SUPPORT_NOT_IN_POOL, "a free of foreign memory is not refused", BITCOIN_SUPPORT_NOT_IN_POOL, status);
        ++counts[REFUSED_FREES];
        Verify(record);
    }

    /** Checks what must hold at any moment, while other threads work. */
    void LookAtStatistics(const Slot& slot, Counts& counts)
    {
        const auto stats{StatsOf(g_pool)};
        size_t bytes{0};
        for (const Record& record : slot.held) bytes += record.size;
        Expect(stats.used + stats.free == stats.total, "figures do not add up", stats.total, stats.used + stats.free);
        Expect(stats.chunks_used >= slot.held.size() && stats.used >= bytes, "figures leave chunks out", slot.held.size(), stats.chunks_used);
        Expect(stats.locked <= stats.total && stats.peak_used >= stats.used, "figures exceed each other", stats.total, stats.locked);
        ++counts[STATISTICS];
    }

    /** Adds to the counts. Returns false when all operations are done. */
    bool Report(Counts& counts)
    {
        const std::lock_guard<std::mutex> lock{mutex};
        uint64_t done{0};
        for (const Kind kind : {ALLOCATED, FREED, REFUSED_FREES, STATISTICS, NO_MEMORY}) done += counts[kind];
        for (size_t kind{0}; kind < KINDS; ++kind) total[kind] += counts[kind];
        counts = Counts{};
        g_done += done;
        progressed.notify_all();
        return g_done < operations;
    }

    void WaitFor(uint64_t done)
    {
        std::unique_lock<std::mutex> lock{mutex};
        progressed.wait(lock, [&] { return g_done >= std::min(done, operations); });
    }

    template <typename Visit>
    void ForEachChunk(Visit visit)
    {
        for (const Slot& slot : slots) {
            for (const Record& record : slot.held) visit(record);
            for (const Record& record : slot.handed_over) visit(record);
        }
        for (const Record& record : ballast) visit(record);
    }

    /** Checks every byte, every figure and every chunk of the walk, while no thread works. */
    void FullCheck(bool is_child = false)
    {
        uint64_t chunks{0}, bytes{0};
        ForEachChunk([&](const Record& record) {
            Verify(record);
            ++chunks;
            bytes += record.size;
        });
        struct Walked {
            uint64_t used, free, chunks_used, chunks_free;
        } walked{};
        bitcoin_support_locked_pool_walk(
            g_pool, [](void* context, void*, size_t size, bool used) {
                auto& sums{*static_cast<Walked*>(context)};
                (used ? sums.used : sums.free) += size;
                ++(used ? sums.chunks_used : sums.chunks_free);
                return true;
            },
            &walked);
        const auto stats{StatsOf(g_pool)};
        Expect(stats.chunks_used == chunks, "chunks are lost or counted twice", chunks, stats.chunks_used);
        Expect(stats.used >= bytes, "fewer bytes are used than were asked for", bytes, stats.used);
        Expect(stats.used + stats.free == stats.total, "figures do not add up", stats.total, stats.used + stats.free);
        Expect(walked.used == stats.used && walked.chunks_used == stats.chunks_used, "the walk differs from the figures", stats.used, walked.used);
        Expect(walked.free <= stats.free && walked.chunks_free == stats.chunks_free, "the walk differs from the figures", stats.chunks_free, walked.chunks_free);
        Expect(stats.locked <= KernelLockedBytes(), "less is locked than the figures say", stats.locked, KernelLockedBytes());
        if (!is_child) Count(FULL_CHECKS);
    }

    void Count(Kind kind)
    {
        const std::lock_guard<std::mutex> lock{mutex};
        ++total[kind];
    }

    /** Runs body in a child of fork and waits for its end. */
    template <typename Body>
    void InChild(Body body)
    {
        const pid_t child{fork()};
        if (child < 0) Fail("fork failed", 0, static_cast<uint64_t>(errno));
        if (child == 0) {
            body();
            _exit(0);
        }
        int status{0};
        while (waitpid(child, &status, 0) != child) {
        }
        Expect(status == 0, "a child of fork has ended with this status", 0, static_cast<uint64_t>(status));
    }

    /** Forks while other threads work. The child cannot know their chunks, but uses the pool. */
    void ForkWithOwn(const Slot& slot, Counts& counts)
    {
        InChild([&] {
            Counts of_child{};
            LookAtStatistics(slot, of_child);
            for (const Record& record : slot.held) Free(record);
            Random random{g_seed};
            std::array<Record, 50> records;
            size_t made{0};
            for (size_t i{0}; i < records.size(); ++i) made += Allocate(random, 1 + i * 97, 0, records[made]);
            for (size_t i{0}; i < made; ++i) Free(records[i]);
        });
        ++counts[FORKS];
    }

    /** Forks while no thread works. The child frees everything, and its figures are exact. */
    void ForkWithAll()
    {
        InChild([&] {
            FullCheck(true);
            ForEachChunk([&](const Record& record) { Free(record); });
            const auto stats{StatsOf(g_pool)};
            Expect(stats.used == 0 && stats.chunks_used == 0, "a child's figures are not those of an empty pool", 0, stats.used);
        });
        FullCheck();
        Count(FORKS);
    }

    /** From now on no more memory can be locked. */
    void LockNoMore(bool refuse)
    {
        rlimit lower{limit};
        lower.rlim_cur = std::min<rlim_t>(limit.rlim_cur, StatsOf(g_pool).locked);
        if (setrlimit(RLIMIT_MEMLOCK, &lower) != 0) Fail("setrlimit failed", lower.rlim_cur, static_cast<uint64_t>(errno));
        if (refuse) bitcoin_support_locked_pool_set_locking_failed(
            g_pool, [](void*, int, size_t) { return false; }, nullptr);
    }

    /** Takes all memory in chunks of all sizes; only a part of it where the limit is very high. */
    void FillUp()
    {
        bool ran_dry{false};
        for (const size_t size : {size_t{65536}, size_t{4000}, size_t{1000}, size_t{48}, size_t{16}}) {
            ran_dry = false;
            for (size_t i{0}; i < 12000 && !ran_dry && (size <= 1000 || i < 300); ++i) {
                Record record;
                ran_dry = !Allocate(coordinator, size, 0, record);
                if (!ran_dry) ballast.push_back(record);
            }
        }
        if (ran_dry) Count(EXHAUSTIONS);
    }

    void Relieve()
    {
        for (const Record& record : ballast) Free(record);
        ballast.clear();
        if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0) Fail("setrlimit failed", limit.rlim_cur, static_cast<uint64_t>(errno));
        bitcoin_support_locked_pool_set_locking_failed(g_pool, nullptr, nullptr);
    }

    /** Takes all memory. After the frees, chunks of any size can be allocated. */
    void RunDry()
    {
        LockNoMore(true);
        FillUp();
        FullCheck();
        FreeTwice();
        Relieve();
        FullCheck();
        Record record;
        Expect(Allocate(coordinator, 100000, 0, record), "there is no memory when there should be");
        Free(record);
    }

    /** Without a callback unlocked memory is used, and the figures show it. */
    void DoWithUnlocked()
    {
        LockNoMore(false);
        for (size_t i{0}; i < 60; ++i) {
            Record record;
            Expect(Allocate(coordinator, 1 + coordinator.Below(BITCOIN_SUPPORT_ARENA_SIZE), 0, record), "unlocked memory is refused, although there is no callback");
            ballast.push_back(record);
        }
        const auto stats{StatsOf(g_pool)};
        Expect(stats.locked == stats.total || stats.lock_failures > 0, "unlocked memory is used in silence", stats.total, stats.locked);
        FullCheck();
        Relieve();
    }

    /** Frees chunks twice while no other thread works, so no other thread can have been given the chunk. */
    void FreeTwice()
    {
        for (size_t i{0}; i < 100 && !ballast.empty(); ++i) {
            const Record record{ballast.back()};
            ballast.pop_back();
            Free(record);
            const auto status{bitcoin_support_locked_pool_free(g_pool, record.address)};
            Expect(status == BITCOIN_SUPPORT_INVALID_FREE, "a double free is not refused", BITCOIN_SUPPORT_INVALID_FREE, status);
            Count(REFUSED_FREES);
        }
    }

    /** Makes the mistake that must be reported. */
    void DoWrong()
    {
        Record record;
        switch (breaks) {
        case Break::NOTHING: return;
        case Break::BYTE:
            for (const Slot& slot : slots) {
                if (slot.held.empty()) continue;
                const Record& victim{slot.held[coordinator.Below(slot.held.size())]};
                victim.address[coordinator.Below(victim.size)] ^= 4;
                return;
            }
            Fail("there is nothing to break");
        case Break::FREE:
            // The record of this chunk is dropped.
            Expect(Allocate(coordinator, 100, 0, record), "no memory");
            return;
        case Break::WIPE:
            Expect(Allocate(coordinator, 32, 0, record), "no memory");
            Free(record);
            record.address[7] = 1;
            // The chunk comes back at the latest when all free memory has been handed out.
            for (size_t i{StatsOf(g_pool).free / 32 + 10000}; i > 0; --i) {
                Expect(Allocate(coordinator, 32, 0, record), "no memory");
                ballast.push_back(record);
            }
            Fail("the chunk does not come back");
        }
    }

    void Print(bool wanted)
    {
        if (!wanted) return;
        const std::lock_guard<std::mutex> lock{mutex};
        const auto stats{StatsOf(g_pool)};
        std::printf("%llu of %llu operations:", static_cast<unsigned long long>(g_done), static_cast<unsigned long long>(operations));
        for (size_t kind{0}; kind < KINDS; ++kind) std::printf(" %llu %s,", static_cast<unsigned long long>(total[kind]), NAMES[kind]);
        std::printf(" %zu bytes used of %zu, %zu locked\n", stats.used, stats.total, stats.locked);
        std::fflush(stdout);
    }

    void End()
    {
        for (Slot& slot : slots) {
            for (const auto chunks : {&slot.held, &slot.handed_over}) {
                for (const Record& record : *chunks) Free(record);
                total[FREED] += chunks->size();
                chunks->clear();
            }
        }
        FullCheck();
        const auto stats{StatsOf(g_pool)};
        Expect(stats.used == 0 && stats.chunks_used == 0 && stats.free == stats.total, "the pool is not empty in the end", 0, stats.used);
        Expect(total[ALLOCATED] == total[FREED], "not all that was allocated has been freed", total[ALLOCATED], total[FREED]);
        Print(true);
        std::printf("nothing wrong in %llu operations: used 0, chunks used 0, free %zu = total %zu, locked %zu, arenas %zu, peak %zu, lock failures %zu\n",
                    static_cast<unsigned long long>(g_done), stats.free, stats.total, stats.locked, stats.arenas, stats.peak_used, stats.lock_failures);
    }

    /** Reads the kernel's figure without memory of the heap, which is not safe in a child of fork. */
    static size_t KernelLockedBytes()
    {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
        return SIZE_MAX; // they make mlock do nothing
#else
        static const bool is_checked{std::getenv("BITCOIN_SUPPORT_UNDER_VALGRIND") == nullptr};
        if (!is_checked) return SIZE_MAX;
        char text[4096];
        const int file{open("/proc/self/status", O_RDONLY | O_CLOEXEC)};
        const ssize_t length{file < 0 ? -1 : read(file, text, sizeof(text) - 1)};
        if (length < 0) Fail("/proc/self/status cannot be read");
        close(file);
        text[length] = 0;
        const char* const line{std::strstr(text, "VmLck:")};
        return line ? std::strtoul(line + 6, nullptr, 10) * 1024 : SIZE_MAX;
#endif
    }
};

/** Processes of root lock memory without a limit, unless they give up that privilege. */
void GiveUpLockingWithoutLimit()
{
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3]{};
    if (syscall(SYS_capget, &header, sets) != 0) return;
    constexpr uint32_t IPC_LOCK{1U << CAP_IPC_LOCK};
    for (auto* set : {&sets[0].effective, &sets[0].permitted, &sets[0].inheritable}) *set &= ~IPC_LOCK;
    if (syscall(SYS_capset, &header, sets) != 0) std::printf("the limit on locked memory does not bind this process\n");
}

void Run(uint64_t operations, size_t threads, Break breaks)
{
    GiveUpLockingWithoutLimit();
    g_pool = bitcoin_support_locked_pool_instance();
    LongRun{operations, threads, breaks}.Run();
}

/** Makes each mistake by its name. Checks that each is reported. */
int Control(uint64_t operations, size_t threads)
{
    struct Mistake {
        Break breaks;
        const char* name;
        const char* report;
    };
    int missed{0};
    for (const Mistake& mistake : {Mistake{Break::BYTE, "a changed byte", "a chunk has changed"},
                                   Mistake{Break::FREE, "a dropped free", "chunks are lost or counted twice"},
                                   Mistake{Break::WIPE, "a missing wipe", "a chunk is handed out that is not wiped"}}) {
        int ends[2];
        if (pipe(ends) != 0) return 2;
        std::fflush(nullptr);
        const pid_t child{fork()};
        if (child < 0) return 2;
        if (child == 0) {
            dup2(ends[1], STDERR_FILENO);
            close(ends[0]);
            if (!std::freopen("/dev/null", "w", stdout)) _exit(2);
            Run(operations, threads, mistake.breaks);
            _exit(0);
        }
        close(ends[1]);
        std::string said;
        char text[512];
        for (ssize_t length; (length = read(ends[0], text, sizeof(text))) > 0;) said.append(text, static_cast<size_t>(length));
        close(ends[0]);
        int status{0};
        while (waitpid(child, &status, 0) != child) {
        }
        // AddressSanitizer, which knows the free chunks, reports the write after the free itself.
        const bool found{WIFEXITED(status) && WEXITSTATUS(status) == 1 &&
                         (said.find(mistake.report) != std::string::npos || said.find("use-after-poison") != std::string::npos)};
        std::printf("%s: %s: %s", found ? "found" : "NOT FOUND", mistake.name, said.empty() ? "nothing said\n" : said.c_str());
        missed += !found;
    }
    return missed == 0 ? 0 : 1;
}

} // namespace

int main(int argc, char** argv)
{
    uint64_t numbers[]{2000000, 1, 2};
    size_t given{0};
    Break breaks{Break::NOTHING};
    bool control{false};
    for (int i{1}; i < argc; ++i) {
        const std::string argument{argv[i]};
        char* end{nullptr};
        const uint64_t number{std::strtoull(argv[i], &end, 10)};
        if (argument == "--control") {
            control = true;
        } else if (argument == "--break=byte") {
            breaks = Break::BYTE;
        } else if (argument == "--break=free") {
            breaks = Break::FREE;
        } else if (argument == "--break=wipe") {
            breaks = Break::WIPE;
        } else if (given < 3 && end != argv[i] && *end == 0 && number > 0) {
            numbers[given++] = number;
        } else {
            std::fprintf(stderr, "usage: long_run [--control | --break=byte|free|wipe] [operations [seed [threads]]]\n");
            return 2;
        }
    }
    g_seed = numbers[1];
    const auto threads{static_cast<size_t>(numbers[2])};
    if (control) return Control(numbers[0], threads);
    Run(numbers[0], threads, breaks);
    return 0;
}
