// The system refuses. The library calls some functions for memory or protection. The Nth call of each fails,
// for every N up to the number of calls: that one alone, and then all from there on. No call crashes, loses
// memory or mappings, or leaves figures that do not add up. A call that fails reports it, and calls that need
// nothing from the system succeed.
//
// The linker puts the functions in this file before the system's (the static library and --wrap), for the
// calls of the library and of this file, but not for those of the C++ runtime.
//
// One refusal is an exception. If munmap fails, and fails again without the guard pages, then the library's
// record of its pages is wrong, and the library ends the process.
//
// The control: functions that do nothing and report success. The checks notice that.
//
// This file also checks, in munmap, that pages are wiped before they are unmapped.

#include "test_util.h"

#include <support/allocators/secure.h>

#include <boost/test/unit_test.hpp>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <fcntl.h>
#include <memory>
#include <new>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <thread>
#include <utility>

using namespace test;

namespace {

/** Statistics of a pool. */
bitcoin_support_locked_pool_stats StatsOf(const bitcoin_support_locked_pool* pool)
{
    bitcoin_support_locked_pool_stats stats{};
    bitcoin_support_locked_pool_get_stats(pool, &stats, sizeof(stats));
    return stats;
}

enum Call { MMAP,
            MPROTECT,
            MLOCK,
            MADVISE,
            MUNMAP,
            MUNLOCK,
            GETRLIMIT,
            MEMBARRIER,
            ATFORK,
            HEAP,
            CALLS };
const char* const NAMES[CALLS]{"mmap", "mprotect", "mlock", "madvise", "munmap", "munlock", "getrlimit", "membarrier", "pthread_atfork", "the heap"};

/** The calls that fail while faults are armed: numbers first to last of one kind, counted from 1. */
struct Faults {
    Call kind{CALLS};
    size_t first{0};
    size_t last{0};
    /** The call does nothing and reports success, instead of failing. */
    bool lies{false};
    /** All calls of another kind fail as well, after this many. */
    Call also{CALLS};
    size_t also_after{0};

    bool armed{false};
    size_t calls[CALLS]{};
    bool any_failed{false};

    /** Counts a call, and returns whether it must fail. */
    bool Fails(Call call)
    {
        if (!armed) return false;
        const size_t n{++calls[call]};
        const bool fails{(call == kind && n >= first && n <= last) || (call == also && n > also_after)};
        any_failed = any_failed || fails;
        return fails;
    }
};
Faults g_faults;

/** While it lives, calls fail. What has been counted stays afterwards. */
class Armed
{
public:
    /** Counts anew. */
    explicit Armed(const Faults& faults)
    {
        g_faults = faults;
        g_faults.armed = true;
    }
    /** Goes on counting. */
    Armed() { g_faults.armed = true; }
    ~Armed() { g_faults.armed = false; }
    Armed(const Armed&) = delete;
    Armed& operator=(const Armed&) = delete;
};

/** Blocks of the heap that were allocated while faults were armed, less those that were freed. */
long g_heap_blocks{0};
/** If set, counts the pages that are unmapped, and those of them that are not all zeros. */
bool g_looks_at_unmapped{false};
size_t g_unmapped_pages{0};
size_t g_unmapped_dirty{0};

void LookAt(const void* addr, size_t len)
{
    // This file is read whatever access there is: closed secrets have none. Where off_t has 32 bits, it cannot name half
    // of the addresses.
    static const int memory{open("/proc/self/mem", O_RDONLY)};
    std::array<unsigned char, 4096> page;
    for (size_t at{0}; at < len; at += page.size()) {
        const auto place{reinterpret_cast<uintptr_t>(addr) + at};
#ifdef __GLIBC__
        const ssize_t got{pread64(memory, page.data(), page.size(), static_cast<off64_t>(place))};
#else
        const ssize_t got{pread(memory, page.data(), page.size(), static_cast<off_t>(place))};
#endif
        if (got != static_cast<ssize_t>(page.size())) continue;
        ++g_unmapped_pages;
        g_unmapped_dirty += !AllBytesAre(page.data(), page.size(), 0);
    }
}

/** The last range that munmap refused to unmap. */
uintptr_t g_refused_start{0};
size_t g_refused_size{0};

} // namespace

extern "C" {
void* __real_mmap(void*, size_t, int, int, int, off_t);
int __real_munmap(void*, size_t);
int __real_mprotect(void*, size_t, int);
int __real_mlock(const void*, size_t);
int __real_madvise(void*, size_t, int);
int __real_munlock(const void*, size_t);
int __real_getrlimit(int, rlimit*);
long __real_syscall(long, ...);
int __real_pthread_atfork(void (*)(), void (*)(), void (*)());
void* __real_malloc(size_t);
void* __real_calloc(size_t, size_t);
void* __real_realloc(void*, size_t);
int __real_posix_memalign(void**, size_t, size_t);
void __real_free(void*);

void* __wrap_mmap(void* addr, size_t len, int prot, int flags, int fd, off_t offset)
{
    if (g_looks_at_unmapped && (flags & MAP_FIXED)) LookAt(addr, len);
    if (!g_faults.Fails(MMAP)) return __real_mmap(addr, len, prot, flags, fd, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}
int __wrap_munmap(void* addr, size_t len)
{
    if (g_looks_at_unmapped) LookAt(addr, len);
    if (!g_faults.Fails(MUNMAP)) return __real_munmap(addr, len);
    if (g_faults.lies) return 0;
    g_refused_start = Number(addr);
    g_refused_size = len;
    errno = ENOMEM;
    return -1;
}
int __wrap_mprotect(void* addr, size_t len, int prot)
{
    if (!g_faults.Fails(MPROTECT)) return __real_mprotect(addr, len, prot);
    if (g_faults.lies) return 0;
    errno = ENOMEM;
    return -1;
}
int __wrap_mlock(const void* addr, size_t len)
{
    if (!g_faults.Fails(MLOCK)) return __real_mlock(addr, len);
    if (g_faults.lies) return 0;
    errno = EAGAIN;
    return -1;
}
int __wrap_madvise(void* addr, size_t len, int advice)
{
    if (!g_faults.Fails(MADVISE)) return __real_madvise(addr, len, advice);
    errno = EINVAL;
    return -1;
}
int __wrap_munlock(const void* addr, size_t len)
{
    if (!g_faults.Fails(MUNLOCK)) return __real_munlock(addr, len);
    errno = ENOMEM;
    return -1;
}
int __wrap_getrlimit(int resource, rlimit* limit)
{
    if (!g_faults.Fails(GETRLIMIT)) return __real_getrlimit(resource, limit);
    errno = EPERM;
    return -1;
}
long __wrap_syscall(long number, ...)
{
    if (number == SYS_membarrier && g_faults.Fails(MEMBARRIER)) {
        errno = EPERM;
        return -1;
    }
#ifdef SYS_pkey_mprotect
    if (number == SYS_pkey_mprotect && g_faults.Fails(MPROTECT)) {
        errno = ENOMEM;
        return -1;
    }
#endif
    if (number == SYS_mlock2 && g_faults.Fails(MLOCK)) {
        if (g_faults.lies) return 0;
        errno = EAGAIN;
        return -1;
    }
    va_list list;
    va_start(list, number);
    std::array<long, 6> arguments; // as many as any call takes
    for (long& argument : arguments) argument = va_arg(list, long);
    va_end(list);
    return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}
int __wrap_pthread_atfork(void (*prepare)(), void (*parent)(), void (*child)())
{
    if (!g_faults.Fails(ATFORK)) return __real_pthread_atfork(prepare, parent, child);
    return ENOMEM;
}
void* __wrap_malloc(size_t size)
{
    if (g_faults.Fails(HEAP)) return nullptr;
    g_heap_blocks += g_faults.armed;
    return __real_malloc(size);
}
void* __wrap_calloc(size_t count, size_t size)
{
    if (g_faults.Fails(HEAP)) return nullptr;
    g_heap_blocks += g_faults.armed;
    return __real_calloc(count, size);
}
void* __wrap_realloc(void* block, size_t size)
{
    if (g_faults.Fails(HEAP)) return nullptr;
    g_heap_blocks += g_faults.armed && !block;
    return __real_realloc(block, size);
}
int __wrap_posix_memalign(void** block, size_t alignment, size_t size)
{
    if (g_faults.Fails(HEAP)) return ENOMEM;
    g_heap_blocks += g_faults.armed;
    return __real_posix_memalign(block, alignment, size);
}
void __wrap_free(void* block)
{
    if (g_faults.lies && g_faults.kind == HEAP && block) return;
    g_heap_blocks -= g_faults.armed && block;
    __real_free(block);
}
} // extern "C"

namespace {

constexpr size_t ARENA{LockedPool::ARENA_SIZE};
constexpr size_t FOREVER{SIZE_MAX};

/** The result of a run of the scenario below. */
struct Outcome {
    size_t failed_creations{0};
    size_t failed_allocations{0};
    size_t successes{0};
    /** The first thing that was wrong. No text is formatted while faults are armed. */
    const char* problem{nullptr};

    void Expect(bool holds, const char* what)
    {
        if (!holds && !problem) problem = what;
    }
};

/** Whether the kernel has locked at least as much as the statistics say. Other code may lock memory too. */
bool LockedAsCounted(size_t counted)
{
    return SANITIZED || UnderValgrind() || counted <= KernelLockedBytes();
}

/** The life of an arena, and of a pool over the system's pages, with all calls that may fail. */
Outcome Live()
{
    Outcome outcome;
    bitcoin_support_arena* arena{nullptr};
    const auto arena_status{bitcoin_support_arena_create(Address(SYNTHETIC_BASE), 1 << 16, 16, &arena)};
    if (arena_status == BITCOIN_SUPPORT_OK) {
        void* const chunk{bitcoin_support_arena_alloc(arena, 100)};
        void* const aligned{bitcoin_support_arena_alloc_aligned(arena, 100, 4096)};
        outcome.Expect(chunk && aligned, "an arena that was made needs nothing from the system");
        outcome.Expect(bitcoin_support_arena_free(arena, chunk) == BITCOIN_SUPPORT_OK, "a chunk of an arena cannot be freed");
    } else {
        outcome.Expect(arena_status == BITCOIN_SUPPORT_OUT_OF_MEMORY && !arena, "an arena cannot be made for another reason than memory");
        ++outcome.failed_creations;
    }
    bitcoin_support_arena_destroy(arena);

    bitcoin_support_locked_pool* pool{nullptr};
    const auto pool_status{bitcoin_support_locked_pool_create(nullptr, &pool)};
    if (pool_status != BITCOIN_SUPPORT_OK) {
        outcome.Expect(pool_status == BITCOIN_SUPPORT_OUT_OF_MEMORY && !pool, "a pool cannot be made for another reason than memory");
        ++outcome.failed_creations;
        return outcome;
    }
    int context{0};
    const auto callback_status{bitcoin_support_locked_pool_set_locking_failed(
        pool, [](void* calls, int, size_t) { return ++*static_cast<int*>(calls), true; }, &context)};
    outcome.failed_creations += callback_status == BITCOIN_SUPPORT_OUT_OF_MEMORY;

    // More arenas than the tables have room for at first.
    constexpr size_t CHUNKS{24};
    constexpr size_t CHUNK_SIZE{ARENA / 2 - 100};
    unsigned char* chunks[CHUNKS]{};
    size_t held{0};
    for (size_t i{0}; i < CHUNKS; ++i) {
        chunks[i] = static_cast<unsigned char*>(bitcoin_support_locked_pool_alloc(pool, CHUNK_SIZE));
        if (chunks[i]) {
            std::memset(chunks[i], static_cast<int>(i + 1), CHUNK_SIZE);
            ++held;
        } else {
            ++outcome.failed_allocations;
        }
        const auto stats{StatsOf(pool)};
        outcome.Expect(stats.chunks_used == held && stats.used == held * ((CHUNK_SIZE + 15) / 16 * 16), "a failure is in the figures");
        outcome.Expect(stats.used + stats.free == stats.total && stats.locked <= stats.total, "figures do not add up");
        outcome.Expect(stats.chunks_free <= stats.arenas + stats.chunks_used, "there are free chunks in no arena");
    }
    outcome.successes = held;
    outcome.Expect(LockedAsCounted(StatsOf(pool).locked), "memory is not locked that is said to be");
    for (size_t i{0}; i < CHUNKS; ++i) {
        if (!chunks[i]) continue;
        outcome.Expect(AllBytesAre(chunks[i], CHUNK_SIZE, static_cast<unsigned char>(i + 1)), "a chunk lost its bytes");
        outcome.Expect(bitcoin_support_locked_pool_free(pool, chunks[i]) == BITCOIN_SUPPORT_OK, "a chunk cannot be freed");
        outcome.Expect(AreWiped(chunks[i], CHUNK_SIZE), "a chunk was not wiped");
        const auto again{bitcoin_support_locked_pool_free(pool, chunks[i])};
        outcome.Expect(again == BITCOIN_SUPPORT_INVALID_FREE || again == BITCOIN_SUPPORT_NOT_IN_POOL, "a chunk was freed twice");
    }
    outcome.Expect(StatsOf(pool).used == 0, "something is left in the pool");
    bitcoin_support_locked_pool_destroy(pool);
    return outcome;
}

/** Runs the scenario while calls fail. */
Outcome LiveWith(const Faults& faults)
{
    const Armed armed{faults};
    return Live();
}

/** Runs the scenario while the calls number first to last of a kind fail. */
Outcome LiveWithout(Call kind, size_t first, size_t last, bool lies = false)
{
    const size_t mappings{MappingCount()};
    g_heap_blocks = 0;
    Outcome outcome{LiveWith({kind, first, last, lies})};
    outcome.Expect(g_heap_blocks == 0, "blocks of the heap are lost");
    // AddressSanitizer and valgrind map memory for themselves at any time.
    if (!SANITIZED && !UnderValgrind()) outcome.Expect(MappingCount() == mappings, "mappings are lost");
    return outcome;
}

/** Fails every call of a kind: each alone, and each with all later ones. Returns how many there were. The
 *  caller never notices failures of some kinds. */
size_t FailEach(Call kind, bool noticed)
{
    Live(); // makes the allocations that a process makes once
    for (size_t n{1};; ++n) {
        const Outcome alone{LiveWithout(kind, n, n)};
        const bool any_failed{g_faults.any_failed};
        const size_t price{alone.failed_creations + alone.failed_allocations};
        BOOST_CHECK_MESSAGE(!alone.problem, NAMES[kind] << " fails at call " << n << ": " << alone.problem);
        // At most one of the caller's calls fails with it. The next one succeeds.
        BOOST_CHECK_MESSAGE(price <= (any_failed && noticed ? 1U : 0U), NAMES[kind] << " fails at call " << n << ", and " << price << " of the caller's");
        if (!any_failed) {
            BOOST_CHECK_EQUAL(alone.successes, 24U);
            std::printf("%s: each of %zu calls has failed, alone and with all that follow\n", NAMES[kind], n - 1);
            return n - 1;
        }
        const Outcome from_there_on{LiveWithout(kind, n, FOREVER)};
        BOOST_CHECK_MESSAGE(!from_there_on.problem, NAMES[kind] << " fails from call " << n << " on: " << from_there_on.problem);
        BOOST_CHECK_EQUAL(from_there_on.failed_creations + from_there_on.failed_allocations > 0, noticed);
    }
}

/** The report of a process on its life with the process-wide pool. */
struct PoolReport {
    bool any_failed;
    size_t calls, unlocks;
    /** The number of allocations that failed while calls failed, and the number of all allocations. */
    size_t failed, allocations;
    char problem[100];

    void Expect(bool holds, const char* what)
    {
        if (!holds && !problem[0]) std::snprintf(problem, sizeof(problem), "%s", what);
    }
};

/** A chunk of the process-wide pool, filled with a byte. */
struct Held {
    unsigned char* address{nullptr};
    size_t size{0};

    bool Intact() const { return AllBytesAre(address, size, static_cast<unsigned char>(size * 7 + 1)); }
};

/** The life of the process-wide pool and of a buffer: two threads, one of which frees chunks of the other and
 *  ends; a child process; and a normal exit of both processes. */
class PoolLife
{
public:
    explicit PoolLife(PoolReport& report_in) : report{report_in} {}

    void Live(bool has_atfork)
    {
        for (size_t i{0}; i < 60; ++i) Allocate(i);
        CheckStats(true);
        std::thread([this] {
            for (size_t i{60}; i < HELD; ++i) Allocate(i);
            for (size_t i{0}; i < 20; ++i) Free(i);
        }).join();
        CheckStats(true);
        Free(HELD - 1); // a chunk of the thread that has ended
        FreeBuffer();

        const auto child{RunInChild<PoolReport>([&](PoolReport& of_child) {
            // Children do not inherit locks. Where the fork handlers could not be registered, the child
            // cannot renew them.
            PoolLife life{of_child};
            std::copy(held, held + HELD, life.held);
            life.CheckStats(has_atfork);
            for (size_t i{0}; i < HELD; ++i) life.Free(i);
            life.Allocate(3);
            life.Free(3);
            life.CheckStats(has_atfork);
        })};
        report.Expect(child.status == 0 && child.reported, "a child of fork dies");
        report.Expect(!child.report.problem[0], child.report.problem);

        for (size_t i{0}; i < HELD; ++i) Free(i);
        CheckStats(true);
        report.Expect(LockedPoolManager::Instance().stats().used == 0, "something is left in the pool");
    }

private:
    static constexpr size_t HELD{90};
    PoolReport& report;
    Held held[HELD];

    void Allocate(size_t i)
    {
        static constexpr size_t SIZES[]{16, 33, 64, 100, 700, 2000, 4096, 5000, 70000, ARENA};
        const size_t size{i % 30 == 0 ? ARENA : SIZES[i % 9] + i};
        void* const chunk{bitcoin_support_locked_pool_alloc(pool, size)};
        ++report.allocations;
        if (!chunk) {
            ++report.failed;
            return;
        }
        held[i] = {static_cast<unsigned char*>(chunk), size};
        report.Expect(AllBytesAre(chunk, size, 0), "a chunk is not wiped");
        std::memset(chunk, static_cast<int>(size * 7 + 1), size);
    }

    void Free(size_t i)
    {
        if (!held[i].address) return;
        report.Expect(held[i].Intact(), "a chunk lost its bytes");
        report.Expect(bitcoin_support_locked_pool_free(pool, held[i].address) == BITCOIN_SUPPORT_OK, "a chunk cannot be freed");
        const auto again{bitcoin_support_locked_pool_free(pool, held[i].address)};
        report.Expect(again == BITCOIN_SUPPORT_INVALID_FREE || again == BITCOIN_SUPPORT_NOT_IN_POOL, "a chunk was freed twice");
        held[i] = Held{};
    }

    void CheckStats(bool check_locks)
    {
        size_t chunks{0}, bytes{0};
        for (const Held& chunk : held) {
            if (!chunk.address) continue;
            ++chunks;
            bytes += chunk.size;
        }
        const auto stats{StatsOf(pool)};
        report.Expect(stats.chunks_used == chunks && stats.used >= bytes, "a failure is in the figures");
        report.Expect(stats.used + stats.free == stats.total && stats.locked <= stats.total, "figures do not add up");
        size_t walked{0};
        const auto walk{bitcoin_support_locked_pool_walk(
            pool, [](void* sum, void*, size_t size, bool used) { *static_cast<size_t*>(sum) += used ? size : 0; return true; }, &walked)};
        report.Expect(walk == BITCOIN_SUPPORT_OK ? walked == stats.used : walk == BITCOIN_SUPPORT_OUT_OF_MEMORY && walked == 0,
                      "the walk differs from the figures");
        if (check_locks) report.Expect(LockedAsCounted(stats.locked), "memory is not locked that is said to be");
    }

    /** Frees a buffer that has grown from a chunk into separate pages. */
    void FreeBuffer()
    {
        bitcoin_support_buffer* buffer{nullptr};
        if (bitcoin_support_buffer_create(100, &buffer) == BITCOIN_SUPPORT_OK) {
            size_t size{0};
            for (const size_t next : {size_t{50}, size_t{5000}, ARENA * 2, size_t{10}}) {
                if (bitcoin_support_buffer_resize(buffer, next) == BITCOIN_SUPPORT_OK) size = next;
                report.Expect(bitcoin_support_buffer_size(buffer) == size, "a buffer has another size than it says");
            }
        }
        bitcoin_support_buffer_destroy(buffer);
    }

    bitcoin_support_locked_pool* pool{bitcoin_support_locked_pool_instance()};
};

/** Runs a process whose calls number first to last of a kind fail while it uses the process-wide pool.
 *  Afterwards it does the same with no failing call. */
Child<PoolReport> LiveInPool(Call kind, size_t first, size_t last, bool refuse = false, bool lies = false, Call also = CALLS, size_t also_after = 0)
{
    return RunInChild<PoolReport>([=](PoolReport& report) {
        bitcoin_support_locked_pool* pool{nullptr};
        {
            const Armed armed{{kind, first, last, lies, also, also_after}};
            pool = bitcoin_support_locked_pool_instance();
            const bitcoin_support_locking_failed no{[](void*, int, size_t) { return false; }};
            if (refuse) bitcoin_support_locked_pool_set_locking_failed(pool, no, nullptr);
            PoolLife{report}.Live(kind != ATFORK);
        }
        report.any_failed = g_faults.any_failed;
        report.calls = g_faults.calls[kind];
        report.unlocks = g_faults.calls[MUNLOCK];
        const size_t failed{report.failed};
        bitcoin_support_locked_pool_set_locking_failed(pool, nullptr, nullptr);
        PoolLife{report}.Live(!(kind == ATFORK && g_faults.any_failed));
        report.Expect(report.failed == failed, "allocations fail when nothing else does");
        report.failed = failed;
    },
                                  &exit); // with the handler that wipes
}

/** Fails every call of a kind in the life of the process-wide pool: each alone, and each with all later ones.
 *  Returns how many have failed. */
size_t FailEachInPool(Call kind, bool refuse = false)
{
    // A fork takes long under sanitizers and valgrind, and there are hundreds of processes.
    size_t stride{1};
    if (SANITIZED) stride = 3;
    if (UnderValgrind() || Emulated()) stride = 17;
    size_t failed{0};
    for (size_t n{1};; n += stride, ++failed) {
        const auto alone{LiveInPool(kind, n, n, refuse)};
        const auto from_there_on{LiveInPool(kind, n, FOREVER, refuse)};
        BOOST_CHECK_MESSAGE(alone.status == 0 && alone.reported, NAMES[kind] << " fails at call " << n << ": status " << alone.status);
        BOOST_CHECK_MESSAGE(!alone.report.problem[0], NAMES[kind] << " fails at call " << n << ": " << alone.report.problem);
        const bool may_abort{kind == MUNMAP};
        BOOST_CHECK_MESSAGE((from_there_on.status == 0 && from_there_on.reported) || (may_abort && from_there_on.Killed(SIGABRT)),
                            NAMES[kind] << " fails from call " << n << " on: status " << from_there_on.status);
        BOOST_CHECK_MESSAGE(!from_there_on.report.problem[0], NAMES[kind] << " fails from call " << n << " on: " << from_there_on.report.problem);
        // A single failure fails few of the caller's calls: the next call finds another way.
        BOOST_CHECK_MESSAGE(refuse || alone.report.failed <= 2, NAMES[kind] << " fails at call " << n << ", and " << alone.report.failed << " allocations");
        if (!alone.report.any_failed || alone.status != 0) {
            BOOST_CHECK_EQUAL(alone.report.failed, 0U);
            std::printf("%s: %zu of %zu calls of the process-wide pool have failed, alone and with all that follow%s\n", NAMES[kind], failed, alone.report.calls, refuse ? ", unlocked memory refused" : "");
            return failed;
        }
    }
}

/** What a process has that uses a secret stack, a sealed secret and a closed one. */
struct RestReport {
    bool any_failed;
    /** How many of the three could not be had while calls failed. */
    size_t failed;
    char problem[100];

    void Expect(bool holds, const char* what)
    {
        if (!holds && !problem[0]) std::snprintf(problem, sizeof(problem), "%s", what);
    }
};

/** Whether a closed secret is closed if an opening has ended by OK, and open if the system has refused. */
bool IsClosedAsSaid(const void* secret, bitcoin_support_status status)
{
    bitcoin_support_address_report report{};
    if (bitcoin_support_describe_address(secret, &report, sizeof(report)) != BITCOIN_SUPPORT_OK) return false;
    const bool is_closed{std::strstr(report.text, "which no guard has opened") != nullptr};
    return status == (is_closed ? BITCOIN_SUPPORT_OK : BITCOIN_SUPPORT_STAYS_OPEN);
}

/** Calls a function on a secret stack, seals and opens a secret, and closes and opens another. Returns how many
 *  of the three could not be had. */
size_t UseAtRest(RestReport& report)
{
    size_t failed{0};
    int ran{0};
    const auto stack_status{bitcoin_support_on_secret_stack([](void* count) { ++*static_cast<int*>(count); }, &ran, 0)};
    report.Expect(ran == (stack_status == BITCOIN_SUPPORT_OK ? 1 : 0), "a function has run though its stack was refused, or not though it was not");
    // Some processors have no secret stacks, whatever fails.
    failed += stack_status != BITCOIN_SUPPORT_OK && stack_status != BITCOIN_SUPPORT_NOT_AVAILABLE;

    unsigned char key[32], sealed[sizeof(key) + BITCOIN_SUPPORT_SEAL_OVERHEAD], opened[sizeof(key)]{};
    std::memset(key, 7, sizeof(key));
    if (bitcoin_support_seal(key, sizeof(key), "one", 3, sealed, sizeof(sealed)) == BITCOIN_SUPPORT_OK) {
        const auto status{bitcoin_support_unseal(sealed, sizeof(sealed), "one", 3, opened, sizeof(opened))};
        if (status == BITCOIN_SUPPORT_OK) {
            report.Expect(AllBytesAre(opened, sizeof(opened), 7), "what is opened is not what was sealed");
        } else {
            report.Expect(status != BITCOIN_SUPPORT_TAMPERED && status != BITCOIN_SUPPORT_KEY_WIPED, "a sealed secret is lost");
            report.Expect(AllBytesAre(opened, sizeof(opened), 0), "something was written though nothing was opened");
            ++failed;
        }
    } else {
        ++failed;
    }

    auto* const closed{static_cast<unsigned char*>(bitcoin_support_closed_alloc(sizeof(key)))};
    if (closed && bitcoin_support_closed_open(closed, true) == BITCOIN_SUPPORT_OK) {
        std::memcpy(closed, key, sizeof(key));
        report.Expect(IsClosedAsSaid(closed, bitcoin_support_closed_close(closed, true)), "a secret is open that is said to be closed");
        if (bitcoin_support_closed_open(closed, false) == BITCOIN_SUPPORT_OK) {
            report.Expect(AllBytesAre(closed, sizeof(key), 7), "a closed secret has other bytes");
            report.Expect(IsClosedAsSaid(closed, bitcoin_support_closed_close(closed, false)), "a secret is open that is said to be closed");
        } else {
            ++failed;
        }
    } else {
        ++failed;
    }
    report.Expect(bitcoin_support_closed_free(closed) == BITCOIN_SUPPORT_OK, "a closed secret cannot be freed");

    bitcoin_support_memory_stats stats{};
    bitcoin_support_get_memory_stats(&stats, sizeof(stats));
    report.Expect(stats.locked <= stats.total && LockedAsCounted(stats.locked), "memory is not locked that is said to be");
    return failed;
}

/** The same in a process while the calls number first to last of a kind fail, and then while none does. */
auto UseAtRestWithout(Call kind, size_t first, size_t last, bool lies = false)
{
    return RunInChild<RestReport>([=](RestReport& report) {
        {
            const Armed armed{{kind, first, last, lies}};
            report.failed = UseAtRest(report);
        }
        report.any_failed = g_faults.any_failed;
        report.Expect(UseAtRest(report) == 0, "they are not to be had when nothing fails");
    },
                                  &exit); // with the handler that wipes
}

} // namespace

BOOST_AUTO_TEST_SUITE(faults)

BOOST_AUTO_TEST_CASE(mmap_fails)
{
    BOOST_CHECK_EQUAL(FailEach(MMAP, true), 12U); // one for each arena
    BOOST_CHECK_EQUAL(LiveWithout(MMAP, 1, FOREVER).successes, 0U);
}

BOOST_AUTO_TEST_CASE(mprotect_fails)
{
    BOOST_CHECK_EQUAL(FailEach(MPROTECT, true), 12U);
    BOOST_CHECK_EQUAL(LiveWithout(MPROTECT, 1, FOREVER).successes, 0U);
}

BOOST_AUTO_TEST_CASE(mlock_fails)
{
    // The pool uses smaller arenas instead and, as the callback agrees, unlocked ones.
    BOOST_CHECK_GE(FailEach(MLOCK, false), 12U);
    const Outcome none{LiveWithout(MLOCK, 1, FOREVER)};
    BOOST_CHECK(!none.problem);
    BOOST_CHECK_EQUAL(none.successes, 24U);
}

BOOST_AUTO_TEST_CASE(madvise_fails)
{
    BOOST_CHECK_GE(FailEach(MADVISE, false), 12U);
    BOOST_CHECK_EQUAL(LiveWithout(MADVISE, 1, FOREVER).successes, 24U);
}

BOOST_AUTO_TEST_CASE(the_heap_fails)
{
    BOOST_CHECK_GE(FailEach(HEAP, true), 14U);
    const Outcome none{LiveWithout(HEAP, 1, FOREVER)};
    BOOST_CHECK(!none.problem);
    BOOST_CHECK_EQUAL(none.failed_creations, 2U);
}

BOOST_AUTO_TEST_CASE(cpp_classes_throw_and_leak_nothing)
{
    // Only the library's calls may fail, and not the allocations of the C++ runtime.
    for (size_t n{1}; n < 100; ++n) {
        MockPages::Journal journal;
        size_t thrown{0}, failed{0};
        try {
            g_heap_blocks = 0;
            const Armed armed{{HEAP, n, n}};
            Arena arena{Address(SYNTHETIC_BASE), 1 << 16, 16};
        } catch (const std::bad_alloc&) {
            ++thrown;
        }
        BOOST_CHECK_EQUAL(g_heap_blocks, 0);

        auto pages{std::make_unique<MockPages>(journal, 2, 2)};
        journal.live.reserve(2);
        try {
            const Armed armed;
            LockedPool pool{std::move(pages), [] { return true; }};
            if (!pool.alloc(ARENA)) ++failed;
            if (!pool.alloc(ARENA)) ++failed;
        } catch (const std::bad_alloc&) {
            ++thrown;
        }
        BOOST_CHECK_EQUAL(g_heap_blocks, 0);
        BOOST_CHECK(journal.destroyed && journal.live.empty() && !journal.freed_other_than_allocated);
        BOOST_CHECK_EQUAL(thrown + failed, g_faults.any_failed ? 1U : 0U);
        if (!g_faults.any_failed) {
            BOOST_CHECK_GT(n, 5U);
            return;
        }
    }
    BOOST_ERROR("calls do not come to an end");
}

BOOST_AUTO_TEST_CASE(the_process_wide_pool_recovers)
{
    // Its state outlives a scenario, so each scenario runs in a separate process.
    struct Report {
        bool any_failed, threw, recovered;
    };
    const auto allocate_without{[](Call kind, size_t first, size_t last) {
        const auto child{RunInChild<Report>([=](Report& report) {
            secure_allocator<char> allocator;
            try {
                const Armed armed{{kind, first, last}};
                allocator.deallocate(allocator.allocate(100), 100);
            } catch (const std::bad_alloc&) {
                report.threw = true;
            }
            report.any_failed = g_faults.any_failed;
            allocator.deallocate(allocator.allocate(100), 100);
            report.recovered = LockedPoolManager::Instance().stats().used == 0 && LockedPoolManager::Instance().details().arenas == 1;
        })};
        BOOST_CHECK_EQUAL(child.status, 0);
        BOOST_CHECK(child.report.recovered);
        return child.report;
    }};
    for (const Call kind : {MMAP, MPROTECT, HEAP}) {
        size_t n{1};
        while (allocate_without(kind, n, n).any_failed) {
            BOOST_CHECK(allocate_without(kind, n, FOREVER).threw);
            ++n;
        }
        BOOST_CHECK_GT(n, 1U);
        BOOST_CHECK(!allocate_without(kind, n, n).threw);
    }
}

BOOST_AUTO_TEST_CASE(getrlimit_fails)
{
    FailEach(GETRLIMIT, false);
    BOOST_CHECK_EQUAL(LiveWithout(GETRLIMIT, 1, FOREVER).successes, 24U);
}

BOOST_AUTO_TEST_CASE(the_process_wide_pool_without_addresses)
{
    BOOST_CHECK_GE(FailEachInPool(MMAP), 1U);
    BOOST_CHECK_GE(FailEachInPool(MPROTECT), 1U);
    FailEachInPool(MUNMAP);
    FailEachInPool(MUNLOCK);
}

BOOST_AUTO_TEST_CASE(the_process_wide_pool_without_locks)
{
    BOOST_CHECK_GE(FailEachInPool(MLOCK), 1U);
    BOOST_CHECK_GE(FailEachInPool(MLOCK, true), 1U);
    BOOST_CHECK_GE(FailEachInPool(MADVISE), 1U);
    FailEachInPool(GETRLIMIT);
}

BOOST_AUTO_TEST_CASE(the_process_wide_pool_without_locks_and_addresses)
{
    // Pages that cannot be locked are given up. Without mmap, calls that make no mapping give them up.
    size_t unlocks{0};
    for (size_t mappings{0}; mappings < 8; ++mappings) {
        const auto child{LiveInPool(MLOCK, 1, FOREVER, true, false, MMAP, mappings)};
        BOOST_CHECK_EQUAL(child.status, 0);
        BOOST_CHECK_EQUAL(child.report.problem, "");
        unlocks += child.report.unlocks;
    }
    BOOST_CHECK_GE(unlocks, 1U);
    std::printf("mlock and, after 0 to 7 calls, mmap have failed; pages were given up with munlock %zu times\n", unlocks);
}

BOOST_AUTO_TEST_CASE(the_process_wide_pool_without_help)
{
    FailEachInPool(MEMBARRIER);
    // The handlers are registered when the library is loaded, so no later use can fail there.
    BOOST_CHECK_EQUAL(FailEachInPool(ATFORK), 0U);
}

BOOST_AUTO_TEST_CASE(the_process_wide_pool_without_a_heap)
{
    BOOST_CHECK_GE(FailEachInPool(HEAP), 1U);
}

BOOST_AUTO_TEST_CASE(secret_stacks_sealed_and_closed_secrets)
{
    size_t stride{1};
    if (SANITIZED) stride = 3;
    if (UnderValgrind() || Emulated()) stride = 17;
    for (const Call kind : {MMAP, MPROTECT, MLOCK, MADVISE, MUNLOCK, GETRLIMIT, MEMBARRIER, HEAP}) {
        size_t refused{0};
        for (size_t n{1}, failed{0};; n += stride, ++failed) {
            const auto alone{UseAtRestWithout(kind, n, n)};
            const auto from_there_on{UseAtRestWithout(kind, n, FOREVER)};
            for (const auto* child : {&alone, &from_there_on}) {
                const char* const how{child == &alone ? " fails at call " : " fails from call "};
                BOOST_CHECK_MESSAGE(child->status == 0 && child->reported, NAMES[kind] << how << n << ": status " << child->status);
                BOOST_CHECK_MESSAGE(!child->report.problem[0], NAMES[kind] << how << n << ": " << child->report.problem);
                refused += child->report.failed;
            }
            if (!alone.report.any_failed || alone.status != 0) {
                BOOST_CHECK_EQUAL(alone.report.failed, 0U);
                std::printf("%s: %zu calls have failed, alone and with all that follow, and %zu uses were refused\n", NAMES[kind], failed, refused);
                break;
            }
        }
        // Where there is no memory, or it cannot be protected, at least one of the three is refused.
        if (kind == MMAP || kind == MPROTECT) BOOST_CHECK_GT(refused, 0U);
    }
}

BOOST_AUTO_TEST_CASE(control_failures_that_are_ignored_are_noticed)
{
    struct Found {
        char problem[100];
    };
    const auto found{[&](Call kind) {
        return RunInChild<Found>([&](Found& report) {
            Live();
            const Outcome outcome{LiveWithout(kind, 3, 3, true)};
            if (outcome.problem) std::snprintf(report.problem, sizeof(report.problem), "%s", outcome.problem);
        });
    }};
    if (SANITIZED || UnderValgrind()) SKIP_TEST("AddressSanitizer and valgrind map memory for themselves and do not lock it, and see what is lost themselves");
    BOOST_CHECK_EQUAL(found(HEAP).report.problem, "blocks of the heap are lost");
    BOOST_CHECK_EQUAL(found(MUNMAP).report.problem, "mappings are lost");
    BOOST_CHECK_EQUAL(found(MLOCK).report.problem, "memory is not locked that is said to be");
    BOOST_CHECK_EQUAL(LiveInPool(MLOCK, 1, FOREVER, false, true).report.problem, "memory is not locked that is said to be");
    BOOST_CHECK_EQUAL(LiveInPool(MLOCK, 1, FOREVER, false, false).report.problem, "");
    BOOST_CHECK_EQUAL(UseAtRestWithout(MLOCK, 1, FOREVER, true).report.problem, "memory is not locked that is said to be");
}

/** Counts the pages that body unmaps, and those that were not all zeros. */
template <typename Body>
std::pair<size_t, size_t> Unmapped(Body body)
{
    g_faults = Faults{};
    g_unmapped_pages = g_unmapped_dirty = 0;
    g_looks_at_unmapped = true;
    body();
    g_looks_at_unmapped = false;
    return {g_unmapped_pages, g_unmapped_dirty};
}

BOOST_AUTO_TEST_CASE(pages_are_zeros_when_they_are_unmapped)
{
    constexpr size_t PAGES{ARENA / 4096};
    bitcoin_support_locked_pool* pool{nullptr};
    BOOST_REQUIRE_EQUAL(bitcoin_support_locked_pool_create(nullptr, &pool), BITCOIN_SUPPORT_OK);
    const auto fill_pool{[&] {
        void* const chunk{bitcoin_support_locked_pool_alloc(pool, ARENA)};
        BOOST_REQUIRE(chunk != nullptr);
        std::memset(chunk, 0xa5, ARENA);
    }};
    fill_pool();
    fill_pool();
    // While its chunks are in use.
    const auto of_pool{Unmapped([&] { bitcoin_support_locked_pool_destroy(pool); })};
    BOOST_CHECK_GE(of_pool.first, 2 * PAGES);
    BOOST_CHECK_EQUAL(of_pool.second, 0U);
    // A large secret has separate pages.
    bitcoin_support_buffer* large{nullptr};
    BOOST_REQUIRE_EQUAL(bitcoin_support_buffer_create(ARENA + 5000, &large), BITCOIN_SUPPORT_OK);
    BOOST_REQUIRE_EQUAL(bitcoin_support_buffer_resize(large, ARENA + 5000), BITCOIN_SUPPORT_OK);
    std::memset(bitcoin_support_buffer_data(large), 0xa5, ARENA + 5000);
    const auto of_buffer{Unmapped([&] { bitcoin_support_buffer_destroy(large); })};
    BOOST_CHECK_GE(of_buffer.first, PAGES + 2);
    BOOST_CHECK_EQUAL(of_buffer.second, 0U);
}

BOOST_AUTO_TEST_CASE(a_closed_secret_that_cannot_be_opened_is_unmapped)
{
    for (const bool refused : {false, true}) {
        auto* const key{static_cast<unsigned char*>(bitcoin_support_closed_alloc(32))};
        BOOST_REQUIRE(key && bitcoin_support_closed_open(key, true) == BITCOIN_SUPPORT_OK);
        std::memset(key, 0xa5, 32);
        BOOST_REQUIRE_EQUAL(bitcoin_support_closed_close(key, true), BITCOIN_SUPPORT_OK);
        const auto seen{Unmapped([&] {
            const Armed armed{refused ? Faults{MPROTECT, 1, FOREVER} : Faults{}};
            BOOST_CHECK_EQUAL(bitcoin_support_closed_free(key), BITCOIN_SUPPORT_OK);
        })};
        BOOST_CHECK_EQUAL(g_faults.any_failed, refused);
        BOOST_CHECK_GE(seen.first, 1U);
        // The thread needs no call to open it to itself, where there is a protection key.
        BOOST_CHECK_EQUAL(seen.second, refused && !bitcoin_support_has_protection_key() ? 1U : 0U);
    }
}

BOOST_AUTO_TEST_CASE(a_closed_secret_that_cannot_be_closed_is_told)
{
    auto* const key{static_cast<unsigned char*>(bitcoin_support_closed_alloc(32))};
    BOOST_REQUIRE(key && bitcoin_support_closed_open(key, true) == BITCOIN_SUPPORT_OK);
    {
        const Armed armed{Faults{MPROTECT, 1, FOREVER}};
        BOOST_CHECK_EQUAL(bitcoin_support_closed_close(key, true), BITCOIN_SUPPORT_STAYS_OPEN);
    }
    *key = 7; // no fault: it is open
    // The opening has ended all the same.
    BOOST_CHECK_EQUAL(bitcoin_support_closed_close(key, true), BITCOIN_SUPPORT_INVALID_HANDLE);
    BOOST_REQUIRE_EQUAL(bitcoin_support_closed_open(key, false), BITCOIN_SUPPORT_OK);
    BOOST_CHECK_EQUAL(bitcoin_support_closed_close(key, false), BITCOIN_SUPPORT_OK);

    // With a protection key there is nothing to refuse.
    int calls{0};
    const auto count{[](void* context) { ++*static_cast<int*>(context); }};
    const auto when_refused{[&](size_t first) {
        const Armed armed{Faults{MPROTECT, first, FOREVER}};
        return bitcoin_support_closed_on_this_thread(key, false, count, &calls);
    }};
    const bool has_key{bitcoin_support_has_protection_key()};
    BOOST_CHECK_EQUAL(when_refused(1), has_key ? BITCOIN_SUPPORT_OK : BITCOIN_SUPPORT_NOT_AVAILABLE);
    BOOST_CHECK_EQUAL(calls, has_key ? 1 : 0);
    BOOST_CHECK_EQUAL(when_refused(2), has_key ? BITCOIN_SUPPORT_OK : BITCOIN_SUPPORT_STAYS_OPEN);
    BOOST_CHECK_EQUAL(calls, has_key ? 2 : 1);
    BOOST_CHECK_EQUAL(bitcoin_support_closed_free(key), BITCOIN_SUPPORT_OK);
}

BOOST_AUTO_TEST_CASE(control_pages_that_are_unmapped_as_they_are)
{
    constexpr size_t PAGES{16};
    void* const memory{mmap(nullptr, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)};
    BOOST_REQUIRE(memory != MAP_FAILED);
    std::memset(memory, 0xa5, PAGES * 4096);
    const auto seen{Unmapped([&] { munmap(memory, PAGES * 4096); })};
    BOOST_CHECK_EQUAL(seen.first, PAGES);
    BOOST_CHECK_EQUAL(seen.second, PAGES);
}

BOOST_AUTO_TEST_CASE(munmap_fails_once)
{
    // munmap may fail when the process has as many mappings as it may have. Then the pages are unmapped and
    // the guard pages stay.
    const size_t page{static_cast<size_t>(sysconf(_SC_PAGESIZE))};
    const size_t calls{(LiveWithout(MUNMAP, 0, 0), g_faults.calls[MUNMAP])};
    BOOST_CHECK_EQUAL(calls, 12U);
    for (size_t n{1}; n <= calls; ++n) {
        const Outcome outcome{LiveWith({MUNMAP, n, n})};
        BOOST_CHECK(!outcome.problem);
        BOOST_CHECK_EQUAL(outcome.successes, 24U);
        BOOST_REQUIRE(g_faults.any_failed);
        BOOST_CHECK_EQUAL(g_refused_size, ARENA + 2 * page);
        BOOST_CHECK(IsMapped(g_refused_start) && IsMapped(g_refused_start + page + ARENA));
        for (size_t at{page}; at <= ARENA; at += page) BOOST_CHECK(!IsMapped(g_refused_start + at));
        __real_munmap(Address(g_refused_start), page);
        __real_munmap(Address(g_refused_start + page + ARENA), page);
    }
}

BOOST_AUTO_TEST_CASE(munmap_fails_twice)
{
    struct Nothing {
    };
    const auto live_without_munmap{[](Call also, size_t first_unmapped) {
        return RunInChild<Nothing>([=](Nothing&) {
            // A mapping that cannot be made accessible must be unmapped again at once.
            LiveWith(also == MPROTECT ? Faults{MPROTECT, 1, 1} : Faults{MUNMAP, first_unmapped, FOREVER});
        });
    }};
    BOOST_CHECK(live_without_munmap(MUNMAP, 1).Killed(SIGABRT));
    BOOST_CHECK(live_without_munmap(MUNMAP, 5).Killed(SIGABRT));
    BOOST_CHECK_EQUAL(live_without_munmap(MPROTECT, 1).status, 0); // the control
}

BOOST_AUTO_TEST_SUITE_END()
