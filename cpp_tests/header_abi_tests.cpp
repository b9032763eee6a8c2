// What the C++ headers compile into programs, so that it must stay under one ABI number: the tables of functions, the
// layout of the classes, and their virtual functions. A program contains it as it was in the version that the
// program was compiled with, and may share it with code of another version.

#include <support/allocators/sealed.h>
#include <support/allocators/secure.h>
#include <support/allocators/zeroafterfree.h>
#include <support/lockedpool.h>
#include <support/secret_stack.h>

#include <boost/test/unit_test.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <optional>
#include <type_traits>
#include <vector>

namespace {

// ---- Tables: the place of each function, and how many there are ----------------------

using bitcoin_support::Functions;
using bitcoin_support::SealFunctions;

#define PLACE(table, place, member) \
    static_assert(offsetof(table, member) == (place) * sizeof(void*), "the place of " #member)

static_assert(offsetof(Functions, abi) == 0 && std::is_same<decltype(Functions::abi), size_t>::value, "the ABI number");
PLACE(Functions, 1, arena_create);
PLACE(Functions, 2, arena_destroy);
PLACE(Functions, 3, arena_alloc);
PLACE(Functions, 4, arena_alloc_aligned);
PLACE(Functions, 5, arena_free);
PLACE(Functions, 6, arena_get_stats);
PLACE(Functions, 7, arena_walk);
PLACE(Functions, 8, locked_pool_create);
PLACE(Functions, 9, locked_pool_destroy);
PLACE(Functions, 10, locked_pool_instance);
PLACE(Functions, 11, locked_pool_alloc);
PLACE(Functions, 12, locked_pool_alloc_aligned);
PLACE(Functions, 13, locked_pool_free);
PLACE(Functions, 14, locked_pool_get_stats);
PLACE(Functions, 15, locked_pool_set_locking_failed);
PLACE(Functions, 16, alloc);
PLACE(Functions, 17, alloc_aligned);
PLACE(Functions, 18, free);
static_assert(sizeof(Functions) == 19 * sizeof(void*), "the table is closed: a new function gets a new one");

static_assert(offsetof(SealFunctions, abi) == 0 && std::is_same<decltype(SealFunctions::abi), size_t>::value, "the ABI number");
PLACE(SealFunctions, 1, seal);
PLACE(SealFunctions, 2, unseal);
PLACE(SealFunctions, 3, rotate_sealing_key);
static_assert(sizeof(SealFunctions) == 4 * sizeof(void*), "the table is closed: a new function gets a new one");

// ---- Layouts: the class in the header, and one with the members that programs know -------------

template <typename Class, typename Known>
constexpr bool LaidOutAs()
{
    return sizeof(Class) == sizeof(Known) && alignof(Class) == alignof(Known);
}

struct KnownPageAllocator {
    virtual ~KnownPageAllocator() = default;
};
struct KnownArena {
    virtual ~KnownArena() = default;
    char* base;
    size_t size;
    bitcoin_support_arena* arena;
};
struct KnownPool {
    bitcoin_support_locked_pool* pool;
    bool owned;
};
struct KnownSealed {
    std::vector<unsigned char> sealed;
    std::uint64_t number;
};
struct KnownSecretCall {
    int (&function)();
    std::optional<int> result;
    std::exception_ptr exception;
};
using Key = std::array<unsigned char, 32>;

static_assert(LaidOutAs<LockedPageAllocator, KnownPageAllocator>(), "LockedPageAllocator, from which programs derive");
static_assert(LaidOutAs<Arena, KnownArena>(), "Arena, from which programs derive");
static_assert(LaidOutAs<LockedPool, KnownPool>(), "LockedPool");
static_assert(LaidOutAs<LockedPoolManager, KnownPool>(), "LockedPoolManager");
static_assert(LaidOutAs<secure_sealed<Key>, KnownSealed>(), "secure_sealed");
static_assert(LaidOutAs<bitcoin_support::SecretCall<int (&)()>, KnownSecretCall>(), "SecretCall");
static_assert(LaidOutAs<secure_unique_ptr<Key>, Key*>(), "secure_unique_ptr");
static_assert(std::is_empty<secure_allocator<char>>::value, "secure_allocator, in every string and vector");
static_assert(std::is_empty<zero_after_free_allocator<char>>::value, "zero_after_free_allocator, in every vector");

// These are returned by value. They are Core's, and do not grow as the library's statistics do.
static_assert(LaidOutAs<Arena::Stats, size_t[5]>() && std::is_trivial<Arena::Stats>::value, "Arena::Stats");
static_assert(offsetof(Arena::Stats, used) == 0 * sizeof(size_t), "Arena::Stats::used");
static_assert(offsetof(Arena::Stats, free) == 1 * sizeof(size_t), "Arena::Stats::free");
static_assert(offsetof(Arena::Stats, total) == 2 * sizeof(size_t), "Arena::Stats::total");
static_assert(offsetof(Arena::Stats, chunks_used) == 3 * sizeof(size_t), "Arena::Stats::chunks_used");
static_assert(offsetof(Arena::Stats, chunks_free) == 4 * sizeof(size_t), "Arena::Stats::chunks_free");
static_assert(LaidOutAs<LockedPool::Stats, size_t[6]>() && std::is_trivial<LockedPool::Stats>::value, "LockedPool::Stats");
static_assert(offsetof(LockedPool::Stats, used) == 0 * sizeof(size_t), "LockedPool::Stats::used");
static_assert(offsetof(LockedPool::Stats, free) == 1 * sizeof(size_t), "LockedPool::Stats::free");
static_assert(offsetof(LockedPool::Stats, total) == 2 * sizeof(size_t), "LockedPool::Stats::total");
static_assert(offsetof(LockedPool::Stats, locked) == 3 * sizeof(size_t), "LockedPool::Stats::locked");
static_assert(offsetof(LockedPool::Stats, chunks_used) == 4 * sizeof(size_t), "LockedPool::Stats::chunks_used");
static_assert(offsetof(LockedPool::Stats, chunks_free) == 5 * sizeof(size_t), "LockedPool::Stats::chunks_free");

// ---- Virtual functions ---------------------------------------------------------------

/** The place of a virtual function in the table of its class. A pointer to it begins with the offset, to which all
 *  processors but ARM add 1. */
template <typename MemberFunction>
size_t PlaceOf(MemberFunction function)
{
    uintptr_t offset;
    static_assert(sizeof(function) >= sizeof(offset), "it begins with the offset");
    std::memcpy(&offset, &function, sizeof(offset));
    return (offset & ~uintptr_t{1}) / sizeof(void*);
}

struct DerivedAllocator : LockedPageAllocator {
    virtual void Next() {}
};
struct DerivedArena : Arena {
    virtual void Next() {}
};

} // namespace

BOOST_AUTO_TEST_SUITE(header_abi_tests)

// The destructor has the first two places. A derived class has its own functions after those of the base.
BOOST_AUTO_TEST_CASE(virtual_functions_stay_in_their_places)
{
    BOOST_CHECK_EQUAL(PlaceOf(&LockedPageAllocator::AllocateLocked), 2U);
    BOOST_CHECK_EQUAL(PlaceOf(&LockedPageAllocator::FreeLocked), 3U);
    BOOST_CHECK_EQUAL(PlaceOf(&LockedPageAllocator::GetLimit), 4U);
    BOOST_CHECK_EQUAL(PlaceOf(&DerivedAllocator::Next), 5U);
    BOOST_CHECK_EQUAL(PlaceOf(&DerivedArena::Next), 2U);
}

BOOST_AUTO_TEST_CASE(tables_have_the_number_of_the_header)
{
    BOOST_CHECK_EQUAL(bitcoin_support::functions().abi, size_t{BITCOIN_SUPPORT_ABI});
    BOOST_CHECK_EQUAL(bitcoin_support::seal_functions().abi, size_t{BITCOIN_SUPPORT_ABI});
}

BOOST_AUTO_TEST_SUITE_END()
