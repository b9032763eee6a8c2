// See core_reference.h. In this file Arena and LockedPool are Core's classes: the build renames them.

#include "core_reference.h"

#include <support/cleanse.h>
#include <support/lockedpool.h>

#include <exception>
#include <iostream>
#include <sstream>
#include <utility>

namespace core_reference {

struct ArenaReference::Impl {
    Arena arena;
};

ArenaReference::ArenaReference(void* base, size_t size, size_t alignment)
    : impl{new Impl{{base, size, alignment}}}
{
}
ArenaReference::~ArenaReference() = default;

void* ArenaReference::Alloc(size_t size) { return impl->arena.alloc(size); }

std::string ArenaReference::Free(void* ptr)
{
    try {
        impl->arena.free(ptr);
        return {};
    } catch (const std::exception& e) {
        return e.what();
    }
}

bool ArenaReference::Contains(void* ptr) const { return impl->arena.addressInArena(ptr); }

Stats ArenaReference::GetStats() const
{
    const auto s{impl->arena.stats()};
    return {s.used, s.free, s.total, 0, s.chunks_used, s.chunks_free};
}

std::vector<WalkedChunk> ArenaReference::Walk() const
{
    std::stringstream text;
    std::streambuf* const saved{std::cout.rdbuf(text.rdbuf())};
    impl->arena.walk();
    std::cout.rdbuf(saved);

    // Core's padding comes before the 0x of a pointer: "0x00000x8000000". The last x counts.
    std::vector<WalkedChunk> chunks;
    std::string address, size, used;
    while (text >> address >> size >> used) {
        const auto number{[](const std::string& s) { return std::stoull(s.substr(s.rfind('x') + 1), nullptr, 16); }};
        chunks.push_back({static_cast<uintptr_t>(number(address)), static_cast<size_t>(number(size)), number(used) == 1});
    }
    return chunks;
}

void ArenaReference::Run(ArenaWorkload& workload, size_t iterations) { workload.Run(impl->arena, iterations); }

namespace {

struct Pages : LockedPageAllocator {
    explicit Pages(PageFunctions functions_in) : functions{std::move(functions_in)} {}
    void* AllocateLocked(size_t len, bool* lockingSuccess) override { return functions.allocate(len, lockingSuccess); }
    void FreeLocked(void* addr, size_t len) override { functions.release(addr, len); }
    size_t GetLimit() override { return functions.limit(); }
    PageFunctions functions;
};

} // namespace

struct PoolReference::Impl {
    LockedPool pool;
};

PoolReference::PoolReference(PageFunctions pages, bool (*locking_failed)())
    : impl{new Impl{LockedPool{std::make_unique<Pages>(std::move(pages)), locking_failed}}}
{
}
PoolReference::~PoolReference() = default;

void* PoolReference::Alloc(size_t size) { return impl->pool.alloc(size); }

std::string PoolReference::Free(void* ptr)
{
    try {
        impl->pool.free(ptr);
        return {};
    } catch (const std::exception& e) {
        return e.what();
    }
}

Stats PoolReference::GetStats() const
{
    const auto s{impl->pool.stats()};
    return {s.used, s.free, s.total, s.locked, s.chunks_used, s.chunks_free};
}

void* ManagerAlloc(size_t size) { return LockedPoolManager::Instance().alloc(size); }
void ManagerFree(void* ptr) { LockedPoolManager::Instance().free(ptr); }

Stats ManagerGetStats()
{
    const auto s{LockedPoolManager::Instance().stats()};
    return {s.used, s.free, s.total, s.locked, s.chunks_used, s.chunks_free};
}

void MemoryCleanse(void* ptr, size_t size) { memory_cleanse(ptr, size); }

} // namespace core_reference
