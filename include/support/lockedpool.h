// Drop-in for Bitcoin Core's support/lockedpool.h, over libbitcoin_support.
// Distributed under the MIT software license, see the accompanying file LICENSE.
//
// Names, signatures and exceptions are Core's, from 0.21 to 31. Needs C++17 with exceptions. All logic is in the library.
// Beyond Core's interface there are Arena::alloc with an alignment, and LockedPool::alloc with an
// alignment, details() and handle().

#ifndef BITCOIN_SUPPORT_LOCKEDPOOL_H
#define BITCOIN_SUPPORT_LOCKEDPOOL_H

#if defined(__GNUC__) && !defined(__cpp_exceptions)
#error "These headers throw, as Core's do. A program that is compiled without exceptions uses bitcoin_support.h."
#endif

#include <bitcoin_support.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <utility>
#ifdef ARENA_DEBUG
#include <cstdio>
#endif
// Not used here. Core's header includes them, and code that includes it may rely on that.
#include <list>
#include <map>
#include <mutex>
#include <unordered_map>

namespace bitcoin_support {
/** The functions of the library that these headers call. The table is closed: under one ABI number, no member is
 *  added, removed or moved. Code of two versions may share one object of it, which either of them may have
 *  made, so code of a later version would read beyond an object of an earlier one.
 *
 *  A function that is new gets a new table, with a function of its own that returns it, as SealFunctions has.
 *  The object of that table may come from another copy of the library than this one. So its functions must not
 *  take what functions of this table made, such as a pool or a chunk to be freed. */
struct Functions {
    /** The ABI number of the version that made the object. */
    size_t abi;
    decltype(&bitcoin_support_arena_create) arena_create;
    decltype(&bitcoin_support_arena_destroy) arena_destroy;
    decltype(&bitcoin_support_arena_alloc) arena_alloc;
    decltype(&bitcoin_support_arena_alloc_aligned) arena_alloc_aligned;
    decltype(&bitcoin_support_arena_free) arena_free;
    decltype(&bitcoin_support_arena_get_stats) arena_get_stats;
    decltype(&bitcoin_support_arena_walk) arena_walk;
    decltype(&bitcoin_support_locked_pool_create) locked_pool_create;
    decltype(&bitcoin_support_locked_pool_destroy) locked_pool_destroy;
    decltype(&bitcoin_support_locked_pool_instance) locked_pool_instance;
    decltype(&bitcoin_support_locked_pool_alloc) locked_pool_alloc;
    decltype(&bitcoin_support_locked_pool_alloc_aligned) locked_pool_alloc_aligned;
    decltype(&bitcoin_support_locked_pool_free) locked_pool_free;
    decltype(&bitcoin_support_locked_pool_get_stats) locked_pool_get_stats;
    decltype(&bitcoin_support_locked_pool_set_locking_failed) locked_pool_set_locking_failed;
    decltype(&bitcoin_support_alloc) alloc;
    decltype(&bitcoin_support_alloc_aligned) alloc_aligned;
    decltype(&bitcoin_support_free) free;
};

/** The functions of the one copy of the library that all C++ code of the process uses.
 *
 *  A program and a shared library that it uses may each contain a copy of the library, hidden from the other.
 *  But the dynamic linker uses one definition of each inline function and template for both, and compilers
 *  inline some of them. So a chunk may be allocated by code of one and freed by code of the other. Therefore
 *  neither calls its own copy directly. Both call by way of this object, for which the dynamic linker also
 *  uses one definition. */
inline const Functions& functions()
{
    static const Functions own{
        BITCOIN_SUPPORT_ABI,
        &bitcoin_support_arena_create,
        &bitcoin_support_arena_destroy,
        &bitcoin_support_arena_alloc,
        &bitcoin_support_arena_alloc_aligned,
        &bitcoin_support_arena_free,
        &bitcoin_support_arena_get_stats,
        &bitcoin_support_arena_walk,
        &bitcoin_support_locked_pool_create,
        &bitcoin_support_locked_pool_destroy,
        &bitcoin_support_locked_pool_instance,
        &bitcoin_support_locked_pool_alloc,
        &bitcoin_support_locked_pool_alloc_aligned,
        &bitcoin_support_locked_pool_free,
        &bitcoin_support_locked_pool_get_stats,
        &bitcoin_support_locked_pool_set_locking_failed,
        &bitcoin_support_alloc,
        &bitcoin_support_alloc_aligned,
        &bitcoin_support_free,
    };
    const Functions* one{&own};
#ifdef __GNUC__
    // The compiler knows the contents of `own`, but the linker may choose another definition. So the compiler
    // must not assume them.
    __asm__(""
            : "+r"(one));
#endif
    // The process has code of two ABI numbers, and the linker has chosen the object of the other one, whose table
    // may be another.
    if (one->abi != BITCOIN_SUPPORT_ABI) std::abort();
    return *one;
}

/** Throws Core's exception for a bad free, and a matching one for any other status. */
[[noreturn]] inline void throw_status(bitcoin_support_status status)
{
    const char* const message{bitcoin_support_status_message(status)};
    switch (status) {
    case BITCOIN_SUPPORT_OUT_OF_MEMORY: throw std::bad_alloc();
    case BITCOIN_SUPPORT_BAD_ALIGNMENT:
    case BITCOIN_SUPPORT_BAD_REGION: throw std::invalid_argument(message);
    default: throw std::runtime_error(message);
    }
}

inline void check(bitcoin_support_status status)
{
    if (status != BITCOIN_SUPPORT_OK) throw_status(status);
}
} // namespace bitcoin_support

/** Source of locked pages for a LockedPool. The addresses of a subclass need not be mapped. One thread at a
 *  time calls it, and the pool holds no lock meanwhile. */
class LockedPageAllocator
{
public:
    virtual ~LockedPageAllocator() = default;

    /** Maps len bytes, rounded up to whole pages, and tries to lock them. nullptr when they cannot be mapped.
     *  Sets *lockingSuccess to whether they are locked. */
    virtual void* AllocateLocked(size_t len, bool* lockingSuccess) = 0;

    /** Wipes, unlocks and frees pages. */
    virtual void FreeLocked(void* addr, size_t len) = 0;

    /** Number of bytes that this process may lock in total: the maximum of size_t when there is no limit or
     *  it is unknown, 0 when nothing can be locked. */
    virtual size_t GetLimit() = 0;
};

/** Divides a contiguous region of memory, which it never touches, into chunks. Only one thread at a time may
 *  use it. */
class Arena
{
public:
    /** Throws std::invalid_argument when alignment is not a power of two, base is null or the region wraps
     *  around, and std::bad_alloc when there is no memory for the bookkeeping. */
    Arena(void* base_in, size_t size_in, size_t alignment_in)
        : base(static_cast<char*>(base_in)), size(size_in)
    {
        bitcoin_support::check(bitcoin_support::functions().arena_create(base_in, size_in, alignment_in, &arena));
    }

    virtual ~Arena() { bitcoin_support::functions().arena_destroy(arena); }

    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    struct Stats {
        size_t used;
        size_t free;
        size_t total;
        size_t chunks_used;
        size_t chunks_free;
    };

    /** Allocates sz bytes. nullptr when there is no room or sz is 0. */
    void* alloc(size_t sz) { return bitcoin_support::functions().arena_alloc(arena, sz); }

    /** Allocates sz bytes aligned to alignment, a power of two. */
    void* alloc(size_t sz, size_t alignment)
    {
        return bitcoin_support::functions().arena_alloc_aligned(arena, sz, alignment);
    }

    /** Frees a chunk. nullptr does nothing. Throws std::runtime_error if ptr is not a used chunk. */
    void free(void* ptr) { bitcoin_support::check(bitcoin_support::functions().arena_free(arena, ptr)); }

    Stats stats() const
    {
        bitcoin_support_arena_stats s{};
        bitcoin_support::functions().arena_get_stats(arena, &s, sizeof(s));
        return {s.used, s.free, s.total, s.chunks_used, s.chunks_free};
    }

#ifdef ARENA_DEBUG
    /** Prints every chunk: address, size, and whether it is used. */
    void walk() const
    {
        bitcoin_support::functions().arena_walk(
            arena,
            [](void*, void* chunk, size_t sz, bool used) {
                std::printf("0x%016zx 0x%016zx 0x%x\n", reinterpret_cast<size_t>(chunk), sz, used ? 1U : 0U);
                return true;
            },
            nullptr);
    }
#endif

    /** Whether ptr lies in the region. */
    bool addressInArena(void* ptr) const
    {
        return reinterpret_cast<uintptr_t>(ptr) - reinterpret_cast<uintptr_t>(base) < size;
    }

private:
    char* base;
    size_t size;
    bitcoin_support_arena* arena{nullptr};
};

/** A pool of locked memory that threads may share. */
class LockedPool
{
public:
    /** Size of an arena, and of the largest chunk, in bytes. */
    static constexpr size_t ARENA_SIZE = BITCOIN_SUPPORT_ARENA_SIZE;
    /** Alignment of chunks in bytes. */
    static constexpr size_t ARENA_ALIGN = BITCOIN_SUPPORT_ARENA_ALIGN;

    /** Called when an arena could not be locked, by one thread at a time. true uses it nevertheless, false
     *  fails the allocation. */
    typedef bool (*LockingFailed_Callback)();

    struct Stats {
        size_t used;
        size_t free;
        size_t total;
        size_t locked;
        size_t chunks_used;
        size_t chunks_free;
    };

    /** Takes over the allocator. An exception of the allocator or the callback is thrown again by alloc. */
    explicit LockedPool(std::unique_ptr<LockedPageAllocator> allocator, LockingFailed_Callback lf_cb_in = nullptr)
    {
        // From here on the library owns the allocator, even if the call fails.
        const bitcoin_support_page_allocator pages{allocator.release(), &AllocateLocked, &FreeLocked, &GetLimit, &Destroy};
        bitcoin_support::check(bitcoin_support::functions().locked_pool_create(&pages, &pool));
        if (lf_cb_in) {
            static_assert(sizeof(lf_cb_in) == sizeof(void*), "a function pointer fits a void pointer");
            const auto status{bitcoin_support::functions().locked_pool_set_locking_failed(
                pool, &LockingFailedThunk, reinterpret_cast<void*>(lf_cb_in))};
            if (status != BITCOIN_SUPPORT_OK) {
                bitcoin_support::functions().locked_pool_destroy(pool);
                bitcoin_support::throw_status(status);
            }
        }
    }

    ~LockedPool()
    {
        if (owned) bitcoin_support::functions().locked_pool_destroy(pool);
    }

    LockedPool(const LockedPool&) = delete;
    LockedPool& operator=(const LockedPool&) = delete;

    /** Allocates size bytes. nullptr when size is 0 or above ARENA_SIZE, or there is no memory. */
    void* alloc(size_t size)
    {
        return RethrowExceptionOf([&] { return bitcoin_support::functions().locked_pool_alloc(pool, size); });
    }

    /** Allocates size bytes aligned to alignment, a power of two. */
    void* alloc(size_t size, size_t alignment)
    {
        return RethrowExceptionOf([&] { return bitcoin_support::functions().locked_pool_alloc_aligned(pool, size, alignment); });
    }

    /** Frees a chunk. nullptr does nothing. Throws std::runtime_error if ptr is not a used chunk, and if bytes
     *  next to a sampled chunk have been overwritten, which is freed nevertheless. */
    void free(void* ptr) { bitcoin_support::check(bitcoin_support::functions().locked_pool_free(pool, ptr)); }

    Stats stats() const
    {
        bitcoin_support_locked_pool_stats s{};
        bitcoin_support::functions().locked_pool_get_stats(pool, &s, sizeof(s));
        return {s.used, s.free, s.total, s.locked, s.chunks_used, s.chunks_free};
    }

    /** Statistics with figures that Core's do not have: number of arenas, high-water mark, lock failures.
     *
     *  Call it without template arguments. The parameter puts the size of the structure into the name of the
     *  function. The structure grows at its end, and in a process with code of two versions the linker uses one
     *  definition of each name. So a caller only ever gets a definition that writes as many bytes as it expects. */
    template <size_t Size = sizeof(bitcoin_support_locked_pool_stats)>
    bitcoin_support_locked_pool_stats details() const
    {
        bitcoin_support_locked_pool_stats s{};
        bitcoin_support::functions().locked_pool_get_stats(pool, &s, sizeof(s));
        return s;
    }

    /** The pool's handle, for the functions of bitcoin_support.h. */
    bitcoin_support_locked_pool* handle() const { return pool; }

protected:
    /** A pool that this object does not own. */
    explicit LockedPool(bitcoin_support_locked_pool* borrowed) : pool(borrowed), owned(false) {}

private:
    bitcoin_support_locked_pool* pool{nullptr};
    bool owned{true};

    /** The place for an exception of a callback. An exception must not pass through the library, so the alloc
     *  that this thread is in provides a place for it and throws it again. nullptr when the thread is in no
     *  alloc, but for example in a function of bitcoin_support.h. */
    static std::exception_ptr*& CaughtException()
    {
        static thread_local std::exception_ptr* caught{nullptr};
        return caught;
    }

    /** Calls allocate. If it fails, throws the exception that a callback has thrown meanwhile. */
    template <typename Allocate>
    void* RethrowExceptionOf(Allocate allocate)
    {
        if (!owned) return allocate(); // the process-wide pool has no callbacks in C++
        std::exception_ptr thrown;
        std::exception_ptr* const outer{std::exchange(CaughtException(), &thrown)};
        void* const chunk{allocate()};
        CaughtException() = outer;
        if (!chunk && thrown) std::rethrow_exception(thrown);
        return chunk;
    }

    /** Stores the exception that is being handled, for the alloc to throw again. If there is no place for it,
     *  the caller is C and learns only that the call failed. */
    static void StoreException()
    {
        if (CaughtException() && !*CaughtException()) *CaughtException() = std::current_exception();
    }

    static LockedPageAllocator& Allocator(void* context) { return *static_cast<LockedPageAllocator*>(context); }

    static void* AllocateLocked(void* context, size_t len, bool* locked) noexcept
    {
        if (CaughtException() && *CaughtException()) return nullptr; // GetLimit has thrown
        try {
            return Allocator(context).AllocateLocked(len, locked);
        } catch (...) {
            StoreException();
            return nullptr;
        }
    }

    static void FreeLocked(void* context, void* addr, size_t len) noexcept
    {
        try {
            Allocator(context).FreeLocked(addr, len);
        } catch (...) {
            if (!CaughtException()) std::terminate(); // in a destructor, or called by C: it cannot be caught
            StoreException();
        }
    }

    static size_t GetLimit(void* context) noexcept
    {
        try {
            return Allocator(context).GetLimit();
        } catch (...) {
            StoreException();
            return 0;
        }
    }

    static void Destroy(void* context) noexcept { delete static_cast<LockedPageAllocator*>(context); }

    static bool LockingFailedThunk(void* context, int, size_t) noexcept
    {
        try {
            return reinterpret_cast<LockingFailed_Callback>(context)();
        } catch (...) {
            StoreException();
            return false;
        }
    }
};

/** The process-wide pool, which all code of the process shares. */
class LockedPoolManager : public LockedPool
{
public:
    static LockedPoolManager& Instance()
    {
        // Never destroyed: objects with static storage may free into it at any time.
        alignas(LockedPoolManager) static unsigned char storage[sizeof(LockedPoolManager)];
        static LockedPoolManager* const instance{new (storage) LockedPoolManager()};
        return *instance;
    }

private:
    LockedPoolManager() : LockedPool(bitcoin_support::functions().locked_pool_instance()) {}
};

#endif // BITCOIN_SUPPORT_LOCKEDPOOL_H
