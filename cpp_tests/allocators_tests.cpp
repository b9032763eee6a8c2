// The C++ allocators. The contents of secure_allocator's strings and pointers lie in the process-wide locked
// pool and are wiped when they are freed. The contents of zero_after_free_allocator are wiped before they
// return to the heap. Both work with the standard containers, and report every size and alignment that they
// cannot serve.

#include "test_util.h"

#include <support/allocators/sealed.h>
#include <support/allocators/secure.h>
#include <support/allocators/zeroafterfree.h>

#include <boost/test/unit_test.hpp>

#include <array>
#include <limits>
#include <list>
#include <map>
#include <new>
#include <set>
#include <stdexcept>
#include <type_traits>
#include <unordered_map>
#include <utility>

using namespace test;

namespace {

LockedPool::Stats PoolStats() { return LockedPoolManager::Instance().stats(); }

/** Whether a chunk in use of the process-wide pool contains the address. */
bool InPool(const void* ptr)
{
    struct Search {
        uintptr_t wanted;
        bool found;
    } search{Number(ptr), false};
    bitcoin_support_locked_pool_walk(
        bitcoin_support_locked_pool_instance(),
        [](void* context, void* chunk, size_t size, bool used) {
            auto& s{*static_cast<Search*>(context)};
            s.found = used && s.wanted - Number(chunk) < size;
            return !s.found;
        },
        &search);
    return search.found;
}

/** Checks at the end of a scope that the pool holds as many bytes as at its beginning. */
struct NothingLeft {
    LockedPool::Stats before{PoolStats()};
    ~NothingLeft()
    {
        BOOST_CHECK_EQUAL(PoolStats().used, before.used);
        BOOST_CHECK_EQUAL(PoolStats().chunks_used, before.chunks_used);
    }
};

// The one block that a test watches, and what operator delete found in it.
const void* g_watched{nullptr};
size_t g_watched_size{0};
bool g_watched_deleted{false};
bool g_watched_was_zero{false};
bool g_watched_was_marked{false};

constexpr unsigned char MARK{0xa5};

void Watch(const void* block, size_t size)
{
    g_watched = block;
    g_watched_size = size;
    g_watched_deleted = g_watched_was_zero = g_watched_was_marked = false;
}

/** Fills memory in a way that no optimizer can call useless. */
void Mark(void* memory, size_t size)
{
    std::memset(memory, MARK, size);
    __asm__ volatile(""
                     :
                     : "r"(memory)
                     : "memory");
}

} // namespace

// Not inlined: the compiler would see malloc paired with delete, and warn.
[[gnu::noinline]] void* operator new(size_t size)
{
    if (void* const block{std::malloc(size > 0 ? size : 1)}) return block;
    throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* block) noexcept
{
    if (block != nullptr && block == g_watched) {
        g_watched_deleted = true;
        g_watched_was_zero = AllBytesAre(block, g_watched_size, 0);
        g_watched_was_marked = AllBytesAre(block, g_watched_size, MARK);
        g_watched = nullptr;
    }
    std::free(block);
}
[[gnu::noinline]] void operator delete(void* block, size_t) noexcept { operator delete(block); }

BOOST_AUTO_TEST_SUITE(allocators)

BOOST_AUTO_TEST_CASE(secure_allocator_uses_the_pool_and_wipes)
{
    NothingLeft nothing_left;
    secure_allocator<uint32_t> allocator;
    uint32_t* const numbers{allocator.allocate(25)};
    BOOST_CHECK(InPool(numbers));
    BOOST_CHECK_EQUAL(PoolStats().used, nothing_left.before.used + TAKEN_BY_100);
    Mark(numbers, 100);
    allocator.deallocate(numbers, 25);
    BOOST_CHECK(!InPool(numbers));
    BOOST_CHECK(AllBytesAre(numbers, 112, 0));
    allocator.deallocate(nullptr, 0);
    allocator.deallocate(nullptr, 25);
}

BOOST_AUTO_TEST_CASE(secure_allocator_refuses_sizes)
{
    NothingLeft nothing_left;
    constexpr size_t MAX{std::numeric_limits<size_t>::max()};
    // Products that overflow: 8 * (2^61 + 1) would be 8 bytes.
    BOOST_CHECK_THROW(secure_allocator<uint64_t>{}.allocate(MAX / 8 + 2), std::bad_array_new_length);
    BOOST_CHECK_THROW(secure_allocator<uint64_t>{}.allocate(MAX), std::bad_array_new_length);
    BOOST_CHECK_THROW((secure_allocator<std::array<char, 3>>{}.allocate(MAX / 3 + 1)), std::bad_array_new_length);
    // Sizes that do not overflow but that no system has.
    BOOST_CHECK_THROW(secure_allocator<char>{}.allocate(MAX), std::bad_alloc);
    BOOST_CHECK_THROW(secure_allocator<char>{}.allocate(LockedPool::ARENA_SIZE + 1), std::bad_alloc);
    BOOST_CHECK_THROW(secure_allocator<char>{}.allocate(0), std::bad_alloc); // as Core
    char* const largest{secure_allocator<char>{}.allocate(LockedPool::ARENA_SIZE)};
    secure_allocator<char>{}.deallocate(largest, LockedPool::ARENA_SIZE);
    // Containers that ask for too much memory stay unchanged.
    std::vector<char, secure_allocator<char>> bytes(100, 'x');
    BOOST_CHECK_THROW(bytes.reserve(LockedPool::ARENA_SIZE + 1), std::bad_alloc);
    BOOST_CHECK(bytes == decltype(bytes)(100, 'x'));
}

BOOST_AUTO_TEST_CASE(secure_allocator_refuses_pointers)
{
    NothingLeft nothing_left;
    secure_allocator<unsigned char> allocator;
    unsigned char outside[32];
    Mark(outside, sizeof(outside));
    BOOST_CHECK_THROW(allocator.deallocate(outside, sizeof(outside)), std::runtime_error);
    BOOST_CHECK(AllBytesAre(outside, sizeof(outside), MARK)); // Core's would have been wiped first

    unsigned char* const chunk{allocator.allocate(64)};
    Mark(chunk, 64);
    BOOST_CHECK_THROW(allocator.deallocate(chunk + 16, 16), std::runtime_error);
    BOOST_CHECK(AllBytesAre(chunk, 64, MARK));
    allocator.deallocate(chunk, 64);
    BOOST_CHECK_THROW(allocator.deallocate(chunk, 64), std::runtime_error);
}

template <size_t ALIGNMENT>
void CheckOverAligned()
{
    struct alignas(ALIGNMENT) Block {
        unsigned char bytes[ALIGNMENT];
    };
    NothingLeft nothing_left;
    std::vector<Block, secure_allocator<Block>> blocks;
    for (int i{0}; i < 3; ++i) {
        blocks.emplace_back();
        BOOST_CHECK_EQUAL(Number(blocks.data()) % ALIGNMENT, 0U);
        BOOST_CHECK(InPool(&blocks.back()));
        Mark(&blocks.back(), sizeof(Block));
    }
    const auto pointer{make_secure_unique<Block>()};
    BOOST_CHECK_EQUAL(Number(pointer.get()) % ALIGNMENT, 0U);
}

BOOST_AUTO_TEST_CASE(over_aligned_types)
{
    CheckOverAligned<1>();
    CheckOverAligned<16>();
    CheckOverAligned<32>();
    CheckOverAligned<64>();
    CheckOverAligned<4096>();
    CheckOverAligned<16384>();
}

BOOST_AUTO_TEST_CASE(allocators_meet_the_requirements)
{
    using Secure = secure_allocator<int>;
    using Zero = zero_after_free_allocator<int>;
    using SecureTraits = std::allocator_traits<Secure>;
    using ZeroTraits = std::allocator_traits<Zero>;
    static_assert(std::is_same<SecureTraits::rebind_alloc<char>, secure_allocator<char>>::value, "");
    static_assert(std::is_same<ZeroTraits::rebind_alloc<char>, zero_after_free_allocator<char>>::value, "");
    static_assert(SecureTraits::is_always_equal::value && ZeroTraits::is_always_equal::value, "");
    static_assert(std::is_nothrow_copy_constructible<Secure>::value && std::is_nothrow_copy_constructible<Zero>::value, "");
    static_assert(std::is_nothrow_constructible<Secure, secure_allocator<char>>::value, "");
    static_assert(std::is_nothrow_constructible<Zero, zero_after_free_allocator<char>>::value, "");

    // Each allocator can free blocks of any other allocator of its kind.
    NothingLeft nothing_left;
    secure_allocator<char> chars;
    Secure ints{chars};
    BOOST_CHECK(ints == chars && chars == ints && ints == Secure{} && !(ints != chars) && !(ints != Secure{}));
    int* const number{ints.allocate(1)};
    chars.deallocate(reinterpret_cast<char*>(number), sizeof(int));
    zero_after_free_allocator<char> zero_chars;
    Zero zero_ints{zero_chars};
    BOOST_CHECK(zero_ints == zero_chars && zero_chars == zero_ints && !(zero_ints != zero_chars) && !(zero_ints != Zero{}));
}

BOOST_AUTO_TEST_CASE(standard_containers_of_secrets)
{
    NothingLeft nothing_left;
    std::vector<int, secure_allocator<int>> vector;
    for (int i{0}; i < 1000; ++i) vector.push_back(i);
    BOOST_CHECK(InPool(&vector.front()) && InPool(&vector.back()) && vector[999] == 999);

    std::list<int, secure_allocator<int>> list{1, 2, 3};
    list.push_back(4);
    BOOST_CHECK(InPool(&list.front()) && InPool(&list.back()) && list.size() == 4);

    using Pair = std::pair<const int, SecureString>;
    std::map<int, SecureString, std::less<int>, secure_allocator<Pair>> map;
    std::unordered_map<int, SecureString, std::hash<int>, std::equal_to<int>, secure_allocator<Pair>> unordered;
    for (int i{0}; i < 100; ++i) {
        map[i] = SecureString(static_cast<size_t>(i), 'm');
        unordered[i] = SecureString(static_cast<size_t>(i), 'u');
    }
    map.erase(50);
    unordered.erase(50);
    BOOST_CHECK(InPool(&map.at(99)) && InPool(&unordered.at(99)));
    BOOST_CHECK(map.at(99) == SecureString(99, 'm') && unordered.at(99) == SecureString(99, 'u'));

    std::set<SecureString, std::less<SecureString>, secure_allocator<SecureString>> set{"b", "a"};
    BOOST_CHECK(InPool(&*set.begin()) && *set.begin() == "a");

    // Moves transfer the memory, swaps exchange it, and copies have new memory.
    const int* const place{vector.data()};
    auto moved{std::move(vector)};
    BOOST_CHECK_EQUAL(moved.data(), place);
    const auto copy{moved};
    BOOST_CHECK(copy == moved && copy.data() != place && InPool(copy.data()));
    decltype(moved) other{7};
    swap(moved, other);
    BOOST_CHECK_EQUAL(other.data(), place);
}

BOOST_AUTO_TEST_CASE(secure_string)
{
    NothingLeft nothing_left;
    SecureString secret{"correct horse battery staple"};
    BOOST_CHECK(InPool(secret.data()));
    const char* const old_place{secret.data()};
    const size_t old_size{secret.size()};
    secret += secret + secret + secret; // must move to a larger chunk
    BOOST_CHECK(secret.data() != old_place && InPool(secret.data()));
    BOOST_CHECK_EQUAL(secret.size(), 4 * old_size);
    BOOST_CHECK(AllBytesAre(old_place, old_size, 0)); // the old chunk is wiped

    const char* const place{secret.data()};
    const size_t size{secret.size()};
    secret.clear();
    secret.shrink_to_fit();
    BOOST_CHECK(AllBytesAre(place, size, 0));
    secret.assign(std::string(300, 'x').c_str());
    BOOST_CHECK(secret == SecureString(300, 'x') && secret.find('y') == SecureString::npos);
}

BOOST_AUTO_TEST_CASE(secure_vector)
{
    NothingLeft nothing_left;
    SecureVector key(32, MARK);
    const unsigned char* const place{key.data()};
    BOOST_CHECK(InPool(place));
    key = SecureVector{};
    BOOST_CHECK(AllBytesAre(place, 32, 0));
}

BOOST_AUTO_TEST_CASE(secure_unique_pointers)
{
    NothingLeft nothing_left;
    struct Key {
        Key(int a, std::unique_ptr<int>&& b) : sum{a + *b} {}
        int sum;
        unsigned char bytes[60];
    };
    secure_unique_ptr<Key> key{make_secure_unique<Key>(40, std::make_unique<int>(2))};
    BOOST_CHECK(InPool(key.get()));
    BOOST_CHECK_EQUAL(key->sum, 42);
    Mark(key->bytes, sizeof(key->bytes));
    const Key* const place{key.get()};
    secure_unique_ptr<Key> moved{std::move(key)};
    BOOST_CHECK(key == nullptr && moved.get() == place);
    moved.reset();
    BOOST_CHECK(AllBytesAre(place, sizeof(Key), 0));
    moved.reset();
    static_assert(sizeof(moved) == sizeof(Key*), "the deleter has no state");

    // No destructor runs, as with Core's: keys are bytes.
    static int destroyed;
    destroyed = 0;
    struct Noisy {
        ~Noisy() { ++destroyed; }
    };
    make_secure_unique<Noisy>().reset();
    BOOST_CHECK_EQUAL(destroyed, 0);
}

BOOST_AUTO_TEST_CASE(constructor_of_a_secure_unique_object_throws)
{
    NothingLeft nothing_left;
    static unsigned char* place;
    struct Thrower {
        Thrower()
        {
            place = bytes;
            Mark(bytes, sizeof(bytes));
            throw std::length_error{"thrown"};
        }
        unsigned char bytes[64];
    };
    BOOST_CHECK_EXCEPTION(make_secure_unique<Thrower>(), std::length_error, [](const std::length_error& e) { return e.what() == std::string{"thrown"}; });
    BOOST_CHECK(!InPool(place) && AllBytesAre(place, 64, 0)); // its bytes are wiped
    struct Huge {
        char bytes[LockedPool::ARENA_SIZE + 1];
    };
    BOOST_CHECK_THROW(make_secure_unique<Huge>(), std::bad_alloc);
}

BOOST_AUTO_TEST_CASE(zero_after_free_wipes_before_the_heap_has_it)
{
    zero_after_free_allocator<uint64_t> allocator;
    for (const size_t count : {size_t{1}, size_t{5}, size_t{1000}}) {
        uint64_t* const block{allocator.allocate(count)};
        BOOST_CHECK(!InPool(block));
        Mark(block, count * sizeof(uint64_t));
        Watch(block, count * sizeof(uint64_t));
        allocator.deallocate(block, count);
        BOOST_CHECK(g_watched_deleted && g_watched_was_zero);
    }
    allocator.deallocate(nullptr, 0);
    allocator.deallocate(nullptr, 5);

    // The control: std::allocator returns the bytes to the heap.
    std::allocator<uint64_t> plain;
    uint64_t* const block{plain.allocate(5)};
    Mark(block, 5 * sizeof(uint64_t));
    Watch(block, 5 * sizeof(uint64_t));
    plain.deallocate(block, 5);
    BOOST_CHECK(g_watched_deleted && g_watched_was_marked);
}

BOOST_AUTO_TEST_CASE(zero_after_free_refuses_sizes)
{
    constexpr size_t MAX{std::numeric_limits<size_t>::max()};
    // Through a pointer, so that no compiler warns of the size, which must be refused.
    const volatile size_t sizes[]{MAX, MAX / 8 + 2, MAX / 8 + 1};
    for (const volatile size_t& size : sizes) BOOST_CHECK_THROW(zero_after_free_allocator<uint64_t>{}.allocate(size), std::bad_alloc);
}

BOOST_AUTO_TEST_CASE(serialize_data)
{
    static_assert(std::is_same<SerializeData::value_type, std::byte>::value, "Core since 23");
    static_assert(std::is_same<CSerializeData::value_type, char>::value, "Core up to 0.21");

    SerializeData data(64, std::byte{MARK});
    Watch(data.data(), data.size());
    data.resize(1000); // moves
    BOOST_CHECK(g_watched_deleted && g_watched_was_zero);
    BOOST_CHECK(AllBytesAre(data.data(), 64, MARK));

    data.assign(1000, std::byte{MARK});
    Watch(data.data(), data.size());
    data = SerializeData{}; // frees the memory
    BOOST_CHECK(g_watched_deleted && g_watched_was_zero);

    {
        CSerializeData chars(100, 'x');
        Watch(chars.data(), chars.size());
        CSerializeData copy{chars};
        chars.swap(copy);
        BOOST_CHECK(!g_watched_deleted);
    }
    BOOST_CHECK(g_watched_deleted && g_watched_was_zero);

    using Map = std::map<int, int, std::less<int>, zero_after_free_allocator<std::pair<const int, int>>>;
    Map map{{1, 2}, {3, 4}};
    Watch(&map.begin()->first, sizeof(int)); // inside a node: no block begins there
    map.erase(1);
    BOOST_CHECK(map.size() == 1 && map.at(3) == 4);
}

BOOST_AUTO_TEST_CASE(sealed_objects_that_cannot_be_opened)
{
    const std::array<unsigned char, 32> key{1, 2, 3};
    secure_sealed<std::array<unsigned char, 32>> sealed{key};
    BOOST_CHECK(*sealed.open() == key);
    // What throws changes nothing.
    BOOST_CHECK_THROW(sealed.change([](auto& open) { open[0] = 9; throw std::logic_error{"no"}; }), std::logic_error);
    BOOST_CHECK(*sealed.open() == key);
    const secure_sealed<std::array<unsigned char, 32>> moved{std::move(sealed)};
    BOOST_CHECK(*moved.open() == key);
    BOOST_CHECK_THROW(sealed.open(), std::runtime_error);
    static_assert(!std::is_copy_constructible<secure_sealed<int>>::value, "a copy is deliberate");
    bitcoin_support_wipe_all();
    BOOST_CHECK_THROW(moved.open(), std::runtime_error);
}

BOOST_AUTO_TEST_SUITE_END()
