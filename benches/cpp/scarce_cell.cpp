// One cell of scarce_bench: one pattern of allocations in one process under one limit on locked memory.
// Prints the kernel's figures at the points of the pattern.
//
//   scarce_cell [--seed N] LIMIT THREADS PATTERN [ARGUMENT...]
//
// LIMIT is in bytes, or "none". With another seed (0 if not given), random decisions of the pattern are others. The
// source is built twice: scarce_cell uses bitcoin-support, scarce_cell_core uses Core's own pool (with
// BITCOIN_SUPPORT_BENCH_CORE). Both do the same operations in the same order: one thread works while all others wait,
// and no decision depends on the pool's answers. ("rush" is the exception: there all threads work at once.)
//
// Prints for each point of the pattern:
//   mark LABEL active=N live=BYTES chunks=N unlocked=BYTES vmlck=BYTES failed=N total=BYTES locked=BYTES wrong=TEXT
// `live` and `unlocked` are bytes that the program asked for and has not freed; a byte is unlocked when the
// kernel's mapping that it lies in has no flag `lo` in /proc/self/smaps. `active` is the number of threads that have
// called the pool since the phase began that the mark ends. `total` and `locked` are the pool's own statistics, and
// `wrong` says where they differ from the kernel's figures, or "-". Patterns that measure something else also print
//   value NAME NUMBER

#ifdef BITCOIN_SUPPORT_BENCH_CORE
#include "core_reference.h"
#else
#include <support/lockedpool.h>
#endif

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <linux/capability.h>
#include <memory>
#include <mutex>
#include <pthread.h>
#include <random>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>
#include <vector>

// ---- The limit -------------------------------------------------------------------

namespace {

/** The limit that getrlimit returns and mlock obeys when the process enforces the limit itself, in place of the
 *  kernel; 0 if it does not. */
size_t stood_in_limit{0};

size_t VmLck()
{
    std::FILE* const file{std::fopen("/proc/self/status", "r")};
    size_t kilobytes{0};
    for (char line[256]; file && std::fgets(line, sizeof line, file);) {
        if (std::strncmp(line, "VmLck:", 6) == 0) kilobytes = std::strtoul(line + 6, nullptr, 10);
    }
    if (file) std::fclose(file);
    return kilobytes * 1024;
}

/** Whether the limit that the process enforces leaves room to lock so many bytes more. */
bool LeavesRoom(size_t len)
{
    if (stood_in_limit == 0 || stood_in_limit == SIZE_MAX) return true;
    const size_t page{static_cast<size_t>(sysconf(_SC_PAGESIZE))};
    return VmLck() + (len + page - 1) / page * page <= stood_in_limit;
}

} // namespace

// The linker puts these functions before the system's (--wrap).
extern "C" {
int __real_getrlimit(int resource, rlimit* limit);
int __real_mlock(const void* addr, size_t len);
int __real_mlock2(const void* addr, size_t len, int flags);
long __real_syscall(long number, ...);

int __wrap_getrlimit(int resource, rlimit* limit)
{
    const int result{__real_getrlimit(resource, limit)};
    if (result == 0 && resource == RLIMIT_MEMLOCK && stood_in_limit != 0) {
        limit->rlim_cur = limit->rlim_max = stood_in_limit == SIZE_MAX ? RLIM_INFINITY : stood_in_limit;
    }
    return result;
}

int __wrap_mlock(const void* addr, size_t len)
{
    if (LeavesRoom(len)) return __real_mlock(addr, len);
    errno = ENOMEM;
    return -1;
}

int __wrap_mlock2(const void* addr, size_t len, int flags)
{
    if (LeavesRoom(len)) return __real_mlock2(addr, len, flags);
    errno = ENOMEM;
    return -1;
}

long __wrap_syscall(long number, ...)
{
    va_list arguments;
    va_start(arguments, number);
    long argument[6];
    for (long& each : argument) each = va_arg(arguments, long);
    va_end(arguments);
    if (number == SYS_mlock2 && !LeavesRoom(static_cast<size_t>(argument[1]))) {
        errno = ENOMEM;
        return -1;
    }
    if (number == SYS_capget) {
        // The program enforces the limit and keeps this capability. The pool must not see it.
        errno = EPERM;
        return -1;
    }
    return __real_syscall(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
}
} // extern "C"

namespace {

// ---- The pool that is measured ---------------------------------------------------

struct Figures {
    size_t used, free, total, locked, chunks_used;
};

#ifdef BITCOIN_SUPPORT_BENCH_CORE
constexpr bool OURS{false};
void* PoolAlloc(size_t size) { return core_reference::ManagerAlloc(size); }
void PoolFree(void* chunk) { core_reference::ManagerFree(chunk); }
void Cleanse(void* chunk, size_t size) { core_reference::MemoryCleanse(chunk, size); }
Figures PoolFigures()
{
    const auto s{core_reference::ManagerGetStats()};
    return {s.used, s.free, s.total, s.locked, s.chunks_used};
}
#else
constexpr bool OURS{true};
void* PoolAlloc(size_t size) { return LockedPoolManager::Instance().alloc(size); }
void PoolFree(void* chunk) { LockedPoolManager::Instance().free(chunk); }
void Cleanse(void*, size_t) {} // the pool wipes what is freed
Figures PoolFigures()
{
    const auto s{LockedPoolManager::Instance().stats()};
    return {s.used, s.free, s.total, s.locked, s.chunks_used};
}
#endif

// ---- Threads that work on request -------------------------------------------------

/** Ends a cell that cannot be measured on this system. */
[[noreturn]] void Skip(const char* format, const std::string& why)
{
    std::printf("skipped: ");
    std::printf(format, why.c_str());
    std::printf("\n");
    std::exit(EXIT_SUCCESS);
}

/** A thread with a small stack that runs the functions it is given, and waits in between. */
class Worker
{
public:
    Worker()
    {
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, 64 * 1024);
        const int error{pthread_create(&thread, &attributes, &Run, this)};
        pthread_attr_destroy(&attributes);
        if (error != 0) Skip("no more threads: %s", std::strerror(error));
    }
    ~Worker()
    {
        {
            const std::lock_guard<std::mutex> lock{mutex};
            ends = true;
        }
        changed.notify_all();
        pthread_join(thread, nullptr);
    }
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    void Start(const std::function<void()>& work_in)
    {
        const std::lock_guard<std::mutex> lock{mutex};
        work = &work_in;
        changed.notify_all();
    }
    void Wait()
    {
        std::unique_lock<std::mutex> lock{mutex};
        changed.wait(lock, [this] { return !work; });
    }

private:
    pthread_t thread{};
    std::mutex mutex;
    std::condition_variable changed;
    const std::function<void()>* work{nullptr};
    bool ends{false};

    static void* Run(void* self)
    {
        auto& worker{*static_cast<Worker*>(self)};
        std::unique_lock<std::mutex> lock{worker.mutex};
        for (;;) {
            worker.changed.wait(lock, [&] { return worker.work || worker.ends; });
            if (!worker.work) return nullptr;
            lock.unlock();
            (*worker.work)();
            lock.lock();
            worker.work = nullptr;
            worker.changed.notify_all();
        }
    }
};

// ---- A cell ------------------------------------------------------------------------

struct Chunk {
    /** Null if the allocation failed. The record stays, so that both pools get the same operations. */
    unsigned char* bytes;
    size_t size;
};

/** The data of one thread. No other thread touches it at the same time. */
struct Lane {
    std::vector<Chunk> chunks;
    size_t failed{0};
    /** Has called the pool in this phase. */
    bool active{false};
    std::mt19937_64 random;
};

size_t Granules(size_t size) { return (size + 15) / 16 * 16; }

using Ranges = std::vector<std::pair<uintptr_t, uintptr_t>>;

/** The locked mappings of this process in the order of their addresses, with neighbours merged. */
Ranges LockedRanges()
{
    Ranges ranges;
    std::FILE* const smaps{std::fopen("/proc/self/smaps", "r")};
    if (!smaps) {
        std::perror("/proc/self/smaps");
        std::exit(EXIT_FAILURE);
    }
    unsigned long begin{0}, end{0};
    bool flags_seen{false};
    for (char line[4200]; std::fgets(line, sizeof line, smaps);) {
        unsigned long first, last;
        if (std::sscanf(line, "%lx-%lx ", &first, &last) == 2) {
            begin = first;
            end = last;
        } else if (std::strncmp(line, "VmFlags:", 8) == 0) {
            flags_seen = true;
            if (!std::strstr(line + 8, " lo")) continue;
            if (!ranges.empty() && ranges.back().second == begin) {
                ranges.back().second = end;
            } else {
                ranges.emplace_back(begin, end);
            }
        }
    }
    std::fclose(smaps);
    if (!flags_seen) Skip("%s", "this kernel's /proc/self/smaps has no VmFlags");
    return ranges;
}

class Cell
{
public:
    Cell(size_t limit_in, size_t threads, size_t seed) : limit{limit_in}, random{20 + 1000 * seed}
    {
        for (size_t i{0}; i < threads; ++i) {
            workers.push_back(std::make_unique<Worker>());
            lanes.emplace_back();
            lanes.back().random.seed(1000 * seed + i + 1);
        }
    }

    /** The number of bytes to which percentages relate. */
    size_t Budget(size_t unlimited = 4 << 20) const { return limit == SIZE_MAX ? unlimited : limit; }
    size_t Threads() const { return lanes.size(); }
    /** Bytes that were asked for and not freed, in granules of 16, also those that the pool did not have. */
    size_t Level() const { return level; }
    Lane& LaneOf(size_t thread) { return lanes[thread]; }
    /** A random number for decisions of the pattern. It is the same on both pools. */
    size_t Below(size_t bound) { return static_cast<size_t>(random() % bound); }

    /** Runs work on one thread, while all others wait. */
    void On(size_t thread, const std::function<void()>& work)
    {
        workers[thread]->Start(work);
        workers[thread]->Wait();
    }

    /** Runs work on all threads at the same time. A thread uses only Take and Give of its lane, and no Level. */
    void OnAll(const std::function<void(size_t)>& work)
    {
        std::vector<std::function<void()>> each;
        for (size_t i{0}; i < Threads(); ++i) each.emplace_back([&work, i] { work(i); });
        for (size_t i{0}; i < Threads(); ++i) workers[i]->Start(each[i]);
        for (size_t i{0}; i < Threads(); ++i) workers[i]->Wait();
    }

    /** Ends all threads and starts as many others, which take over the live chunks. */
    void NewThreads()
    {
        for (auto& worker : workers) worker.reset();
        for (auto& worker : workers) worker = std::make_unique<Worker>();
    }

    /** Runs on `thread`: one allocation. With `counts` it changes the level, which only one thread at a time may do. */
    Chunk Allocate(size_t thread, size_t size, bool counts = true)
    {
        Lane& lane{lanes[thread]};
        lane.active = true;
        auto* const bytes{static_cast<unsigned char*>(PoolAlloc(size))};
        if (!bytes) {
            ++lane.failed;
        } else if (touches) {
            std::memset(bytes, 0x5a, size);
        }
        if (counts) level += Granules(size);
        return {bytes, size};
    }

    /** Runs on `thread`: one free. */
    void Free(size_t thread, const Chunk& chunk, bool counts = true)
    {
        lanes[thread].active = true;
        if (chunk.bytes) {
            Cleanse(chunk.bytes, chunk.size);
            PoolFree(chunk.bytes);
        }
        if (counts) level -= Granules(chunk.size);
    }

    /** Runs on `thread`, whose lane gets the chunk. */
    void Take(size_t thread, size_t size, bool counts = true) { lanes[thread].chunks.push_back(Allocate(thread, size, counts)); }

    /** Runs on `thread`: frees the chunk of `owner` at the index. The last chunk moves to the index. */
    void Give(size_t thread, size_t owner, size_t index, bool counts = true)
    {
        std::vector<Chunk>& chunks{lanes[owner].chunks};
        const Chunk chunk{chunks[index]};
        chunks[index] = chunks.back();
        chunks.pop_back();
        Free(thread, chunk, counts);
    }

    /** Chunks of no particular thread. */
    std::deque<Chunk> strings, buffers;

    /** Begins a phase: no thread counts as active until it calls the pool. */
    void BeginPhase()
    {
        for (Lane& lane : lanes) lane.active = false;
    }

    /** The threads from `first` to before `last` take turns until so many bytes are live. */
    void Fill(size_t target, size_t first, size_t last, const std::function<size_t(std::mt19937_64&)>& size)
    {
        // About eight turns for each thread.
        const size_t turn_bytes{(target - std::min(target, level)) / ((last - first) * 8)};
        for (size_t turn{0}; level < target; ++turn) {
            const size_t thread{first + turn % (last - first)};
            const size_t end{std::min(target, level + turn_bytes + 1)};
            On(thread, [&] {
                while (level < end) Take(thread, size(lanes[thread].random));
            });
        }
    }

    void DoNotTouch() { touches = false; }
    void SabotageAll() { sabotage = true; }

    /** Compares all figures, and prints a line. */
    void Mark(const std::string& label)
    {
        if (sabotage) Sabotage();
        failed_by_sabotage += sabotage;
        // The statistics come first. If asking for them changes the locked memory, which it must not, the
        // figures show that.
        const Figures figures{PoolFigures()};
        const Ranges ranges{LockedRanges()};
        const size_t vmlck{VmLck()};
        size_t live{0}, chunks{0}, locked{0}, failed{0}, active{0}, granules{0};
        const auto look{[&](const Chunk& chunk) {
            if (!chunk.bytes) return;
            live += chunk.size;
            granules += Granules(chunk.size);
            ++chunks;
            const auto begin{reinterpret_cast<uintptr_t>(chunk.bytes)}, end{begin + chunk.size};
            auto range{std::upper_bound(ranges.begin(), ranges.end(), begin,
                                        [](uintptr_t address, const auto& r) { return address < r.second; })};
            for (; range != ranges.end() && range->first < end; ++range) {
                locked += std::min(end, range->second) - std::max(begin, range->first);
            }
        }};
        for (const Lane& lane : lanes) {
            failed += lane.failed;
            active += lane.active;
            for (const Chunk& chunk : lane.chunks) look(chunk);
        }
        for (const Chunk& chunk : strings) look(chunk);
        for (const Chunk& chunk : buffers) look(chunk);
        failed += failed_by_sabotage;

        std::string wrong;
        const auto expect{[&wrong](bool holds, const char* what) {
            if (!holds) wrong += std::string{wrong.empty() ? "" : ","} + what;
        }};
        size_t in_ranges{0};
        for (const auto& range : ranges) in_ranges += range.second - range.first;
        expect(in_ranges == vmlck, "smaps_is_not_VmLck");
        if (OURS) {
            expect(figures.locked == vmlck, "locked_is_not_VmLck");
            expect(figures.chunks_used == chunks, "chunks_used");
            expect(figures.used + figures.free == figures.total, "used+free_is_not_total");
            expect(figures.used >= granules && figures.locked <= figures.total, "used_or_locked");
        }
        std::printf("mark %s active=%zu live=%zu chunks=%zu unlocked=%zu vmlck=%zu failed=%zu total=%zu locked=%zu wrong=%s\n",
                    label.c_str(), active, live, chunks, live - locked, vmlck, failed, figures.total, figures.locked,
                    wrong.empty() ? "-" : wrong.c_str());
        std::fflush(stdout);
    }

private:
    const size_t limit;
    std::vector<std::unique_ptr<Worker>> workers;
    std::vector<Lane> lanes;
    size_t level{0};
    bool touches{true};
    std::mt19937_64 random;

    // The changes that the benchmark's control makes without the pool's knowledge.
    bool sabotage{false};
    size_t failed_by_sabotage{0};

    void Sabotage()
    {
        const uintptr_t page{static_cast<uintptr_t>(sysconf(_SC_PAGESIZE))};
        for (Lane& lane : lanes) {
            for (const Chunk& chunk : lane.chunks) {
                if (!chunk.bytes) continue;
                munlock(reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(chunk.bytes) & ~(page - 1)), page);
            }
        }
        const size_t size{limit == SIZE_MAX ? size_t{64} << 20 : limit - std::min(limit, VmLck())};
        if (size == 0) return;
        void* const pages{mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)};
        if (pages != MAP_FAILED) __real_mlock2(pages, size, MLOCK_ONFAULT);
    }
};

// ---- Patterns ----------------------------------------------------------------------

using Sizes = std::function<size_t(std::mt19937_64&)>;

Sizes Always(size_t size)
{
    return [size](std::mt19937_64&) { return size; };
}
Sizes UpTo(size_t most)
{
    return [most](std::mt19937_64& random) { return static_cast<size_t>(1 + random() % most); };
}

/** Sizes from 16 to 4096: at first every multiple of 16, then eight for each doubling. A pool with size
 *  classes rounds each of them. */
std::vector<size_t> Classes()
{
    std::vector<size_t> sizes;
    for (size_t size{16}; size <= 256; size += 16) sizes.push_back(size);
    for (size_t power{256}; power < 4096; power *= 2) {
        for (size_t eighth{1}; eighth <= 8; ++eighth) sizes.push_back(power + power / 8 * eighth);
    }
    return sizes;
}

/** The sizes of a name. "random256": 1 to 256 bytes; "64": 64 bytes; "classes": one of Classes() each time. */
Sizes SizesOf(const std::string& name)
{
    if (name.compare(0, 6, "random") == 0) return UpTo(std::strtoul(name.c_str() + 6, nullptr, 10));
    if (name == "classes") {
        return [sizes = Classes()](std::mt19937_64& random) { return sizes[random() % sizes.size()]; };
    }
    return Always(std::strtoul(name.c_str(), nullptr, 10));
}

/** Percentages of the limit at which a fill prints its figures. */
std::vector<size_t> Points(size_t limit) { return limit == SIZE_MAX ? std::vector<size_t>{25, 100} : std::vector<size_t>{50, 90, 98, 110}; }

std::string Percent(size_t percent) { return std::to_string(percent) + "%"; }

/** Chunks of one size, until there are more live bytes than can be locked. */
void One(Cell& cell, size_t limit, size_t size)
{
    const size_t budget{cell.Budget(std::max<size_t>(4 << 20, 16 * size))};
    for (const size_t percent : Points(limit)) {
        cell.Fill(budget / 100 * percent, 0, cell.Threads(), Always(size));
        cell.Mark(Percent(percent));
    }
}

/** One chunk of each size for each thread: thread after thread, or one size after the other for all threads.
 *  Repeats until there are more live bytes than can be locked. */
void OneOfEach(Cell& cell, size_t limit, const std::string& order)
{
    std::vector<size_t> sizes{Classes()};
    if (order == "descending") std::reverse(sizes.begin(), sizes.end());
    const size_t budget{cell.Budget(std::max<size_t>(4 << 20, cell.Threads() * 56 * 1024))};
    std::vector<size_t> points{Points(limit)};
    const auto step{[&](size_t thread, size_t begin, size_t end) {
        // Continues to the next point without a pause.
        while (begin < end && !points.empty()) {
            const size_t target{budget / 100 * points.front()};
            cell.On(thread, [&] {
                while (begin < end && cell.Level() < target) cell.Take(thread, sizes[begin++]);
            });
            if (cell.Level() >= target) {
                cell.Mark(Percent(points.front()));
                points.erase(points.begin());
            }
        }
    }};
    for (bool first{true}; !points.empty(); first = false) {
        if (order == "interleaved") {
            for (size_t i{0}; i < sizes.size(); ++i) {
                for (size_t thread{0}; thread < cell.Threads(); ++thread) step(thread, i, i + 1);
            }
        } else {
            for (size_t thread{0}; thread < cell.Threads(); ++thread) step(thread, 0, sizes.size());
        }
        if (first && !points.empty()) cell.Mark("each");
    }
}

/** One thread makes one free, and then allocations up to the level. An eighth of the frees are of another thread's
 *  chunk. */
void Replace(Cell& cell, size_t thread, size_t target, const Sizes& sizes)
{
    if (cell.Level() >= target) {
        size_t owner{thread};
        if (cell.Below(8) == 0) owner = cell.Below(cell.Threads());
        for (size_t i{0}; i < cell.Threads() && cell.LaneOf(owner).chunks.empty(); ++i) owner = (owner + 1) % cell.Threads();
        cell.Give(thread, owner, cell.Below(cell.LaneOf(owner).chunks.size()));
    }
    while (cell.Level() < target) cell.Take(thread, sizes(cell.LaneOf(thread).random));
}

size_t ChunksInAll(Cell& cell)
{
    size_t chunks{0};
    for (size_t i{0}; i < cell.Threads(); ++i) chunks += cell.LaneOf(i).chunks.size();
    return chunks;
}

/** Fills with random sizes up to a level, then replaces chunks at random at that level. */
void Churn(Cell& cell, const std::string& sizes_name, size_t percent)
{
    const Sizes sizes{SizesOf(sizes_name)};
    const size_t target{cell.Budget() / 100 * percent};
    cell.Fill(target, 0, cell.Threads(), sizes);
    cell.Mark("filled");
    const size_t operations{std::clamp<size_t>(ChunksInAll(cell), 2000, 20000)};
    for (const char* const label : {"churned", "churned_on"}) {
        cell.BeginPhase();
        for (size_t done{0}; done < operations;) {
            const size_t thread{cell.Below(cell.Threads())};
            cell.On(thread, [&] {
                for (size_t i{0}; i < 16; ++i, ++done) Replace(cell, thread, target, sizes);
            });
        }
        cell.Mark(label);
    }
}

/** Like Churn, with all threads at work at once. Each thread keeps its level. */
void Rush(Cell& cell, const std::string& sizes_name, size_t percent)
{
    const Sizes sizes{SizesOf(sizes_name)};
    const size_t target{cell.Budget() / 100 * percent / cell.Threads()};
    const size_t operations{std::clamp<size_t>(8000 / cell.Threads(), 40, 4000)};
    for (const char* const label : {"rushed", "rushed_on"}) {
        cell.BeginPhase();
        cell.OnAll([&](size_t thread) {
            Lane& lane{cell.LaneOf(thread)};
            size_t mine{0};
            for (const Chunk& chunk : lane.chunks) mine += Granules(chunk.size);
            for (size_t i{0}; i < operations || mine < target; ++i) {
                while (mine >= target && !lane.chunks.empty()) {
                    const size_t index{lane.random() % lane.chunks.size()};
                    mine -= Granules(lane.chunks[index].size);
                    cell.Give(thread, thread, index, false);
                }
                const size_t size{sizes(lane.random)};
                mine += Granules(size);
                cell.Take(thread, size, false);
            }
        });
        cell.Mark(label);
    }
}

/** Imitates a wallet: many long-lived keys of 32 to 300 bytes, strings of up to 4 KiB that live for a few operations,
 *  and sometimes a large buffer, which another thread may free. */
void Wallet(Cell& cell, size_t percent)
{
    const size_t budget{cell.Budget()};
    const size_t target{budget / 100 * percent};
    const size_t keys{target / 100 * 75};
    cell.Fill(keys, 0, cell.Threads(), [](std::mt19937_64& random) { return 32 + random() % 269; });
    cell.Mark("keys");
    cell.BeginPhase();

    const size_t largest{std::min<size_t>(200 * 1024, target / 10)};
    const size_t turns{std::clamp<size_t>(ChunksInAll(cell) / 4, 500, 3000)};
    const auto operation{[&](size_t thread) {
        // Frees chunks above the level, short-lived ones first.
        while (cell.Level() >= target && !(cell.strings.empty() && cell.buffers.empty())) {
            std::deque<Chunk>& queue{cell.strings.empty() ? cell.buffers : cell.strings};
            const Chunk oldest{queue.front()};
            queue.pop_front();
            cell.Free(thread, oldest);
        }
        const size_t choice{cell.Below(64)};
        if (choice == 0 && largest > 4096) {
            cell.buffers.push_back(cell.Allocate(thread, 4096 + cell.Below(largest - 4096)));
        } else if (choice < 48) {
            const size_t most{cell.Below(4) == 0 ? size_t{4096} : size_t{256}};
            cell.strings.push_back(cell.Allocate(thread, 1 + cell.Below(most)));
        } else if (const size_t keys_here{cell.LaneOf(thread).chunks.size()}) {
            cell.Give(thread, thread, cell.Below(keys_here));
            cell.Take(thread, 32 + cell.Below(269));
        }
    }};
    for (size_t turn{0}; turn < turns; ++turn) {
        const size_t thread{cell.Below(cell.Threads())};
        cell.On(thread, [&] {
            for (size_t i{0}; i < 8; ++i) operation(thread);
        });
        if (turn + 1 == turns / 2) cell.Mark("in_use");
    }
    cell.Mark("in_use_on");
}

/** All threads fill the limit with one population, all but a few per cent of it is freed, and another population
 *  follows. `who` frees: "own" (each thread frees its own chunks), "other" threads, or "ended" (like own; then all
 *  threads end). `next` allocates then: "all" threads, or "one" while the others are idle. */
void Burst(Cell& cell, size_t limit, const std::string& before, const std::string& after, const std::string& who, const std::string& next)
{
    const size_t budget{cell.Budget()};
    cell.Fill(budget / 100 * 95, 0, cell.Threads(), SizesOf(before));
    cell.Mark("burst");
    for (size_t owner{0}; owner < cell.Threads(); ++owner) {
        const size_t thread{who == "other" ? (owner + 1) % cell.Threads() : owner};
        cell.On(thread, [&] {
            std::vector<Chunk>& chunks{cell.LaneOf(owner).chunks};
            // Every 31st chunk stays, spread over all chunks of the thread.
            std::vector<Chunk> stay;
            for (size_t i{31}; i < chunks.size(); i += 31) {
                stay.push_back(chunks[i]);
                chunks[i] = chunks.back();
                chunks.pop_back();
            }
            while (!chunks.empty()) cell.Give(thread, owner, cell.Below(chunks.size()));
            chunks = stay;
        });
    }
    if (who == "ended") cell.NewThreads();
    cell.Mark("freed");
    cell.BeginPhase();
    const size_t last{next == "one" ? 1 : cell.Threads()};
    for (const size_t percent : Points(limit)) {
        cell.Fill(budget / 100 * percent, 0, last, SizesOf(after));
        cell.Mark("next_" + Percent(percent));
    }
}

/** A number of chunks of one size. */
void Packing(Cell& cell, size_t size, size_t count)
{
    cell.DoNotTouch();
    cell.On(0, [&] {
        for (size_t i{0}; i < count; ++i) cell.Take(0, size);
    });
    cell.Mark("packed");
}

void Value(const std::string& name, double value)
{
    std::printf("value %s %.6g\n", name.c_str(), value);
    std::fflush(stdout);
}

#ifndef BITCOIN_SUPPORT_BENCH_CORE
/** Whether the kernel says that the whole range is locked. */
bool IsLocked(const void* address, size_t size)
{
    const auto begin{reinterpret_cast<uintptr_t>(address)};
    for (const auto& range : LockedRanges()) {
        if (range.first <= begin && begin + size <= range.second) return true;
    }
    return false;
}
#endif

/** Memory that was used and is free again. All threads had chunks, which they or ("other") other threads freed. Under
 *  a limit, the next user of locked memory must get it. Without a limit, one thread does some more operations while
 *  all others idle, and little memory may be locked afterwards. */
void Hoard(Cell& cell, size_t limit, const std::string& who)
{
    const size_t budget{limit == SIZE_MAX ? cell.Threads() << 20 : limit / 100 * 95};
    cell.Fill(budget, 0, cell.Threads(), UpTo(4096));
    cell.Mark("burst");
    for (size_t owner{0}; owner < cell.Threads(); ++owner) {
        const size_t thread{who == "other" ? (owner + 1) % cell.Threads() : owner};
        cell.On(thread, [&] {
            while (const size_t chunks{cell.LaneOf(owner).chunks.size()}) cell.Give(thread, owner, cell.Below(chunks));
        });
    }
    cell.Mark("freed");
    cell.BeginPhase();
    if (limit == SIZE_MAX) {
        cell.On(0, [&] {
            for (size_t round{0}; round < 200; ++round) {
                for (size_t i{0}; i < 64; ++i) cell.Take(0, 1 + cell.Below(i % 16 == 0 ? 16384 : 4096));
                while (const size_t chunks{cell.LaneOf(0).chunks.size()}) cell.Give(0, 0, chunks - 1);
            }
        });
        cell.Mark("later");
        return;
    }
#ifndef BITCOIN_SUPPORT_BENCH_CORE
    cell.On(0, [&] {
        constexpr size_t SIZE{300 * 1024};
        bitcoin_support_buffer* buffer{nullptr};
        const bool made{bitcoin_support_buffer_create(0, &buffer) == BITCOIN_SUPPORT_OK &&
                        bitcoin_support_buffer_resize(buffer, SIZE) == BITCOIN_SUPPORT_OK};
        Value("buffer_made", made);
        Value("buffer_locked", made && IsLocked(bitcoin_support_buffer_data(buffer), SIZE));
        bitcoin_support_locked_pool* pool{nullptr};
        if (bitcoin_support_locked_pool_create(nullptr, &pool) != BITCOIN_SUPPORT_OK) std::abort();
        const void* const chunk{bitcoin_support_locked_pool_alloc(pool, 32)};
        Value("own_pool_locked", chunk && IsLocked(chunk, 32));
        // A sample lies on separate pages.
        bitcoin_support_address_report report;
        const bool sampling{bitcoin_support_locked_pool_sample(1, 64 * 1024) == BITCOIN_SUPPORT_OK};
        const void* const sample{LockedPoolManager::Instance().alloc(32)};
        Value("sample_locked", sampling && bitcoin_support_describe_address(sample, &report, sizeof(report)) == BITCOIN_SUPPORT_OK && IsLocked(sample, 32));
    });
#endif
}

double SecondsSince(std::chrono::steady_clock::time_point start)
{
    return std::chrono::duration<double>{std::chrono::steady_clock::now() - start}.count();
}

/** Nanoseconds for a call: the median of nine slices of `most` calls, or of as many as fit 20 ms. */
double Nanoseconds(size_t most, const std::function<void()>& call)
{
    auto start{std::chrono::steady_clock::now()};
    for (size_t i{0}; i < 3; ++i) call();
    const size_t calls{std::clamp<size_t>(static_cast<size_t>(0.02 * 3 / SecondsSince(start)), 2, most)};
    std::vector<double> slices;
    for (size_t slice{0}; slice < 9; ++slice) {
        start = std::chrono::steady_clock::now();
        for (size_t i{0}; i < calls; ++i) call();
        slices.push_back(SecondsSince(start) / static_cast<double>(calls) * 1e9);
    }
    std::nth_element(slices.begin(), slices.begin() + 4, slices.end());
    return slices[4];
}

void Pair(size_t size)
{
    void* const chunk{PoolAlloc(size)};
    if (!chunk) return;
    *static_cast<volatile unsigned char*>(chunk) = 1;
    Cleanse(chunk, size);
    PoolFree(chunk);
}

void PrintPairs()
{
    Value("pair_32_ns", Nanoseconds(20000, [] { Pair(32); }));
    Value("pair_5000_ns", Nanoseconds(1000, [] { Pair(5000); }));
    Value("stats_ns", Nanoseconds(200, [] { (void)PoolFigures(); }));
}

/** Starts a thread and waits for its end. */
void InAThread(void* (*function)(void*))
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    pthread_t thread;
    const int error{pthread_create(&thread, &attributes, function, nullptr)};
    pthread_attr_destroy(&attributes);
    if (error != 0) Skip("no more threads: %s", std::strerror(error));
    pthread_join(thread, nullptr);
}

void* NoPair(void*) { return nullptr; }
void* OnePair(void*)
{
    Pair(32);
    return nullptr;
}

/** The cost of calls while a number of threads with a chunk each are idle. */
void Idle(Cell& cell)
{
    for (size_t thread{0}; thread < cell.Threads(); ++thread) {
        cell.On(thread, [&] { cell.Take(thread, 32); });
    }
    PrintPairs();
}

/** The cost of calls after a number of threads have started and ended, one after the other. */
void Ended(size_t count)
{
    for (size_t i{0}; i < count; ++i) InAThread(&OnePair);
    PrintPairs();
}

/** The additional cost of a thread that allocates and frees once. Both kinds of threads run in turn, so that
 *  both meet the same conditions. */
void Turns(size_t count)
{
    std::vector<double> over;
    const size_t block{std::max<size_t>(count / 40, 1)};
    for (size_t done{0}; done < count; done += block) {
        auto start{std::chrono::steady_clock::now()};
        for (size_t i{0}; i < block; ++i) InAThread(&NoPair);
        const double bare{SecondsSince(start)};
        start = std::chrono::steady_clock::now();
        for (size_t i{0}; i < block; ++i) InAThread(&OnePair);
        over.push_back((SecondsSince(start) - bare) / static_cast<double>(block) * 1e6);
    }
    std::nth_element(over.begin(), over.begin() + static_cast<std::ptrdiff_t>(over.size() / 2), over.end());
    Value("over_bare_us", over[over.size() / 2]);
}

/** The cost of replacing a chunk when a tenth more is live than can be locked. */
void AtTheLimit(Cell& cell, const std::string& sizes_name)
{
    const Sizes sizes{SizesOf(sizes_name)};
    const size_t target{cell.Budget() / 100 * 110};
    cell.Fill(target, 0, cell.Threads(), sizes);
    std::vector<double> slices;
    for (size_t turn{0}; turn < std::max<size_t>(2 * cell.Threads(), 40); ++turn) {
        const size_t thread{turn % cell.Threads()};
        cell.On(thread, [&] {
            // The first replacements fill the processor's cache again after other threads' turns.
            for (size_t i{0}; i < 16; ++i) Replace(cell, thread, target, sizes);
            const auto start{std::chrono::steady_clock::now()};
            for (size_t i{0}; i < 64; ++i) Replace(cell, thread, target, sizes);
            slices.push_back(SecondsSince(start) / 64 * 1e9);
        });
    }
    std::nth_element(slices.begin(), slices.begin() + static_cast<std::ptrdiff_t>(slices.size() / 2), slices.end());
    Value("replace_ns", slices[slices.size() / 2]);
}

/** The number of mappings of a process that has so many bytes in chunks of one size. */
void Mappings(Cell& cell, size_t size, size_t bytes)
{
    const auto mappings{[] {
        size_t lines{0};
        std::FILE* const maps{std::fopen("/proc/self/maps", "r")};
        for (int c; maps && (c = std::fgetc(maps)) != EOF;) lines += c == '\n';
        if (maps) std::fclose(maps);
        return static_cast<double>(lines);
    }};
    const double before{mappings()};
    cell.DoNotTouch();
    size_t failed{0};
    cell.On(0, [&] {
        for (size_t i{0}; i < bytes / size; ++i) failed += PoolAlloc(size) == nullptr;
    });
    Value("mappings", mappings() - before);
    Value("failed", static_cast<double>(failed));
    Value("locked_share", static_cast<double>(VmLck()) / static_cast<double>(bytes));
}

// ---- The limit of the process ------------------------------------------------------

bool HasIpcLock(bool drop)
{
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    if (__real_syscall(SYS_capget, &header, data) != 0) return false;
    const bool has{(data[0].effective >> CAP_IPC_LOCK & 1) != 0};
    if (drop) {
        const uint32_t mask{~(uint32_t{1} << CAP_IPC_LOCK)};
        data[0].effective &= mask;
        data[0].permitted &= mask;
        data[0].inheritable &= mask;
        if (__real_syscall(SYS_capset, &header, data) != 0) Skip("%s", "CAP_IPC_LOCK cannot be dropped");
    }
    return has;
}

/** Sets the kernel's limit, and drops CAP_IPC_LOCK, which no limit binds. If this user may not raise the limit so
 *  far, the process keeps CAP_IPC_LOCK and enforces the limit itself. */
void SetLimit(size_t limit)
{
    const rlim_t value{limit == SIZE_MAX ? RLIM_INFINITY : limit};
    const rlimit both{value, value};
    const char* kept_by{"kernel"};
    if (setrlimit(RLIMIT_MEMLOCK, &both) == 0) {
        HasIpcLock(true);
    } else if (HasIpcLock(false)) {
        stood_in_limit = limit;
        kept_by = "program";
    } else {
        Skip("%s", "this user may not raise the limit so far");
    }
    if (VmLck() != 0) Skip("%s", "memory of this process is locked already");
    if (limit != SIZE_MAX) {
        // Checks that the limit binds: one page more than it cannot be locked.
        const size_t size{limit + static_cast<size_t>(sysconf(_SC_PAGESIZE))};
        void* const pages{mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)};
        if (pages == MAP_FAILED || mlock(pages, size) == 0) Skip("%s", "the limit does not bind here");
        munmap(pages, size);
    }
    std::printf("limit %s\n", kept_by);
}

[[noreturn]] void Usage()
{
    std::fprintf(stderr,
                 "usage: scarce_cell [--control] [--seed N] LIMIT THREADS PATTERN\n"
                 "  LIMIT    bytes, or none\n"
                 "  PATTERN  one SIZE | each interleaved|ascending|descending | churn SIZES PERCENT | rush SIZES PERCENT |\n"
                 "           wallet PERCENT | burst SIZES SIZES own|other|ended all|one | packing SIZE COUNT |\n"
                 "           hoard own|other | idle | ended COUNT | turns COUNT | at_the_limit SIZES | mappings SIZE BYTES\n"
                 "  SIZES    SIZE | randomSIZE | classes\n");
    std::exit(2);
}

} // namespace

int main(int argc, char** argv)
{
    std::vector<std::string> words(argv + 1, argv + argc);
    const bool control{!words.empty() && words[0] == "--control"};
    if (control) words.erase(words.begin());
    size_t seed{0};
    if (words.size() >= 2 && words[0] == "--seed") {
        seed = std::strtoul(words[1].c_str(), nullptr, 10);
        words.erase(words.begin(), words.begin() + 2);
    }
    if (words.size() < 3) Usage();
#if defined(__SANITIZE_ADDRESS__)
    Skip("%s", "AddressSanitizer makes mlock do nothing");
#endif
    const auto number{[](const std::string& word) { return static_cast<size_t>(std::strtoul(word.c_str(), nullptr, 10)); }};
    const size_t limit{words[0] == "none" ? SIZE_MAX : number(words[0])};
    const size_t threads{number(words[1])};
    if (limit == 0 || threads == 0) Usage();
    alarm(300); // a cell that hangs fails
    SetLimit(limit);

    Cell cell{limit, threads, seed};
    if (control) cell.SabotageAll();
    const std::string pattern{words[2]};
    words.erase(words.begin(), words.begin() + 3);
    if (pattern == "one" && words.size() == 1) {
        One(cell, limit, number(words[0]));
    } else if (pattern == "each" && words.size() == 1) {
        OneOfEach(cell, limit, words[0]);
    } else if (pattern == "churn" && words.size() == 2) {
        Churn(cell, words[0], number(words[1]));
    } else if (pattern == "rush" && words.size() == 2) {
        Rush(cell, words[0], number(words[1]));
    } else if (pattern == "wallet" && words.size() == 1) {
        Wallet(cell, number(words[0]));
    } else if (pattern == "burst" && words.size() == 4) {
        Burst(cell, limit, words[0], words[1], words[2], words[3]);
    } else if (pattern == "packing" && words.size() == 2) {
        Packing(cell, number(words[0]), number(words[1]));
    } else if (pattern == "hoard" && words.size() == 1) {
        Hoard(cell, limit, words[0]);
    } else if (pattern == "idle") {
        Idle(cell);
    } else if (pattern == "ended" && words.size() == 1) {
        Ended(number(words[0]));
    } else if (pattern == "turns" && words.size() == 1) {
        Turns(number(words[0]));
    } else if (pattern == "at_the_limit" && words.size() == 1) {
        AtTheLimit(cell, words[0]);
    } else if (pattern == "mappings" && words.size() == 2) {
        Mappings(cell, number(words[0]), number(words[1]));
    } else {
        Usage();
    }
    std::fflush(stdout);
    _exit(EXIT_SUCCESS); // live chunks end with the process
}
