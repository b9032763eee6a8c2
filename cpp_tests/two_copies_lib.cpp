// One side of two_copies_test.cmake: a shared library or a program, each with the library in it. The names of
// its functions begin with SIDE.

#include "sides.h"
#include "two_copies.h"

#include <support/allocators/secure.h>
#include <support/lockedpool.h>

#include <array>
#include <memory>
#include <stdexcept>
#include <vector>

size_t NAMED(SIDE, _use)(const char* in, int n)
{
    SecureString s{in};
    for (int i{0}; i < n; ++i) s += "abcdefgh";
    SecureString t{s};
    std::vector<unsigned char, secure_allocator<unsigned char>> v(s.begin(), s.end());
    for (int i{0}; i < n; ++i) v.push_back(static_cast<unsigned char>(i));
    const auto key{make_secure_unique<std::array<char, 32>>()};
    LockedPool pool{std::make_unique<Pages>()};
    Arena arena{reinterpret_cast<void*>(0x08000000), 4096, 16};
    pool.free(pool.alloc(100));
    arena.free(arena.alloc(100));
    return s.size() + t.size() + v.size() + key->size();
}

void NAMED(SIDE, _append)(SecureString& s, const char* more) { s += more; }

SecureString NAMED(SIDE, _make)() { return SecureString{"made on one side, and freed on the other"}; }

std::unique_ptr<LockedPool> NAMED(SIDE, _pool)() { return std::make_unique<LockedPool>(std::make_unique<Pages>()); }

void NAMED(SIDE, _free_badly)() { LockedPoolManager::Instance().free(reinterpret_cast<void*>(0x10)); }

LockedPoolManager* NAMED(SIDE, _manager)() { return &LockedPoolManager::Instance(); }
