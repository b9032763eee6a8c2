// Bitcoin Core's own arena and pool, under names that do not clash with ours, for the tests and the
// benchmark to compare with.
//
// Core's lockedpool.cpp is compiled as it is, with its classes renamed by macros; core_reference.cpp,
// which is compiled with the same macros, puts this interface before it.

#ifndef BITCOIN_SUPPORT_CPP_TESTS_CORE_REFERENCE_H
#define BITCOIN_SUPPORT_CPP_TESTS_CORE_REFERENCE_H

#include "arena_workload.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace core_reference {

struct Stats {
    size_t used, free, total, locked, chunks_used, chunks_free;
};

struct WalkedChunk {
    uintptr_t address;
    size_t size;
    bool used;
};

class ArenaReference
{
public:
    ArenaReference(void* base, size_t size, size_t alignment);
    ~ArenaReference();

    void* Alloc(size_t size);
    /** The message of the exception, empty if there is none. */
    std::string Free(void* ptr);
    bool Contains(void* ptr) const;
    /** Takes time: Core counts. */
    Stats GetStats() const;
    /** What Core's walk() prints: used chunks, then free ones, in no order. */
    std::vector<WalkedChunk> Walk() const;
    /** Goes on with the benchmark's loop on this arena. */
    void Run(ArenaWorkload& workload, size_t iterations);

private:
    struct Impl;
    std::unique_ptr<Impl> impl;
};

/** What a pool asks its page allocator. */
struct PageFunctions {
    std::function<void*(size_t, bool*)> allocate;
    std::function<void(void*, size_t)> release;
    std::function<size_t()> limit;
};

class PoolReference
{
public:
    PoolReference(PageFunctions pages, bool (*locking_failed)());
    ~PoolReference();

    void* Alloc(size_t size);
    std::string Free(void* ptr);
    Stats GetStats() const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl;
};

// Core's process-wide pool over Core's own pages, and Core's wipe: no more than a call each, for the
// benchmark. What Core throws passes.
void* ManagerAlloc(size_t size);
void ManagerFree(void* ptr);
Stats ManagerGetStats();
void MemoryCleanse(void* ptr, size_t size);

} // namespace core_reference

#endif // BITCOIN_SUPPORT_CPP_TESTS_CORE_REFERENCE_H
