// Helpers of the test programs: the kernel's view of this process, code that runs in a child process, mock
// pages, random numbers. On Windows there is no fork, and so there are no children that run a part of a program.

#ifndef BITCOIN_SUPPORT_CPP_TESTS_TEST_UTIL_H
#define BITCOIN_SUPPORT_CPP_TESTS_TEST_UTIL_H

#include <support/lockedpool.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <unistd.h>
#ifdef _WIN32
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#else
#include <sys/uio.h>
#include <sys/wait.h>
#endif

/** Returns from a test that cannot run here. CTest reads the line and counts the test as skipped. */
#define SKIP_TEST(reason)                       \
    do {                                        \
        std::printf("skipped: %s\n", (reason)); \
        return;                                 \
    } while (false)

namespace test {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool SANITIZED{true};
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool SANITIZED{true};
#else
constexpr bool SANITIZED{false};
#endif
#else
constexpr bool SANITIZED{false};
#endif

/** Set by the CTest entries that run under valgrind. */
inline bool UnderValgrind() { return std::getenv("BITCOIN_SUPPORT_UNDER_VALGRIND") != nullptr; }

/** Set by scripts/test-target where an emulator of another processor runs the tests. */
inline bool Emulated() { return std::getenv("BITCOIN_SUPPORT_EMULATED") != nullptr; }

/** Whether addresses have 64 bits, and not 32. */
constexpr bool WIDE{sizeof(size_t) == 8};

/** The first address that Core's tests use. Nothing is mapped there. */
constexpr uintptr_t SYNTHETIC_BASE{0x08000000};

inline void* Address(uintptr_t number) { return reinterpret_cast<void*>(number); }
inline uintptr_t Number(const void* address) { return reinterpret_cast<uintptr_t>(address); }

#ifdef _WIN32
inline size_t PageSize()
{
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return info.dwPageSize;
}

/** Whether the system can read all of the bytes. It does so without a fault. */
inline bool ReadBytes(const void* from, void* to, size_t size)
{
    SIZE_T read{0};
    return ReadProcessMemory(GetCurrentProcess(), from, to, size, &read) && read == size;
}
#else
inline size_t PageSize()
{
    return static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

/** Whether the system can read all of the bytes, which are at most 4096. It does so without a fault. Emulators of other
 *  processors lack process_vm_readv; there the bytes go through a pipe. */
inline bool ReadBytes(const void* from, void* to, size_t size)
{
    const iovec local{to, size};
    const iovec remote{const_cast<void*>(from), size};
    const ssize_t got{process_vm_readv(getpid(), &local, 1, &remote, 1, 0)};
    if (got >= 0 || errno != ENOSYS) return got == static_cast<ssize_t>(size);
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    const bool could{write(ends[1], from, size) == static_cast<ssize_t>(size)};
    if (could && read(ends[0], to, size) != static_cast<ssize_t>(size)) std::abort();
    close(ends[0]);
    close(ends[1]);
    return could;
}

/** Number of bytes that this process has locked, by the kernel's count. */
inline size_t KernelLockedBytes()
{
    std::ifstream status{"/proc/self/status"};
    for (std::string line; std::getline(status, line);) {
        if (line.rfind("VmLck:", 0) == 0) return std::strtoul(line.c_str() + 6, nullptr, 10) * 1024;
    }
    std::abort();
}

/** Whether there is a mapping at an address. (Emulators have no mincore for pages that cannot be read.) */
inline bool IsMapped(uintptr_t address)
{
    std::ifstream maps{"/proc/self/maps"};
    for (std::string line; std::getline(maps, line);) {
        unsigned long long first, end;
        if (std::sscanf(line.c_str(), "%llx-%llx ", &first, &end) == 2 && first <= address && address < end) return true;
    }
    return false;
}

/** Number of mappings of this process. */
inline size_t MappingCount()
{
    std::ifstream maps{"/proc/self/maps"};
    size_t count{0};
    for (std::string line; std::getline(maps, line);) ++count;
    return count;
}
#endif

/** Whether all bytes have this value, or, with or_gone, are not mapped. The kernel reads them, because
 *  AddressSanitizer and valgrind report a read of freed memory. */
inline bool AllBytesAre(const void* memory, size_t size, unsigned char value, bool or_gone = false)
{
    unsigned char bytes[4096];
    for (size_t done{0}; done < size;) {
        const size_t part{std::min(size - done, sizeof(bytes))};
        if (!ReadBytes(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(memory) + done), bytes, part)) {
            if (or_gone) return true;
            std::abort();
        }
        if (!std::all_of(bytes, bytes + part, [&](unsigned char byte) { return byte == value; })) return false;
        done += part;
    }
    return true;
}

/** Whether the bytes of a freed chunk are zeros, or not mapped because their arena was given back. */
inline bool AreWiped(const void* memory, size_t size) { return AllBytesAre(memory, size, 0, true); }

/** Number of bytes that a chunk of 100 bytes takes in the process-wide pool. It is larger if the library
 *  marks the edges of chunks for AddressSanitizer or valgrind. */
#ifdef BITCOIN_SUPPORT_SEES_EDGES
constexpr size_t TAKEN_BY_100{128};
#else
constexpr size_t TAKEN_BY_100{112};
#endif

/** splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): with
 *  the same numbers on every machine. */
class Random
{
public:
    explicit Random(uint64_t seed) : state{seed} {}

    uint64_t Next()
    {
        state += 0x9e3779b97f4a7c15;
        uint64_t z{state};
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

    /** A number below bound, which is not 0. */
    size_t Below(size_t bound) { return static_cast<size_t>(Next() % bound); }

private:
    uint64_t state;
};

#ifndef _WIN32
/** How a child process ended, and its report. */
template <typename Report>
struct Child {
    /** The status from waitpid. */
    int status{0};
    /** Whether the child ran to its end and its report has arrived. */
    bool reported{false};
    Report report{};

    bool Killed(int signal) const { return WIFSIGNALED(status) && WTERMSIG(status) == signal; }
};

/** Runs body(report) in a child process, and ends the child by leave(0) when body returns. By default, no
 *  exit handlers run. */
template <typename Report, typename Body>
Child<Report> RunInChild(Body body, void (*leave)(int) = &_exit)
{
    static_assert(std::is_trivially_copyable<Report>::value, "a report goes through a pipe");
    int pipe_ends[2];
    if (pipe(pipe_ends) != 0) std::abort();
    std::fflush(nullptr);
    const pid_t pid{fork()};
    if (pid < 0) std::abort();
    if (pid == 0) {
        // Boost.Test would catch a signal, report a failed check and continue.
        for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP}) std::signal(signal, SIG_DFL);
        Report report{};
        try {
            body(report);
        } catch (...) {
            _exit(99);
        }
        if (write(pipe_ends[1], &report, sizeof(report)) != static_cast<ssize_t>(sizeof(report))) _exit(98);
        leave(0);
    }
    close(pipe_ends[1]);
    Child<Report> child;
    child.reported = read(pipe_ends[0], &child.report, sizeof(child.report)) == static_cast<ssize_t>(sizeof(child.report));
    close(pipe_ends[0]);
    while (waitpid(pid, &child.status, 0) != pid) {
    }
    return child;
}
#endif

/** Pages at addresses that are not mapped, 16 MiB apart, as in Core's own tests. It writes all calls to a
 *  journal, which must outlive it. */
class MockPages : public LockedPageAllocator
{
public:
    struct Journal {
        size_t limit_asked{0};
        size_t allocated{0};
        std::vector<std::pair<uintptr_t, size_t>> live;
        bool destroyed{false};
        bool freed_other_than_allocated{false};
    };

    MockPages(Journal& journal_in, size_t pages_in, size_t locked_in, size_t limit_in = SIZE_MAX)
        : journal{journal_in}, pages{pages_in}, locked{locked_in}, limit{limit_in}
    {
    }
    ~MockPages() override { journal.destroyed = true; }

    void* AllocateLocked(size_t len, bool* lockingSuccess) override
    {
        *lockingSuccess = false;
        if (journal.allocated == pages) return nullptr;
        const uintptr_t address{SYNTHETIC_BASE + (journal.allocated << 24)};
        *lockingSuccess = journal.allocated < locked;
        ++journal.allocated;
        journal.live.emplace_back(address, len);
        return Address(address);
    }

    void FreeLocked(void* addr, size_t len) override
    {
        const auto it{std::find(journal.live.begin(), journal.live.end(), std::make_pair(Number(addr), len))};
        if (it == journal.live.end()) {
            journal.freed_other_than_allocated = true;
        } else {
            journal.live.erase(it);
        }
    }

    size_t GetLimit() override
    {
        ++journal.limit_asked;
        return limit;
    }

private:
    Journal& journal;
    size_t pages;
    size_t locked;
    size_t limit;
};

} // namespace test

#endif // BITCOIN_SUPPORT_CPP_TESTS_TEST_UTIL_H
