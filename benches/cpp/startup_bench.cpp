// Times the first allocation of a process: the mapping and locking of the pool's first memory. A process has
// only one first allocation, so pool_bench runs this program many times.
//
// Prints the nanoseconds, and the kilobytes that the process has locked afterwards. The source is built
// twice: on bitcoin-support (the shared library), and with BITCOIN_SUPPORT_BENCH_CORE on Core's pool.

#ifdef BITCOIN_SUPPORT_BENCH_CORE
#include "core_reference.h"
#else
#include <bitcoin_support.h>
#endif

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

void* FirstAllocation()
{
#ifdef BITCOIN_SUPPORT_BENCH_CORE
    return core_reference::ManagerAlloc(32);
#else
    return bitcoin_support_locked_pool_alloc(bitcoin_support_locked_pool_instance(), 32);
#endif
}

long LockedKb()
{
    std::FILE* const status{std::fopen("/proc/self/status", "r")};
    long kilobytes{-1};
    for (char line[256]; status && std::fgets(line, sizeof line, status);) {
        if (std::strncmp(line, "VmLck:", 6) == 0) kilobytes = std::strtol(line + 6, nullptr, 10);
    }
    if (status) std::fclose(status);
    return kilobytes;
}

} // namespace

int main()
{
    const auto start{std::chrono::steady_clock::now()};
    auto* const chunk{static_cast<volatile unsigned char*>(FirstAllocation())};
    if (!chunk) return EXIT_FAILURE;
    chunk[0] = 1;
    const std::chrono::duration<double, std::nano> elapsed{std::chrono::steady_clock::now() - start};
    std::printf("%.0f %ld\n", elapsed.count(), LockedKb());
    return EXIT_SUCCESS;
}
