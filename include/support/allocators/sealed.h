// Secrets that are encrypted while they are not in use, over libbitcoin_support. Not in Bitcoin Core.
// Distributed under the MIT software license, see the accompanying file LICENSE.

#ifndef BITCOIN_SUPPORT_ALLOCATORS_SEALED_H
#define BITCOIN_SUPPORT_ALLOCATORS_SEALED_H

#include <bitcoin_support.h>
#include <support/allocators/secure.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <type_traits>
#include <utility>
#include <vector>

namespace bitcoin_support {
/** The functions of the library that seal, for the reason that is told at functions(). They have a separate
 *  object, so that a program that seals nothing is not linked with a cipher. This table is closed as well, for the
 *  reason that is told at Functions. */
struct SealFunctions {
    /** The ABI number of the version that made the object. */
    size_t abi;
    decltype(&bitcoin_support_seal) seal;
    decltype(&bitcoin_support_unseal) unseal;
    decltype(&bitcoin_support_rotate_sealing_key) rotate_sealing_key;
};

/** The functions of the one copy of the library that seals for all C++ code of the process. */
inline const SealFunctions& seal_functions()
{
    static const SealFunctions own{
        BITCOIN_SUPPORT_ABI,
        &bitcoin_support_seal,
        &bitcoin_support_unseal,
        &bitcoin_support_rotate_sealing_key,
    };
    const SealFunctions* one{&own};
#ifdef __GNUC__
    // As in functions(): the linker may choose another definition.
    __asm__(""
            : "+r"(one));
#endif
    if (one->abi != BITCOIN_SUPPORT_ABI) std::abort();
    return *one;
}

/** A number that no other call returns, in programs and libraries that share this function. */
inline std::uint64_t next_seal_number()
{
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
}
} // namespace bitcoin_support

/** A T that is encrypted on the ordinary heap while it is not in use. The key lies in locked memory, 16 KiB for
 *  all sealed objects together. open() decrypts into locked memory, and change() does so for changes.
 *
 *  bitcoin_support_wipe_all wipes the key, and a child of fork has it only if it has the other secrets of the
 *  process-wide pool. Without it, and when the sealed bytes have been changed or exchanged, open() throws
 *  std::runtime_error. All members throw std::bad_alloc where there is no locked memory.
 *
 *  Any number of threads may call const members of one object at the same time. */
template <typename T>
class secure_sealed
{
    static_assert(std::is_trivially_copyable<T>::value, "the bytes of the object are sealed, and what it points to is not");

public:
    /** Seals a copy of value, which should lie in locked memory and be wiped by the caller. */
    explicit secure_sealed(const T& value) { seal(value); }

    secure_sealed(secure_sealed&&) = default;
    secure_sealed& operator=(secure_sealed&&) = default;

    /** A copy in locked memory. It is wiped and freed with the pointer. */
    secure_unique_ptr<T> open() const
    {
        secure_unique_ptr<T> value{secure_allocator<T>().allocate(1)};
        bitcoin_support::check(bitcoin_support::seal_functions().unseal(sealed.data(), sealed.size(), &number, sizeof(number), value.get(), sizeof(T)));
        return value;
    }

    /** Opens the object, calls change with it, and seals it again. If any of that throws, the object is as
     *  before. */
    template <typename Change>
    void change(Change&& change)
    {
        const secure_unique_ptr<T> value{open()};
        std::forward<Change>(change)(*value);
        seal(*value);
    }

    /** Seals the object anew: to be called after rotate_sealing_key. */
    void reseal() { seal(*open()); }

    /** Makes a new key. Objects that are sealed already can be opened after one rotation, and may be lost at the
     *  next: call reseal() on each of them. */
    static void rotate_sealing_key() { bitcoin_support::check(bitcoin_support::seal_functions().rotate_sealing_key()); }

private:
    void seal(const T& value)
    {
        const std::uint64_t next{bitcoin_support::next_seal_number()};
        std::vector<unsigned char> bytes(sizeof(T) + BITCOIN_SUPPORT_SEAL_OVERHEAD);
        bitcoin_support::check(bitcoin_support::seal_functions().seal(&value, sizeof(T), &next, sizeof(next), bytes.data(), bytes.size()));
        sealed = std::move(bytes);
        number = next;
    }

    std::vector<unsigned char> sealed;
    /** The context. So sealed bytes of another object, and earlier ones of this, are refused. */
    std::uint64_t number{0};
};

#endif // BITCOIN_SUPPORT_ALLOCATORS_SEALED_H
