// The competitors of pool_bench: the process-wide pool, Bitcoin Core's, the secure heaps of other libraries,
// and ordinary heaps with a wipe before each free. Each competitor is a class with static members only, so
// that a workload calls it as directly as its users do:
//
//   NAME, LOCKS           its name, and whether it promises locked memory
//   Missing()             loads it; returns why it cannot be loaded, or nothing
//   Version()
//   Cannot(work)          returns why it cannot do that work, or nothing
//   Prepare(work)         makes room, while no chunk is in use
//   Fewer(work)           the divisor for the number of repetitions of a slow competitor
//   Alloc(size), Free(chunk, size)    thread-safe; Free wipes
//
// Libraries are loaded when the program runs, so it builds and runs without any of them. jemalloc has more
// thread-local variables than the loader keeps room for when a program starts. ReserveTlsForJemalloc starts
// the program again with more room. So jemalloc is in the same process as the others and takes its turn in
// the same rounds.

#ifndef BITCOIN_SUPPORT_BENCHES_BENCH_PEERS_H
#define BITCOIN_SUPPORT_BENCHES_BENCH_PEERS_H

#include "bench_report.h"
#include "core_reference.h"

#include <bitcoin_support.h>

#include <cstdint>
#include <cstdlib>
#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <string.h>
#include <string>
#include <unistd.h>

namespace bench {

/** The demands of a workload on an allocator. */
struct Work {
    /** The most chunks in use. */
    size_t live;
    /** Their smallest and largest size in bytes. */
    size_t least, most;
    size_t Bytes() const { return live * most; }
};

inline size_t PowerOfTwoFrom(size_t value)
{
    size_t power{1};
    while (power < value) power *= 2;
    return power;
}

/** A library that may not be installed. */
class Library
{
public:
    explicit Library(const char* name)
        : handle{dlopen(name, RTLD_NOW | RTLD_LOCAL)}
    {
        if (!handle) missing = dlerror();
    }
    template <typename Function>
    Library& Find(const char* name, Function*& function)
    {
        function = handle ? reinterpret_cast<Function*>(dlsym(handle, name)) : nullptr;
        if (!function && missing.empty()) missing = std::string{"has no "} + name;
        return *this;
    }
    /** Why it cannot be used; empty if it can. */
    const std::string& Missing() const { return missing; }

private:
    void* handle;
    std::string missing;
};

/** Call first in main. */
inline void ReserveTlsForJemalloc(char** argv)
{
    // The name of glibc's tunable. The loaders of other systems do not read it.
    if (std::getenv("GLIBC_TUNABLES")) return;
    setenv("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=16384", 1);
    execv("/proc/self/exe", argv);
}

struct Ours {
    static constexpr const char* NAME{OURS};
    static constexpr bool LOCKS{true};
    static std::string Missing() { return {}; }
    static std::string Version() { return bitcoin_support_version(); }
    static std::string Cannot(const Work&) { return {}; }
    static void Prepare(const Work&) {}
    static size_t Fewer(const Work&) { return 1; }
    static bitcoin_support_locked_pool* Pool()
    {
        static bitcoin_support_locked_pool* const pool{bitcoin_support_locked_pool_instance()};
        return pool;
    }
    static void* Alloc(size_t size) { return bitcoin_support_locked_pool_alloc(Pool(), size); }
    static void Free(void* chunk, size_t) { bitcoin_support_locked_pool_free(Pool(), chunk); }
};

struct CorePool {
    static constexpr const char* NAME{"Bitcoin Core"};
    static constexpr bool LOCKS{true};
    static std::string Missing() { return {}; }
    static std::string Version() { return BITCOIN_SUPPORT_CORE_VERSION; }
    static std::string Cannot(const Work&) { return {}; }
    static void Prepare(const Work&) {}
    static size_t Fewer(const Work& work) { return work.live >= 100'000 ? 2 : 1; }
    static void* Alloc(size_t size) { return core_reference::ManagerAlloc(size); }
    static void Free(void* chunk, size_t size)
    {
        core_reference::MemoryCleanse(chunk, size); // as Core's secure_allocator does
        core_reference::ManagerFree(chunk);
    }
};

struct OpenSsl {
    static constexpr const char* NAME{"OpenSSL"};
    static constexpr bool LOCKS{true};
    static inline int (*init)(size_t, size_t);
    static inline int (*done)();
    static inline void* (*alloc)(size_t, const char*, int);
    static inline void (*clear_free)(void*, size_t, const char*, int);
    static inline void (*cleanse)(void*, size_t);
    static inline const char* (*version)(int);
    static std::string Missing()
    {
        static const std::string missing{Library{"libcrypto.so.3"}
                                             .Find("CRYPTO_secure_malloc_init", init)
                                             .Find("CRYPTO_secure_malloc_done", done)
                                             .Find("CRYPTO_secure_malloc", alloc)
                                             .Find("CRYPTO_secure_clear_free", clear_free)
                                             .Find("OPENSSL_cleanse", cleanse)
                                             .Find("OpenSSL_version", version)
                                             .Missing()};
        return missing;
    }
    static std::string Version() { return version(6); } // OPENSSL_VERSION_STRING
    static std::string Cannot(const Work&) { return {}; }
    /** Its heap has a fixed size, a power of two. This one is as large as the work needs, so that no memory
     *  is locked in vain. */
    static void Prepare(const Work& work)
    {
        done();
        init(std::max<size_t>(256 << 10, PowerOfTwoFrom(work.Bytes())), 16);
    }
    static size_t Fewer(const Work& work) { return work.live < 1000 ? 4 : 1; }
    static void* Alloc(size_t size) { return alloc(size, "", 0); }
    static void Free(void* chunk, size_t size) { clear_free(chunk, size, "", 0); }
};

struct Gcrypt {
    static constexpr const char* NAME{"libgcrypt"};
    static constexpr bool LOCKS{true};
    // From gcrypt.h.
    static constexpr int INIT_SECMEM{24}, TERM_SECMEM{25}, DISABLE_SECMEM_WARN{27}, INITIALIZATION_FINISHED{38};
    static inline const char* (*check_version)(const char*);
    static inline unsigned (*control)(int, ...);
    static inline void* (*alloc)(size_t);
    static inline void (*release)(void*);
    static std::string Missing()
    {
        static const std::string missing{Library{"libgcrypt.so.20"}
                                             .Find("gcry_check_version", check_version)
                                             .Find("gcry_control", control)
                                             .Find("gcry_malloc_secure", alloc)
                                             .Find("gcry_free", release)
                                             .Missing()};
        if (missing.empty()) check_version(nullptr); // initializes it
        return missing;
    }
    static std::string Version() { return check_version(nullptr); }
    static std::string Cannot(const Work& work)
    {
        return work.live > 10'000 ? "each call walks the list of all chunks: 200 us at 100 000 of them" : "";
    }
    /** Its heap has a fixed size. This one is as large as the work needs, with 8 bytes of bookkeeping for
     *  each chunk. */
    static void Prepare(const Work& work)
    {
        control(TERM_SECMEM);
        control(DISABLE_SECMEM_WARN);
        control(INIT_SECMEM, static_cast<int>(work.Bytes() + 16 * work.live + (32 << 10)));
        control(INITIALIZATION_FINISHED, 0);
    }
    static size_t Fewer(const Work& work) { return 1 + work.live / 50; }
    static void* Alloc(size_t size) { return alloc(size); }
    static void Free(void* chunk, size_t) { release(chunk); }
};

struct Sodium {
    static constexpr const char* NAME{"libsodium"};
    static constexpr bool LOCKS{true};
    static inline int (*init)();
    static inline void* (*alloc)(size_t);
    static inline void (*release)(void*);
    static inline const char* (*version)();
    static std::string Missing()
    {
        static const std::string missing{[] {
            const std::string why{Library{"libsodium.so.23"}
                                      .Find("sodium_init", init)
                                      .Find("sodium_malloc", alloc)
                                      .Find("sodium_free", release)
                                      .Find("sodium_version_string", version)
                                      .Missing()};
            return why.empty() && init() < 0 ? std::string{"does not initialize"} : why;
        }()};
        return missing;
    }
    static std::string Version() { return version(); }
    static std::string Cannot(const Work& work)
    {
        return work.live > 10'000 ? "four mappings for each chunk, and a process may have 65 530" : "";
    }
    static void Prepare(const Work&) {}
    static size_t Fewer(const Work&) { return 200; }
    static void* Alloc(size_t size) { return alloc(size); }
    static void Free(void* chunk, size_t) { release(chunk); }
};

struct Botan {
    static constexpr const char* NAME{"Botan"};
    static constexpr bool LOCKS{true};
    // Called by Botan::secure_vector: the locking allocator, and the ordinary heap where that cannot serve.
    static inline void* (*alloc)(size_t, size_t);
    static inline void (*release)(void*, size_t, size_t);
    static inline uint32_t (*major)();
    static inline uint32_t (*minor)();
    static inline uint32_t (*patch)();
    static std::string Missing()
    {
        static const std::string missing{Library{"libbotan-2.so.19"}
                                             .Find("_ZN5Botan15allocate_memoryEmm", alloc)
                                             .Find("_ZN5Botan17deallocate_memoryEPvmm", release)
                                             .Find("botan_version_major", major)
                                             .Find("botan_version_minor", minor)
                                             .Find("botan_version_patch", patch)
                                             .Missing()};
        return missing;
    }
    static std::string Version() { return std::to_string(major()) + "." + std::to_string(minor()) + "." + std::to_string(patch()); }
    static std::string Cannot(const Work& work)
    {
        return work.most > 256 || work.Bytes() > 512 << 10 ? "locks chunks of up to 256 bytes and 512 KiB in all, and serves the rest unlocked" : "";
    }
    static void Prepare(const Work&) {}
    static size_t Fewer(const Work&) { return 1; }
    static void* Alloc(size_t size) { return alloc(size, 1); }
    static void Free(void* chunk, size_t size) { release(chunk, size, 1); }
};

/** The common part of ordinary heaps. */
struct OrdinaryHeap {
    static constexpr bool LOCKS{false};
    static std::string Cannot(const Work&) { return {}; }
    static void Prepare(const Work&) {}
    static size_t Fewer(const Work&) { return 1; }
};

struct Glibc : OrdinaryHeap {
    static constexpr const char* NAME{"malloc"};
    static std::string Missing() { return {}; }
    static std::string Version() { return std::string{"glibc "} + gnu_get_libc_version(); }
    static void* Alloc(size_t size) { return std::malloc(size); }
    static void Free(void* chunk, size_t size)
    {
        explicit_bzero(chunk, size);
        std::free(chunk);
    }
};

struct Mimalloc : OrdinaryHeap {
    static constexpr const char* NAME{"mimalloc"};
    static inline void* (*alloc)(size_t);
    static inline void (*release)(void*);
    static inline int (*version)();
    static std::string Missing()
    {
        static const std::string missing{
            Library{"libmimalloc.so.2.0"}.Find("mi_malloc", alloc).Find("mi_free", release).Find("mi_version", version).Missing()};
        return missing;
    }
    static std::string Version()
    {
        const int number{version()}; // 209 is 2.0.9
        return std::to_string(number / 100) + "." + std::to_string(number / 10 % 10) + "." + std::to_string(number % 10);
    }
    static void* Alloc(size_t size) { return alloc(size); }
    static void Free(void* chunk, size_t size)
    {
        explicit_bzero(chunk, size);
        release(chunk);
    }
};

struct Jemalloc : OrdinaryHeap {
    static constexpr const char* NAME{"jemalloc"};
    static inline void* (*alloc)(size_t);
    static inline void (*release)(void*);
    static inline int (*mallctl)(const char*, void*, size_t*, void*, size_t);
    static std::string Missing()
    {
        static const std::string missing{
            Library{"libjemalloc.so.2"}.Find("malloc", alloc).Find("free", release).Find("mallctl", mallctl).Missing()};
        // If the loader finds another heap's function of this name, the benchmark would measure that heap.
        return missing.empty() && alloc == std::malloc ? "its malloc is the program's" : missing;
    }
    static std::string Version()
    {
        const char* version{""};
        size_t size{sizeof version};
        mallctl("version", &version, &size, nullptr, 0);
        const std::string text{version}; // "5.3.0-0-g..."
        return text.substr(0, text.find('-'));
    }
    static void* Alloc(size_t size) { return alloc(size); }
    static void Free(void* chunk, size_t size)
    {
        explicit_bzero(chunk, size);
        release(chunk);
    }
};

/** Calls function(Peer{}) for each competitor, in the order of the tables' columns. */
template <typename Function>
void ForEachPeer(Function function)
{
    // jemalloc last: libraries loaded after it may find its operator new.
    function(Ours{}), function(CorePool{}), function(OpenSsl{}), function(Gcrypt{}), function(Sodium{}), function(Botan{});
    function(Glibc{}), function(Mimalloc{}), function(Jemalloc{});
}

} // namespace bench

#endif // BITCOIN_SUPPORT_BENCHES_BENCH_PEERS_H
