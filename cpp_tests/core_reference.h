// Bitcoin Core's arena and pool, under names that do not clash with this library's. Tests and benchmarks
// compare with them.
//
// Core's lockedpool.cpp is compiled without changes, but with its classes renamed by macros.
// core_reference.cpp is compiled with the same macros and implements this interface over those classes.

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
    /** Returns the message of the exception, or an empty string if there was none. */
    std::string Free(void* ptr);
    bool Contains(void* ptr) const;
    /** Slow: Core counts all chunks. */
    Stats GetStats() const;
    /** The chunks that Core's walk() prints: used ones, then free ones, without an order. */
    std::vector<WalkedChunk> Walk() const;
    /** Continues the workload on this arena. */
    void Run(ArenaWorkload& workload, size_t iterations);

private:
    struct Impl;
    std::unique_ptr<Impl> impl;
};

/** The functions of a page allocator. */
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

// Core's process-wide pool over Core's own pages, and Core's wipe, for benchmarks. Each function is just a
// call of Core's. Exceptions pass through.
void* ManagerAlloc(size_t size);
void ManagerFree(void* ptr);
Stats ManagerGetStats();
void MemoryCleanse(void* ptr, size_t size);

} // namespace core_reference

#endif // BITCOIN_SUPPORT_CPP_TESTS_CORE_REFERENCE_H
