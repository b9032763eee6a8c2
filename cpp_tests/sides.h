// What both sides of two_copies_test.cmake and of header_versions_test.cmake have: code that is compiled twice in one process,
// each time with another name in the macro SIDE.

#ifndef BITCOIN_SUPPORT_CPP_TESTS_SIDES_H
#define BITCOIN_SUPPORT_CPP_TESTS_SIDES_H

#include <support/lockedpool.h>

#include <cstddef>
#include <new>

#define CONCATENATED(a, b) a##b
#define NAMED(side, name) CONCATENATED(side, name)

namespace {
/** Ordinary memory. */
class Pages : public LockedPageAllocator
{
public:
    void* AllocateLocked(size_t len, bool* lockingSuccess) override
    {
        *lockingSuccess = true;
        return ::operator new (len, std::align_val_t{4096});
    }
    void FreeLocked(void* addr, size_t) override { ::operator delete (addr, std::align_val_t{4096}); }
    size_t GetLimit() override { return ~size_t{0}; }
};
} // namespace

#endif
