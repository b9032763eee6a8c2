// Drop-in for Bitcoin Core's support/allocators/secure.h, over libbitcoin_support.
// Distributed under the MIT software license, see the accompanying file LICENSE.

#ifndef BITCOIN_SUPPORT_ALLOCATORS_SECURE_H
#define BITCOIN_SUPPORT_ALLOCATORS_SECURE_H

#include <support/cleanse.h>
#include <support/lockedpool.h>

#include <cstddef>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

/** Allocates from the process-wide pool of locked memory, which wipes every chunk when it is freed. */
template <typename T>
struct secure_allocator {
    using value_type = T;

    secure_allocator() = default;
    template <typename U>
    secure_allocator(const secure_allocator<U>&) noexcept
    {
    }

    /** Throws std::bad_alloc when the pool has no room, and std::bad_array_new_length, which is derived from
     *  it, when the size of n objects does not fit a size_t. */
    T* allocate(std::size_t n)
    {
        if (n > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_array_new_length();
        const bitcoin_support::Functions& library{bitcoin_support::functions()};
        void* const chunk{alignof(T) <= LockedPool::ARENA_ALIGN ? library.alloc(n * sizeof(T)) :
                                                                  library.alloc_aligned(n * sizeof(T), alignof(T))};
        if (!chunk) throw std::bad_alloc();
        return static_cast<T*>(chunk);
    }

    /** Wipes and frees. nullptr does nothing. Throws std::runtime_error if p is not a used chunk of the pool;
     *  the memory is as before. Also throws it if bytes next to a sampled chunk have been overwritten; the
     *  chunk has been wiped and freed. */
    void deallocate(T* p, std::size_t)
    {
        bitcoin_support::check(bitcoin_support::functions().free(p));
    }

    template <typename U>
    friend bool operator==(const secure_allocator&, const secure_allocator<U>&) noexcept
    {
        return true;
    }
    template <typename U>
    friend bool operator!=(const secure_allocator&, const secure_allocator<U>&) noexcept
    {
        return false;
    }
};

/** std::string in locked memory. But std::basic_string holds a short string in the string object itself,
 *  which is not in locked memory. When a short string grows, some of its first characters stay in the object
 *  (libstdc++: the 9th to the 15th) and are not wiped. make_secure_string avoids that. */
typedef std::basic_string<char, std::char_traits<char>, secure_allocator<char>> SecureString;

/** A byte vector in locked memory, under the name that Dash Core has for it. */
typedef std::vector<unsigned char, secure_allocator<unsigned char>> SecureVector;

/** An empty SecureString that has a buffer in locked memory from the start, with room for at least capacity
 *  characters. So no character is ever in the string object, also when the string grows, is cleared, or is
 *  moved into a new string. This ends when it is assigned another string, is swapped with one, or shrinks to
 *  fit. */
inline SecureString make_secure_string(std::size_t capacity = 0)
{
    SecureString string;
    // The capacity of an empty string is that of the string object itself.
    const std::size_t inside{string.capacity()};
    string.reserve(capacity > inside ? capacity : inside + 1);
    return string;
}

/** Wipes and frees an object of make_secure_unique. Runs no destructor, like Core's. */
template <typename T>
struct SecureUniqueDeleter {
    void operator()(T* t) noexcept { secure_allocator<T>().deallocate(t, 1); }
};

template <typename T>
using secure_unique_ptr = std::unique_ptr<T, SecureUniqueDeleter<T>>;

/** Makes a T in locked memory. */
template <typename T, typename... Args>
secure_unique_ptr<T> make_secure_unique(Args&&... as)
{
    T* const p{secure_allocator<T>().allocate(1)};
    try {
        return secure_unique_ptr<T>(new (p) T(std::forward<Args>(as)...));
    } catch (...) {
        secure_allocator<T>().deallocate(p, 1);
        throw;
    }
}

#endif // BITCOIN_SUPPORT_ALLOCATORS_SECURE_H
