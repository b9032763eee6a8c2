// Drop-in for Bitcoin Core's support/allocators/zeroafterfree.h, over libbitcoin_support.
// Distributed under the MIT software license, see the accompanying file LICENSE.

#ifndef BITCOIN_SUPPORT_ALLOCATORS_ZEROAFTERFREE_H
#define BITCOIN_SUPPORT_ALLOCATORS_ZEROAFTERFREE_H

#include <support/cleanse.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

/** Allocates from the ordinary heap, and wipes memory before it frees it. */
template <typename T>
struct zero_after_free_allocator {
    using value_type = T;

    zero_after_free_allocator() noexcept = default;
    template <typename U>
    zero_after_free_allocator(const zero_after_free_allocator<U>&) noexcept
    {
    }

    /** Throws std::bad_alloc, or a type derived from it when the size of n objects does not fit a size_t. */
    T* allocate(std::size_t n) { return std::allocator<T>{}.allocate(n); }

    void deallocate(T* p, std::size_t n)
    {
        if (p == nullptr) return;
        // The product does not overflow, because allocate(n) has succeeded.
        memory_cleanse(p, sizeof(T) * n);
        std::allocator<T>{}.deallocate(p, n);
    }

    template <typename U>
    friend bool operator==(const zero_after_free_allocator&, const zero_after_free_allocator<U>&) noexcept
    {
        return true;
    }
    template <typename U>
    friend bool operator!=(const zero_after_free_allocator&, const zero_after_free_allocator<U>&) noexcept
    {
        return false;
    }
};

// The element type is char in Core up to 0.21, uint8_t in 22, and std::byte since 23. A tree of 22 defines
// this macro for the whole build.
#ifdef BITCOIN_SUPPORT_SERIALIZE_DATA_UINT8
using SerializeData = std::vector<uint8_t, zero_after_free_allocator<uint8_t>>;
#else
/** A byte vector that wipes memory before it frees it. */
using SerializeData = std::vector<std::byte, zero_after_free_allocator<std::byte>>;
#endif

/** The name and the element type in Core up to 0.21. */
typedef std::vector<char, zero_after_free_allocator<char>> CSerializeData;

#endif // BITCOIN_SUPPORT_ALLOCATORS_ZEROAFTERFREE_H
