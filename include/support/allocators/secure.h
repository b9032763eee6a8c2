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

/** Allocates from the process-wide pool of locked memory, which wipes whatever is freed. */
template <typename T>
struct secure_allocator {
    using value_type = T;

    secure_allocator() = default;
    template <typename U>
    secure_allocator(const secure_allocator<U>&) noexcept
    {
    }

    /** Throws std::bad_alloc when the pool has no room, also when n objects exceed what size_t can
     *  count. */
    T* allocate(std::size_t n)
    {
        if (n > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_array_new_length();
        const bitcoin_support::Functions& library{bitcoin_support::functions()};
        void* const chunk{alignof(T) <= LockedPool::ARENA_ALIGN ? library.alloc(n * sizeof(T)) :
                                                                  library.alloc_aligned(n * sizeof(T), alignof(T))};
        if (!chunk) throw std::bad_alloc();
        return static_cast<T*>(chunk);
    }

    /** Wipes and frees; nullptr does nothing. Throws std::runtime_error on anything but a chunk of the
     *  pool, without touching it. */
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

/** std::string in locked memory. A short string that the string object holds in itself is not in
 *  locked memory; std::basic_string decides which those are. One that was short and has grown leaves a part of
 *  its first characters in the object (libstdc++: the 9th to the 15th), which nobody wipes. See
 *  make_secure_string. */
typedef std::basic_string<char, std::char_traits<char>, secure_allocator<char>> SecureString;

/** An empty SecureString with room for capacity characters and more, none of which will lie in the string
 *  object, not even the first: it has a buffer in locked memory from the start. So it stays when it grows, is
 *  cleared, or is moved into a new string; it does not when it is assigned another string, is swapped with one,
 *  or shrinks to fit. */
inline SecureString make_secure_string(std::size_t capacity = 0)
{
    SecureString string;
    // What an empty string has room for, it holds in itself.
    const std::size_t inside{string.capacity()};
    string.reserve(capacity > inside ? capacity : inside + 1);
    return string;
}

/** Frees what make_secure_unique made. Wipes, but runs no destructor, as Core's does not. */
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
