/*
 * bitcoin_support.h - locked memory for secrets: the C interface of libbitcoin_support.
 *
 * cbindgen makes this file from src/ffi. Change it there. examples/c in the source has programs that use most functions.
 *
 * Conventions
 *   - Sizes, limits and alignments are in bytes.
 *   - A function that allocates bytes returns NULL on failure. Any other function that can fail returns a
 *     bitcoin_support_status; 0 is success. After a failure, everything is as it was before the call,
 *     and the outputs have not been written. Exceptions say so, such as BITCOIN_SUPPORT_OVERRUN: the
 *     chunk has been wiped and freed.
 *   - In a signal handler that has interrupted the same thread within this library, a _create or _destroy
 *     function, and a free, may return BITCOIN_SUPPORT_INTERRUPTED.
 *   - The first parameter is the object that the function works on. If it is NULL, the function does
 *     nothing and returns NULL, zeros or BITCOIN_SUPPORT_NULL_ARGUMENT. No other parameter may be NULL
 *     unless its function says so.
 *   - The caller owns what a _create function makes, and gives it to the matching _destroy function.
 *   - A callback gets the context that was given with it. Unless its function says otherwise, any thread
 *     that uses the object may call it, but never two threads at once for one object. It must return
 *     normally: it must not leave by longjmp or a C++ exception.
 *   - Any number of threads may use a pool at once. Only one thread at a time may use an arena or a
 *     buffer.
 *   - If the library finds one of its own invariants broken, it ends the process (abort).
 */

#ifndef BITCOIN_SUPPORT_C_API_H
#define BITCOIN_SUPPORT_C_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What compilers and analyzers may know of the functions below. */
#if defined(__GNUC__)
#define BITCOIN_SUPPORT_MUST_USE __attribute__((__warn_unused_result__))
#define BITCOIN_SUPPORT_FRESH __attribute__((__malloc__))
#define BITCOIN_SUPPORT_NEVER_NULL __attribute__((__returns_nonnull__))
#else
#define BITCOIN_SUPPORT_MUST_USE
#define BITCOIN_SUPPORT_FRESH
#define BITCOIN_SUPPORT_NEVER_NULL
#endif

/**
 * Version of the exported interface. The shared library's SONAME ends in it.
 */
#define BITCOIN_SUPPORT_ABI 1

/**
 * Version of the library that these declarations belong to.
 */
#define BITCOIN_SUPPORT_VERSION_MAJOR 0

/**
 * See BITCOIN_SUPPORT_VERSION_MAJOR.
 */
#define BITCOIN_SUPPORT_VERSION_MINOR 1

/**
 * See BITCOIN_SUPPORT_VERSION_MAJOR.
 */
#define BITCOIN_SUPPORT_VERSION_PATCH 0

/**
 * The version as one number, to be compared with: 1000000 times MAJOR, plus 1000 times MINOR, plus
 * PATCH.
 */
#define BITCOIN_SUPPORT_VERSION_NUMBER 1000

/**
 * Size of a unique name in bytes, the terminating zero included.
 */
#define BITCOIN_SUPPORT_UNIQUE_NAME_SIZE 33

/**
 * The memory is left out of core dumps.
 */
#define BITCOIN_SUPPORT_PROTECTION_DUMP_EXCLUSION 0

/**
 * The kernel carries out the fork policy. Where it refuses, the library carries the policy out in
 * children that the C library makes; a child made by the bare system call has the contents.
 */
#define BITCOIN_SUPPORT_PROTECTION_FORK_POLICY 1

/**
 * The memory is not merged with equal pages.
 */
#define BITCOIN_SUPPORT_PROTECTION_NO_MERGING 2

/**
 * The memory is not backed by huge pages.
 */
#define BITCOIN_SUPPORT_PROTECTION_NO_HUGE_PAGES 3

/**
 * The contents, locked again before fork returns. This is the default, and what a daemon needs.
 */
#define BITCOIN_SUPPORT_FORK_KEEP 0

/**
 * Zeros, locked. Chunks stay allocated. A child must not use objects in them that cannot be all
 * zeros, such as pointers.
 */
#define BITCOIN_SUPPORT_FORK_WIPE 1

/**
 * No memory: an access ends the process. The child's pool is empty. In the child, freeing a chunk
 * of the parent's succeeds and does nothing. A child must not use objects in them.
 */
#define BITCOIN_SUPPORT_FORK_ABSENT 2

/**
 * The pool uses ordinary memory. The default.
 */
#define BITCOIN_SUPPORT_SECRET_MEMORY_OFF 0

/**
 * The pool uses secret memory where the system has it, and ordinary locked memory elsewhere. The
 * statistics give the reason.
 */
#define BITCOIN_SUPPORT_SECRET_MEMORY_PREFER 1

/**
 * The pool uses only secret memory.
 */
#define BITCOIN_SUPPORT_SECRET_MEMORY_REQUIRE 2

/**
 * Largest chunk of the process-wide pool, and of a pool whose options have no `arena_size`, in
 * bytes.
 */
#define BITCOIN_SUPPORT_ARENA_SIZE 262144

/**
 * Alignment of the chunks of a locked pool in bytes. Sizes are rounded up to a multiple of it.
 */
#define BITCOIN_SUPPORT_ARENA_ALIGN 16

/**
 * How many bytes longer a sealed secret is than the secret. Under one ABI number it stays so:
 * another cipher would have functions of its own.
 */
#define BITCOIN_SUPPORT_SEAL_OVERHEAD 56

/**
 * The default. Secrets are wiped if the exiting thread is the only one that uses this memory.
 * Otherwise they are left to the kernel, so that no thread finds zeros in place of its secret.
 * Where the system cannot tell (Linux does, by unshare), nothing is wiped.
 */
#define BITCOIN_SUPPORT_EXIT_WIPE_WHEN_ALONE 0

/**
 * Secrets are always left to the kernel.
 */
#define BITCOIN_SUPPORT_EXIT_NEVER 1

/**
 * Secrets become inaccessible at once, even while another thread uses them: the kernel takes the
 * contents back, and a thread that touches a secret afterwards ends the process (SIGSEGV).
 */
#define BITCOIN_SUPPORT_EXIT_INACCESSIBLE 2

/**
 * "not-dumpable": no core dump of the process is made, by a core file or by a collector, and no
 * process without privileges may trace it or read its memory (ptrace, /proc/PID/mem), also if it
 * has the same user. Linux: PR_SET_DUMPABLE; FreeBSD: PROC_TRACE_CTL. Children have it too,
 * programs do not; a change of user takes it off as well.
 */
#define BITCOIN_SUPPORT_HARDEN_NOT_DUMPABLE (1 << 0)

/**
 * "no-core-file": the limit on the size of core files is 0 (RLIMIT_CORE). Every Unix system.
 * Children and programs have it too. Where core dumps are piped to a program, the kernel does not
 * look at the limit (systemd-coredump does).
 */
#define BITCOIN_SUPPORT_HARDEN_NO_CORE_FILE (1 << 1)

/**
 * "no-write-execute": memory that has been writable does not become executable (PR_SET_MDWE, Linux
 * 6.3). Children and programs have it too. Just-in-time compilers do not work then.
 */
#define BITCOIN_SUPPORT_HARDEN_NO_WRITE_EXECUTE (1 << 2)

/**
 * "no-new-privileges": no program gets more privileges than the thread that executes it
 * (PR_SET_NO_NEW_PRIVS, Linux 3.5). It holds for the calling thread and for what that starts from
 * then on. So call it before there are other threads.
 */
#define BITCOIN_SUPPORT_HARDEN_NO_NEW_PRIVILEGES (1 << 3)

/**
 * "lock-limit": the limit on locked memory is raised, as bitcoin_support_raise_lock_limit does.
 * Every system.
 */
#define BITCOIN_SUPPORT_HARDEN_LOCK_LIMIT (1 << 4)

/**
 * "no-huge-pages": the kernel makes no memory of huge pages by itself (PR_SET_THP_DISABLE, Linux
 * 3.15). The library's own memory is without them anyway. Children and programs have it too.
 */
#define BITCOIN_SUPPORT_HARDEN_NO_HUGE_PAGES (1 << 5)

/**
 * "core-filter": a core dump has registers and the first page of each program and library, and no
 * memory that was written to: no stack, no heap (/proc/self/coredump_filter, Linux). Children and
 * programs have it too. For programs whose crashes are to leave something behind.
 */
#define BITCOIN_SUPPORT_HARDEN_CORE_FILTER (1 << 6)

/**
 * "no-tracer": takes back that the process has named one that may trace it (PR_SET_PTRACER, Linux
 * with Yama).
 */
#define BITCOIN_SUPPORT_HARDEN_NO_TRACER (1 << 7)

/**
 * "sealed-pool": the kernel refuses to unmap, replace or change the access to the tables and the
 * arenas of the process-wide pool and to the guard pages around those (mseal, Linux 6.10, in
 * 64-bit kernels), also those that are mapped later. From then on the pool gives no memory back to
 * the system: what it has locked is not there for large secrets and other pools, also when it is
 * free. BITCOIN_SUPPORT_EXIT_INACCESSIBLE leaves what is sealed to the kernel. Samples,
 * buffers larger than an arena, and other pools are not sealed. Children have it too.
 */
#define BITCOIN_SUPPORT_HARDEN_SEALED_POOL (1 << 8)

/**
 * Outcome of a call. After any status but BITCOIN_SUPPORT_OK, everything is as it was before the
 * call, unless the status or the function says otherwise. Later versions have more statuses: take
 * one that you do not know for a failure.
 */
typedef enum bitcoin_support_status {
    /**
     * Success.
     */
    BITCOIN_SUPPORT_OK = 0,
    /**
     * No used chunk begins at the address: the chunk was freed before, or the address lies inside
     * a chunk, or it was never allocated.
     */
    BITCOIN_SUPPORT_INVALID_FREE = 1,
    /**
     * The address is in no arena of the pool.
     */
    BITCOIN_SUPPORT_NOT_IN_POOL = 2,
    /**
     * A used chunk begins at the address, but it has another size or alignment.
     */
    BITCOIN_SUPPORT_SIZE_MISMATCH = 3,
    /**
     * The alignment is not a power of two.
     */
    BITCOIN_SUPPORT_BAD_ALIGNMENT = 4,
    /**
     * The region begins at the null address or wraps around the address space.
     */
    BITCOIN_SUPPORT_BAD_REGION = 5,
    /**
     * There is no memory for the bookkeeping, or no locked memory for a buffer.
     */
    BITCOIN_SUPPORT_OUT_OF_MEMORY = 6,
    /**
     * A pointer that must not be NULL is NULL.
     */
    BITCOIN_SUPPORT_NULL_ARGUMENT = 7,
    /**
     * The caller's buffer is too small for the answer.
     */
    BITCOIN_SUPPORT_BUFFER_TOO_SMALL = 8,
    /**
     * The system cannot supply random bytes.
     */
    BITCOIN_SUPPORT_NO_RANDOMNESS = 9,
    /**
     * The pool is in use already, and the call must come before its first use.
     */
    BITCOIN_SUPPORT_IN_USE = 10,
    /**
     * An option has an unknown value, contradicts another option, or cannot be chosen for this
     * pool.
     */
    BITCOIN_SUPPORT_BAD_OPTION = 11,
    /**
     * The system does not have the feature, or does not allow its use.
     */
    BITCOIN_SUPPORT_NOT_AVAILABLE = 12,
    /**
     * The chunk was a sampled one (see bitcoin_support_locked_pool_sample), and bytes next to it
     * have been overwritten. The chunk has been wiped and freed nevertheless.
     */
    BITCOIN_SUPPORT_OVERRUN = 13,
    /**
     * The call was made in a signal handler that interrupted the same thread inside this pool.
     */
    BITCOIN_SUPPORT_INTERRUPTED = 14,
    /**
     * The handle is not a live handle of this type: it has been destroyed, or it is the handle of
     * the process-wide pool, which cannot be destroyed.
     */
    BITCOIN_SUPPORT_INVALID_HANDLE = 15,
    /**
     * The sealed bytes are not those that were sealed in this context. Nothing has been opened.
     */
    BITCOIN_SUPPORT_TAMPERED = 16,
    /**
     * The key of the sealed secret has been wiped or rotated out, or has stayed with the parent of
     * this process. The secret is gone.
     */
    BITCOIN_SUPPORT_KEY_WIPED = 17,
    /**
     * The sealing key cannot be rotated again: Rust code of this process has secrets that use all
     * keys that there may be at a time.
     */
    BITCOIN_SUPPORT_KEYS_IN_USE = 18,
    /**
     * A size is not what it must be.
     */
    BITCOIN_SUPPORT_BAD_SIZE = 19,
    /**
     * The system has refused to close the secret: it stays as open as it was, until the next
     * opening of it ends. The call has done all else that it was to do.
     */
    BITCOIN_SUPPORT_STAYS_OPEN = 20,
    /**
     * No call returns this. It makes the type as wide as int, whatever the compiler's options,
     * with room for the statuses of later versions.
     */
    BITCOIN_SUPPORT_STATUS_LIMIT = 2147483647,
} bitcoin_support_status;

/**
 * An arena: allocates chunks of a region of memory that it never touches. Not thread-safe: calls
 * on one arena must not overlap in time.
 */
typedef struct bitcoin_support_arena bitcoin_support_arena;

/**
 * A growable buffer for a secret. It lies in the process-wide pool, or in separate locked pages if
 * it is larger than BITCOIN_SUPPORT_ARENA_SIZE bytes. When it grows, the old place of the bytes is
 * wiped. Not thread-safe.
 */
typedef struct bitcoin_support_buffer bitcoin_support_buffer;

/**
 * A pool of locked memory. Thread-safe.
 */
typedef struct bitcoin_support_locked_pool bitcoin_support_locked_pool;

/**
 * Statistics of an arena. `used + free == total` always. Later versions append members.
 */
typedef struct bitcoin_support_arena_stats {
    /**
     * Bytes in used chunks, padding included.
     */
    size_t used;
    /**
     * Bytes in free chunks.
     */
    size_t free;
    /**
     * Bytes that the arena manages.
     */
    size_t total;
    /**
     * Number of used chunks.
     */
    size_t chunks_used;
    /**
     * Number of free chunks.
     */
    size_t chunks_free;
} bitcoin_support_arena_stats;

/**
 * Called once for each chunk by the functions that walk over chunks: with its address, its size in
 * bytes, and whether it is used. Returns whether to go on. It must not use the arena that is
 * walked over. It may use the pool.
 */
typedef bool (*bitcoin_support_visit_chunk)(void *context, void *chunk, size_t size, bool used);

/**
 * A protection of memory for secrets besides the lock, which the system can refuse. (Guard pages
 * are not among them: if they cannot be had, the memory is not mapped.)
 */
typedef uint32_t bitcoin_support_protection;

/**
 * What a child process finds after fork in memory that its parent had. The parent's memory stays
 * as it is.
 */
typedef uint32_t bitcoin_support_fork_policy;

/**
 * Whether a pool uses secret memory (Linux's memfd_secret), which no other process can read,
 * whatever its privileges. It can only be combined with BITCOIN_SUPPORT_FORK_ABSENT. The machine
 * refuses to hibernate while secret memory is in use.
 */
typedef uint32_t bitcoin_support_secret_memory;

/**
 * Choices for a pool. Set all members to zero, which stands for the defaults, then set `size`,
 * then the members of your choice. bitcoin_support_locked_pool_options_init does the first two
 * steps. Later versions append members, and give `reserved` a meaning; a member that `size` does
 * not cover has its default. A `size` is BITCOIN_SUPPORT_BAD_OPTION if it ends within a member, or
 * is larger than that of this version.
 */
typedef struct bitcoin_support_locked_pool_options {
    /**
     * sizeof(bitcoin_support_locked_pool_options).
     */
    size_t size;
    /**
     * A BITCOIN_SUPPORT_FORK_ value.
     */
    bitcoin_support_fork_policy fork_policy;
    /**
     * A BITCOIN_SUPPORT_SECRET_MEMORY_ value.
     */
    bitcoin_support_secret_memory secret_memory;
    /**
     * Size of a page in bytes: the common size or that of a huge page. 0 for the common size.
     */
    size_t page_size;
    /**
     * Size of an arena in bytes, and of the largest chunk: a multiple of the page size. 0 for
     * BITCOIN_SUPPORT_ARENA_SIZE.
     */
    size_t arena_size;
    /**
     * The most bytes that all arenas together may have. 0 for no such limit.
     */
    size_t max_size;
    /**
     * Whether to raise the process's limit on locked memory first: see
     * bitcoin_support_raise_lock_limit. It stays raised if the call fails for another reason.
     */
    bool raise_lock_limit;
    /**
     * Whether the pool must have the four protections of its memory besides the lock that
     * bitcoin_support_protection lists. If so, the pool cannot be made where the system refuses
     * one, and an allocation fails that would need memory without it.
     */
    bool require_protections;
    /**
     * Zeros. Anything else is BITCOIN_SUPPORT_BAD_OPTION: a later version may have an option here
     * that this one does not know.
     */
    uint8_t reserved[6];
} bitcoin_support_locked_pool_options;

/**
 * Source of pages for a locked pool: a table of functions over a `context` of the caller's. One
 * thread at a time calls them: the thread that happens to use the pool. The pool holds no lock
 * meanwhile. The functions may use other pools, read this pool's statistics, and fork. An
 * allocation from this pool that needs more pages fails at once if it is made in one of the
 * functions. If the process forks while another thread is in one of the functions, the child
 * process calls none of them any more. The addresses need not be mapped: the pool never touches
 * them.
 */
typedef struct bitcoin_support_page_allocator {
    /**
     * Passed to every function.
     */
    void *context;
    /**
     * Maps and locks `len` bytes. Sets `*locked`, which is false before the call, to whether they
     * are locked. NULL when they cannot be mapped.
     */
    void *(*allocate_locked)(void *context, size_t len, bool *locked);
    /**
     * Wipes, unlocks and unmaps the `len` bytes at `addr`, as allocate_locked returned them.
     */
    void (*free_locked)(void *context, void *addr, size_t len);
    /**
     * Number of bytes that may be locked in total: SIZE_MAX for no limit, 0 if none may be locked.
     */
    size_t (*get_limit)(void *context);
    /**
     * Called once, when the pool is destroyed and has freed all pages. May be NULL.
     */
    void (*destroy)(void *context);
} bitcoin_support_page_allocator;

/**
 * Decides, when no memory can be locked, whether the pool uses unlocked memory (true) or fails the
 * allocation (false). `error` is the operating system's error number (0: unknown). `limit` is the
 * limit on locked bytes that was in force (SIZE_MAX: none or unknown).
 *
 * One thread at a time is in the callback. No lock is held meanwhile: it may use the pool, read
 * its statistics, set another callback, and fork. An allocation made in the callback fails at once
 * if the pool would have to call it again. The callback must not wait for a thread that sets the
 * callback or needs its answer. If the process forks while another thread is in the callback, the
 * child process does not call it, and allocates as if it had returned false, until a callback is
 * set there.
 */
typedef bool (*bitcoin_support_locking_failed)(void *context, int error, size_t limit);

/**
 * The refusals of one protection.
 */
typedef struct bitcoin_support_missing_protection {
    /**
     * Bytes that lack the protection although they were to have it.
     */
    size_t bytes;
    /**
     * Error number of the last refusal (0: none).
     */
    int error;
} bitcoin_support_missing_protection;

/**
 * Statistics of a locked pool. `used + free == total` always. Later versions append members.
 */
typedef struct bitcoin_support_locked_pool_stats {
    /**
     * Bytes in used chunks, padding included.
     */
    size_t used;
    /**
     * Bytes in free chunks.
     */
    size_t free;
    /**
     * Bytes in all arenas.
     */
    size_t total;
    /**
     * Bytes of `total` that are locked into memory.
     */
    size_t locked;
    /**
     * Number of used chunks.
     */
    size_t chunks_used;
    /**
     * Number of free chunks.
     */
    size_t chunks_free;
    /**
     * Number of arenas.
     */
    size_t arenas;
    /**
     * The most bytes that were in used chunks at any time. For the process-wide pool with several
     * threads, the most that was seen.
     */
    size_t peak_used;
    /**
     * Number of arenas that could not be locked whole when the pool asked for them. It counts too
     * when the pool got a smaller arena, which is locked.
     */
    size_t lock_failures;
    /**
     * Limit on locked bytes that was in force at the last of these failures (SIZE_MAX: none or
     * unknown).
     */
    size_t last_lock_limit;
    /**
     * Error number of the last of these failures (0: none, or unknown).
     */
    int last_lock_error;
    /**
     * Error number of the last refusal of secret memory, in a pool that was to use it (0: none).
     */
    int secret_memory_error;
    /**
     * Bytes of `total` that are secret memory.
     */
    size_t secret_memory;
    /**
     * For each BITCOIN_SUPPORT_PROTECTION_ value, the bytes of `total` that lack the protection
     * although they were to have it. Zeros behind these, for protections of later versions.
     * (Nothing is known of a pool over a foreign page allocator.)
     */
    struct bitcoin_support_missing_protection missing_protections[8];
} bitcoin_support_locked_pool_stats;

/**
 * What the library has mapped for secrets in this process. Later versions append members.
 */
typedef struct bitcoin_support_memory_stats {
    /**
     * Number of mappings.
     */
    size_t mappings;
    /**
     * Bytes in all of them, in whole pages, without their guard pages.
     */
    size_t total;
    /**
     * Bytes of `total` that are locked into memory.
     */
    size_t locked;
} bitcoin_support_memory_stats;

/**
 * An address in a sampled chunk, used or freed, or in the guard pages around it. Later versions
 * append members.
 */
typedef struct bitcoin_support_address_report {
    /**
     * The chunk.
     */
    void *chunk;
    /**
     * Number of bytes that the program asked for.
     */
    size_t size;
    /**
     * The address minus the chunk's: below 0 in front of the chunk, `size` or more behind it.
     */
    ptrdiff_t offset;
    /**
     * The operating system's number of the thread that allocated the chunk (0: unknown).
     */
    uint64_t allocated_by;
    /**
     * The same for the thread that freed it (0: unknown, or not freed).
     */
    uint64_t freed_by;
    /**
     * Whether the chunk has been freed.
     */
    bool freed;
    /**
     * All of this in a sentence, such as "0 bytes after a chunk of 32 bytes, allocated by thread
     * 4711, freed by thread 4712".
     */
    char text[191];
} bitcoin_support_address_report;

/**
 * What happens to the secrets that are left in locked memory when the process exits, by a return
 * from main or by exit. It concerns all pools over the operating system's own pages, and all
 * buffers. It is the last thing that happens, after exit handlers and destructors of objects with
 * static storage. A process that ends in another way is not concerned: the kernel takes its memory
 * back and zeroes it before another process gets it.
 */
typedef uint32_t bitcoin_support_exit_policy;

/**
 * A function for bitcoin_support_on_secret_stack.
 */
typedef void (*bitcoin_support_secret_function)(void *context);

/**
 * Things that a process can give up, or have its kernel do, for good: BITCOIN_SUPPORT_HARDEN_
 * values, joined by |. Later versions have more. In what follows, "children" are processes that
 * are forked afterwards, and "programs" is what the process executes afterwards.
 */
typedef uint64_t bitcoin_support_harden_steps;

/**
 * What came of one step. This structure never grows.
 */
typedef struct bitcoin_support_harden_result {
    /**
     * The step: one BITCOIN_SUPPORT_HARDEN_ value.
     */
    bitcoin_support_harden_steps step;
    /**
     * BITCOIN_SUPPORT_OK, or _NOT_AVAILABLE: the process is as it was in this respect, but for
     * what BITCOIN_SUPPORT_HARDEN_SEALED_POOL has sealed before it was refused.
     */
    enum bitcoin_support_status status;
    /**
     * The error number with which the system refused the step. 0 if it was taken, or if the
     * system, or this version of its kernel, does not have what the step needs.
     */
    int error;
} bitcoin_support_harden_result;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Version of the library in use, such as "0.1.0". The text must not be freed.
 */
const char *bitcoin_support_version(void) BITCOIN_SUPPORT_NEVER_NULL;

/**
 * BITCOIN_SUPPORT_VERSION_NUMBER of the library in use.
 */
uint32_t bitcoin_support_version_number(void);

/**
 * BITCOIN_SUPPORT_ABI of the library in use.
 */
uint32_t bitcoin_support_abi(void);

/**
 * The name of a status, such as "BITCOIN_SUPPORT_OK", or "BITCOIN_SUPPORT_UNKNOWN" for any other
 * number. Never NULL. The text must not be freed.
 */
const char *bitcoin_support_status_name(int status) BITCOIN_SUPPORT_NEVER_NULL;

/**
 * The meaning of a status, in a sentence. Never NULL. The text must not be freed.
 */
const char *bitcoin_support_status_message(int status) BITCOIN_SUPPORT_NEVER_NULL;

/**
 * Overwrites `len` bytes at `ptr` with zeros. As fast as memset, but no compiler optimizes it
 * away. `ptr` may be NULL when `len` is 0.
 */
void memory_cleanse(void *ptr, size_t len);

/**
 * Overwrites a string with zeros, up to its terminating zero. NULL does nothing. Bytes behind the
 * terminating zero stay, such as the rest of a buffer that held a longer string before: see
 * memory_cleanse.
 */
void bitcoin_support_cleanse_string(char *string);

/**
 * Overwrites all locked memory with zeros, at once: all memory of every pool over the operating
 * system's own pages, and all buffers, used or not. This is a panic button. It takes no lock,
 * allocates nothing and makes no system call, so it may be called anywhere, even in a signal
 * handler. Pools and chunks stay valid, with zeros in them. Objects in locked memory that are more
 * than plain bytes must not be used any more.
 */
void bitcoin_support_wipe_all(void);

/**
 * Writes a name for a temporary file to `name`: 32 hexadecimal digits from the system's random
 * source and a terminating zero. It does not create the file. The caller should create it in a way
 * that fails if the file exists.
 *
 * Returns: BITCOIN_SUPPORT_OK, _NULL_ARGUMENT, _BUFFER_TOO_SMALL (`size` is below
 * BITCOIN_SUPPORT_UNIQUE_NAME_SIZE), or _NO_RANDOMNESS.
 */
enum bitcoin_support_status bitcoin_support_get_unique_name(char *name, size_t size);

/**
 * Makes an empty buffer with room for `capacity` bytes.
 *
 * Out: `*buffer`, to be destroyed with bitcoin_support_buffer_destroy.
 * Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY or _NULL_ARGUMENT.
 */
enum bitcoin_support_status bitcoin_support_buffer_create(size_t capacity,
                                                          struct bitcoin_support_buffer **buffer);

/**
 * Wipes and destroys a buffer. NULL does nothing.
 *
 * Returns: BITCOIN_SUPPORT_OK or _INVALID_HANDLE (not a live buffer).
 */
enum bitcoin_support_status bitcoin_support_buffer_destroy(struct bitcoin_support_buffer *buffer);

/**
 * The bytes. They may be read and written until the buffer is resized, appended to or destroyed.
 * NULL for a NULL buffer.
 */
void *bitcoin_support_buffer_data(struct bitcoin_support_buffer *buffer);

/**
 * Number of bytes. 0 for a NULL buffer.
 */
size_t bitcoin_support_buffer_size(const struct bitcoin_support_buffer *buffer);

/**
 * Changes the number of bytes to `size`. Bytes beyond the new end are wiped; new bytes are zeros.
 *
 * Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY or _NULL_ARGUMENT.
 */
enum bitcoin_support_status bitcoin_support_buffer_resize(struct bitcoin_support_buffer *buffer,
                                                          size_t size);

/**
 * Appends `size` bytes from `data`, which must not be bytes of this buffer. `data` may be NULL
 * when `size` is 0.
 *
 * Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY or _NULL_ARGUMENT.
 */
enum bitcoin_support_status bitcoin_support_buffer_append(struct bitcoin_support_buffer *buffer,
                                                          const void *data,
                                                          size_t size);

/**
 * Makes an arena over the `size` bytes at `base`. The arena never reads or writes them, so they
 * need not be mapped. Chunks are aligned to `alignment` bytes, a power of two, and their sizes are
 * multiples of it. Bytes of the region before its first multiple of `alignment` and after its last
 * one stay unused.
 *
 * Out: `*arena`, to be destroyed with bitcoin_support_arena_destroy.
 * Returns: BITCOIN_SUPPORT_OK, _BAD_ALIGNMENT, _BAD_REGION, _OUT_OF_MEMORY or _NULL_ARGUMENT.
 */
enum bitcoin_support_status bitcoin_support_arena_create(void *base,
                                                         size_t size,
                                                         size_t alignment,
                                                         struct bitcoin_support_arena **arena);

/**
 * Destroys an arena. The region stays as it is. NULL does nothing.
 *
 * Returns: BITCOIN_SUPPORT_OK or _INVALID_HANDLE (not a live arena).
 */
enum bitcoin_support_status bitcoin_support_arena_destroy(struct bitcoin_support_arena *arena);

/**
 * Allocates `size` bytes with the alignment of the arena. NULL when there is no room, or `size` is
 * 0. Takes constant time.
 */
BITCOIN_SUPPORT_MUST_USE
void *bitcoin_support_arena_alloc(struct bitcoin_support_arena *arena,
                                  size_t size);

/**
 * Allocates `size` bytes aligned to `alignment` bytes, a power of two. NULL when there is no room,
 * `size` is 0, or `alignment` is not a power of two. Takes constant time, except for an alignment
 * above the arena's own: then the time grows with the number of free chunks at unsuitable
 * addresses.
 */
BITCOIN_SUPPORT_MUST_USE
void *bitcoin_support_arena_alloc_aligned(struct bitcoin_support_arena *arena,
                                          size_t size,
                                          size_t alignment);

/**
 * Frees the chunk that begins at `ptr`. NULL does nothing. Takes constant time.
 *
 * Returns: BITCOIN_SUPPORT_OK or _INVALID_FREE.
 */
enum bitcoin_support_status bitcoin_support_arena_free(struct bitcoin_support_arena *arena,
                                                       void *ptr);

/**
 * Frees the chunk that begins at `ptr`, if it was allocated with this size and alignment. NULL
 * does nothing. Takes constant time.
 *
 * Returns: BITCOIN_SUPPORT_OK, _INVALID_FREE or _SIZE_MISMATCH.
 */
enum bitcoin_support_status bitcoin_support_arena_free_sized(struct bitcoin_support_arena *arena,
                                                             void *ptr,
                                                             size_t size,
                                                             size_t alignment);

/**
 * Whether `ptr` lies in the region that the arena was made over.
 */
bool bitcoin_support_arena_contains(const struct bitcoin_support_arena *arena, const void *ptr);

/**
 * Statistics of the arena. Takes constant time.
 *
 * `size` is sizeof(bitcoin_support_arena_stats), which tells the library what members the caller
 * knows. Members that the library does not know become zeros.
 *
 * Out: `*stats`. Returns: BITCOIN_SUPPORT_OK or _NULL_ARGUMENT.
 */
enum bitcoin_support_status bitcoin_support_arena_get_stats(const struct bitcoin_support_arena *arena,
                                                            struct bitcoin_support_arena_stats *stats,
                                                            size_t size);

/**
 * Visits every chunk, until `visit` returns false: first the used ones by ascending address, then
 * the free ones. For debugging.
 *
 * Returns: BITCOIN_SUPPORT_OK or _NULL_ARGUMENT.
 */
enum bitcoin_support_status bitcoin_support_arena_walk(const struct bitcoin_support_arena *arena,
                                                       bitcoin_support_visit_chunk visit,
                                                       void *context);

/**
 * What an administrator can do about a refused protection, in one line of English. `protection` is
 * a BITCOIN_SUPPORT_PROTECTION_ value, `error` the error number from the statistics. Never NULL.
 * The text must not be freed.
 */
const char *bitcoin_support_protection_remedy(bitcoin_support_protection protection,
                                              int error)
BITCOIN_SUPPORT_NEVER_NULL;

/**
 * What an administrator can do about memory that could not be locked, in one line of English.
 * `error` and `limit` are the figures that the callback or the statistics gave. Never NULL. The
 * text must not be freed.
 */
const char *bitcoin_support_lock_remedy(int error, size_t limit) BITCOIN_SUPPORT_NEVER_NULL;

/**
 * Raises the process's limit on locked memory (RLIMIT_MEMLOCK) to its hard limit, which needs no
 * privilege. The library never does so unless it is asked. `limit` may be NULL.
 *
 * Out: `*limit`, the limit afterwards in bytes (SIZE_MAX: none).
 * Returns: BITCOIN_SUPPORT_OK or _NOT_AVAILABLE (a sandbox forbids it).
 */
enum bitcoin_support_status bitcoin_support_raise_lock_limit(size_t *limit);

/**
 * Sets all options to their defaults, and the member `size` to `size`, which is
 * sizeof(bitcoin_support_locked_pool_options): so a program that was compiled with an earlier
 * version has no more written than it knows of. NULL does nothing, and a `size` that is less than
 * that member does nothing.
 */
void bitcoin_support_locked_pool_options_init(struct bitcoin_support_locked_pool_options *options,
                                              size_t size);

/**
 * Makes a pool over `pages`, which is copied, or over the operating system's own pages if `pages`
 * is NULL. A pool over the operating system's pages wipes chunks when they are freed. The library
 * calls `pages->destroy` in any case: if this function fails, before it returns.
 *
 * Out: `*pool`, to be destroyed with bitcoin_support_locked_pool_destroy. Returns:
 * BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY, or _NULL_ARGUMENT (`pool`, or a function of `pages` other
 * than destroy, is NULL).
 */
enum bitcoin_support_status bitcoin_support_locked_pool_create(const struct bitcoin_support_page_allocator *pages,
                                                               struct bitcoin_support_locked_pool **pool);

/**
 * Makes a pool over the operating system's own pages, by options, or by the defaults if `options`
 * is NULL. Nothing is mapped before the first allocation.
 *
 * Out: `*pool`, to be destroyed with bitcoin_support_locked_pool_destroy. Returns:
 * BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY, _BAD_OPTION, _NOT_AVAILABLE (the system has no secret
 * memory, or refuses a required protection, or does not let the limit be raised) or _NULL_ARGUMENT
 * (`pool`).
 */
enum bitcoin_support_status bitcoin_support_locked_pool_create_with(const struct bitcoin_support_locked_pool_options *options,
                                                                    struct bitcoin_support_locked_pool **pool);

/**
 * Destroys a pool and frees its pages, even if chunks are in use. NULL does nothing.
 *
 * Returns: BITCOIN_SUPPORT_OK or _INVALID_HANDLE (not a live pool, or the process-wide pool, which
 * cannot be destroyed).
 */
enum bitcoin_support_status bitcoin_support_locked_pool_destroy(struct bitcoin_support_locked_pool *pool);

/**
 * The process-wide pool, which all code of the process shares. It needs no initialization and is
 * never destroyed, so static destructors and exit handlers can use it. Never NULL.
 */
struct bitcoin_support_locked_pool *bitcoin_support_locked_pool_instance(void)
BITCOIN_SUPPORT_NEVER_NULL;

/**
 * Chooses options for the process-wide pool, except sizes, which are fixed. The call must come
 * before the first allocation from this pool: at the beginning of main, or in a static
 * initializer. The last of several calls counts.
 *
 * Returns: BITCOIN_SUPPORT_OK, _IN_USE (something has been allocated), _BAD_OPTION, _NOT_AVAILABLE
 * or _NULL_ARGUMENT.
 */
enum bitcoin_support_status bitcoin_support_locked_pool_configure_instance(const struct bitcoin_support_locked_pool_options *options);

/**
 * Sets the callback that decides about unlocked memory. NULL is the default: the pool uses
 * unlocked memory, and counts it in the statistics. When this returns, no thread is in the old
 * callback any more, and none will call it, so its context may be freed. (Called in a callback of
 * the same pool, that holds from the return of that callback on.)
 *
 * Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY or _NULL_ARGUMENT.
 */
enum bitcoin_support_status bitcoin_support_locked_pool_set_locking_failed(struct bitcoin_support_locked_pool *pool,
                                                                           bitcoin_support_locking_failed callback,
                                                                           void *context);

/**
 * Allocates `size` bytes from the process-wide pool, aligned to BITCOIN_SUPPORT_ARENA_ALIGN. Equal
 * to bitcoin_support_locked_pool_alloc with that pool's handle, and faster.
 */
BITCOIN_SUPPORT_MUST_USE void *bitcoin_support_alloc(size_t size) BITCOIN_SUPPORT_FRESH;

/**
 * Like bitcoin_support_alloc, but aligned to `alignment` bytes. NULL also when `alignment` is not
 * a power of two.
 */
BITCOIN_SUPPORT_MUST_USE
void *bitcoin_support_alloc_aligned(size_t size,
                                    size_t alignment)
BITCOIN_SUPPORT_FRESH;

/**
 * Wipes and frees a chunk of the process-wide pool. NULL does nothing. Equal to
 * bitcoin_support_locked_pool_free with that pool's handle, and faster.
 *
 * Returns: BITCOIN_SUPPORT_OK, _INVALID_FREE, _NOT_IN_POOL, _OVERRUN if the chunk is a sampled
 * one, or _INTERRUPTED.
 */
enum bitcoin_support_status bitcoin_support_free(void *ptr);

/**
 * Allocates `size` bytes, aligned to BITCOIN_SUPPORT_ARENA_ALIGN. NULL when `size` is 0 or above
 * the size of the pool's arenas (BITCOIN_SUPPORT_ARENA_SIZE, unless the options of the pool say
 * otherwise), or when the pool has no room and cannot get any.
 */
BITCOIN_SUPPORT_MUST_USE
void *bitcoin_support_locked_pool_alloc(struct bitcoin_support_locked_pool *pool,
                                        size_t size);

/**
 * Like bitcoin_support_locked_pool_alloc, but aligned to `alignment` bytes. NULL also when
 * `alignment` is not a power of two.
 */
BITCOIN_SUPPORT_MUST_USE
void *bitcoin_support_locked_pool_alloc_aligned(struct bitcoin_support_locked_pool *pool,
                                                size_t size,
                                                size_t alignment);

/**
 * Frees the chunk that begins at `ptr`. If the pool is over the operating system's own pages, the
 * whole chunk is wiped first. NULL does nothing.
 *
 * Returns: BITCOIN_SUPPORT_OK, _INVALID_FREE, _NOT_IN_POOL, _OVERRUN if the chunk is a sampled
 * one, or _INTERRUPTED.
 */
enum bitcoin_support_status bitcoin_support_locked_pool_free(struct bitcoin_support_locked_pool *pool,
                                                             void *ptr);

/**
 * Frees the chunk that begins at `ptr`, if it was allocated with this size and alignment. Wipes as
 * bitcoin_support_locked_pool_free does. NULL does nothing.
 *
 * Returns: BITCOIN_SUPPORT_OK, _INVALID_FREE, _NOT_IN_POOL, _SIZE_MISMATCH, _OVERRUN if the chunk
 * is a sampled one, or _INTERRUPTED.
 */
enum bitcoin_support_status bitcoin_support_locked_pool_free_sized(struct bitcoin_support_locked_pool *pool,
                                                                   void *ptr,
                                                                   size_t size,
                                                                   size_t alignment);

/**
 * Visits every chunk that the pool has at one moment, until `visit` returns false. The library
 * first makes a list of them, of two words for each. `visit` may use the pool. For debugging.
 *
 * Returns: BITCOIN_SUPPORT_OK, _NULL_ARGUMENT, or _OUT_OF_MEMORY (there is no memory for the list,
 * and nothing has been visited).
 */
enum bitcoin_support_status bitcoin_support_locked_pool_walk(const struct bitcoin_support_locked_pool *pool,
                                                             bitcoin_support_visit_chunk visit,
                                                             void *context);

/**
 * Statistics of the pool. Takes constant time, except for the process-wide pool, where it takes a
 * step for each thread that uses the pool and stops those threads meanwhile.
 *
 * `size` is sizeof(bitcoin_support_locked_pool_stats), which tells the library what members the
 * caller knows. Members that the library does not know become zeros.
 *
 * Out: `*stats`. Returns: BITCOIN_SUPPORT_OK or _NULL_ARGUMENT.
 */
enum bitcoin_support_status bitcoin_support_locked_pool_get_stats(const struct bitcoin_support_locked_pool *pool,
                                                                  struct bitcoin_support_locked_pool_stats *stats,
                                                                  size_t size);

/**
 * Figures of all memory that the library has mapped for secrets in this process: the arenas of
 * every pool over the system's own pages, the process-wide one included, the pages of sampled
 * chunks, secrets that are larger than an arena, closed secrets, and secret stacks. If `locked`
 * equals `total`, nothing in this memory can be swapped out. Memory that the process has not got
 * because it is a child of fork(), and memory of foreign page allocators, are not counted.
 *
 * The figures belong together as long as no other thread makes or frees a mapping meanwhile. Takes
 * a step for each mapping, and no lock. Threads may call it at the same time.
 *
 * `size` is sizeof(bitcoin_support_memory_stats), which tells the library what members the caller
 * knows. Members that the library does not know become zeros.
 *
 * Out: `*stats`. Returns: BITCOIN_SUPPORT_OK or _NULL_ARGUMENT.
 */
enum bitcoin_support_status bitcoin_support_get_memory_stats(struct bitcoin_support_memory_stats *stats,
                                                             size_t size);

/**
 * Finds overruns. From this call on, about one in `one_in` allocations from the process-wide pool,
 * chosen at random, is a sample: it gets separate pages, and lies at their end or at their
 * beginning, next to a guard page. When it is freed, its pages become inaccessible for a while. So
 * an access behind the chunk, in front of it, or after its free is a SIGSEGV at that very
 * instruction. The library does not catch the signal; bitcoin_support_describe_address explains
 * the address. Up to 15 bytes between the chunk and the end of its pages are compared when it is
 * freed: see BITCOIN_SUPPORT_OVERRUN.
 *
 * `one_in` = 1 finds every such bug, in development and tests. For production, choose thousands. 0
 * stops sampling. A process starts without it, and only this function (or its counterpart in Rust)
 * changes that. At most `max_locked` bytes are locked for samples at once, a page for each small
 * chunk in use, and no more than half of what the process may lock. Where none are left, an
 * allocation is served as usual. In the statistics, a sample counts as an arena while it is in
 * use.
 *
 * Returns: BITCOIN_SUPPORT_OK, or _OUT_OF_MEMORY (there is no address space for samples).
 */
enum bitcoin_support_status bitcoin_support_locked_pool_sample(uint32_t one_in, size_t max_locked);

/**
 * Explains an address that lies in a sampled chunk (see bitcoin_support_locked_pool_sample), used
 * or freed, in a closed secret (see bitcoin_support_closed_alloc), or in the guard pages around
 * one of them. Of a closed secret, `chunk`, `size` and `offset` are set, and `text`, which says
 * whether it is open; the threads are not known. If several chunks have been at that place, the
 * report is about the last one. May be called in a signal handler: it takes no lock and allocates
 * nothing. The report is right unless the chunk is being allocated or freed at the same moment.
 *
 * `size` is sizeof(bitcoin_support_address_report), which tells the library what members the
 * caller knows. Members that the library does not know become zeros.
 *
 * Out: `*report`.
 * Returns: BITCOIN_SUPPORT_OK, _NOT_IN_POOL (the address lies in neither) or _NULL_ARGUMENT.
 */
enum bitcoin_support_status bitcoin_support_describe_address(const void *address,
                                                             struct bitcoin_support_address_report *report,
                                                             size_t size);

/**
 * Encrypts the `size` bytes at `data` into `sealed`, for a secret that is not in use: `sealed` may
 * lie in ordinary memory, be copied, moved and freed. The key lies in the process-wide pool, 16
 * KiB for all secrets together, and is made at the first call. Where that pool cannot lock it, the
 * pool's callback decides, and its statistics show it. `data` should lie in locked memory,
 * and be wiped by the caller afterwards (memory_cleanse, or by freeing it). `data` may be NULL
 * when `size` is 0.
 *
 * The secret can be opened in the same `context` only, which may be any bytes, secret or not: such
 * as the name of the secret, so that two sealed secrets cannot be exchanged. `context` may be NULL
 * when `context_size` is 0.
 *
 * `sealed_size` must be `size` + BITCOIN_SUPPORT_SEAL_OVERHEAD. `sealed` may overlap `data`.
 *
 * The key is wiped with all other secrets (bitcoin_support_wipe_all, at exit), and a child of fork
 * has it if it has the other secrets of the process-wide pool. A sealed secret cannot be opened in
 * another process. Any thread may call this. It takes tens of microseconds.
 *
 * Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY, _NULL_ARGUMENT, _BAD_SIZE (`sealed_size` is not
 * what it must be), _NO_RANDOMNESS, _KEYS_IN_USE, _KEY_WIPED (by another thread during the call),
 * _INTERRUPTED or _NOT_AVAILABLE (the library was built without cargo's feature `sealed`).
 */
enum bitcoin_support_status bitcoin_support_seal(const void *data,
                                                 size_t size,
                                                 const void *context,
                                                 size_t context_size,
                                                 void *sealed,
                                                 size_t sealed_size);

/**
 * Decrypts what bitcoin_support_seal has written to `sealed`, into `data`, which should lie in
 * locked memory. `size` must be `sealed_size` - BITCOIN_SUPPORT_SEAL_OVERHEAD, and `context` that
 * of the call that sealed it. `data` may overlap `sealed`, and may be NULL when `size` is 0.
 * Nothing is written to `data` unless the whole secret is as it was sealed. Any thread may call
 * this.
 *
 * Returns: BITCOIN_SUPPORT_OK, _TAMPERED (`sealed` has been changed, or the context is another
 * one), _KEY_WIPED (or the number of the key in `sealed` has been changed), _OUT_OF_MEMORY,
 * _NULL_ARGUMENT, _BAD_SIZE (`size` is not what it must be), _INTERRUPTED or _NOT_AVAILABLE.
 */
enum bitcoin_support_status bitcoin_support_unseal(const void *sealed,
                                                   size_t sealed_size,
                                                   const void *context,
                                                   size_t context_size,
                                                   void *data,
                                                   size_t size);

/**
 * Makes a new key for bitcoin_support_seal. What is sealed already stays as it is. It can be
 * opened after one rotation, and its key may be gone after the next: so after a rotation, open it
 * and seal it again. (If no Rust code of the process seals secrets, keys last for three
 * rotations.) Any thread may call this.
 *
 * Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY, _NO_RANDOMNESS, _KEYS_IN_USE, _INTERRUPTED or
 * _NOT_AVAILABLE.
 */
enum bitcoin_support_status bitcoin_support_rotate_sealing_key(void);

/**
 * Chooses what happens to secrets when the process exits: a BITCOIN_SUPPORT_EXIT_ value. Any
 * thread may call this at any time. The last call counts.
 *
 * Returns: BITCOIN_SUPPORT_OK or _BAD_OPTION.
 */
enum bitcoin_support_status bitcoin_support_set_exit_policy(bitcoin_support_exit_policy policy);

/**
 * Calls `function` with `context` on a secret stack of `size` bytes, 0 for the default (64 KiB).
 * The stack lies between guard pages, and is left out of core dumps. It is locked if the locked
 * stacks of all calls under way have, with this one, no more than an eighth of the limit on locked
 * memory. When the function has returned, the stack is wiped, and all registers are cleared that a
 * function may change. So nothing of what the function had on its stack or in registers is left.
 * What it puts elsewhere is not wiped.
 *
 * A size other than 0 is rounded up to whole pages, and is at least 32 KiB.
 *
 * The function may do anything that it may do on a thread's own stack, also call this function,
 * fork and exit. If the stack is too small, the process ends at the guard page (SIGSEGV). The
 * function must return: it must not leave by longjmp, by a C++ exception or by pthread_exit, and
 * its thread must not be cancelled meanwhile. Signal handlers must not call this.
 *
 * A thread's first call maps the stack. A thread keeps up to two stacks of up to 256 KiB for its
 * further calls, which take less than a microsecond each with the default size. They hold zeros,
 * and are unlocked where a stack in a call, or memory for a secret, has no room otherwise. A stack
 * that is not locked is locked at a later call for which there is room.
 *
 * Returns: BITCOIN_SUPPORT_OK when the function has returned. Otherwise the function has not been
 * called: BITCOIN_SUPPORT_NULL_ARGUMENT, _OUT_OF_MEMORY or _NOT_AVAILABLE (on systems and
 * processors other than Linux and most Unix systems on x86-64 and 64-bit ARM).
 */
enum bitcoin_support_status bitcoin_support_on_secret_stack(bitcoin_support_secret_function function,
                                                            void *context,
                                                            size_t size);

/**
 * As bitcoin_support_on_secret_stack, but the stack is locked also beyond an eighth of the limit.
 * If it cannot be locked, the function is not called.
 *
 * Returns: as bitcoin_support_on_secret_stack; _OUT_OF_MEMORY also when the stack cannot be
 * locked.
 */
enum bitcoin_support_status bitcoin_support_on_locked_secret_stack(bitcoin_support_secret_function function,
                                                                   void *context,
                                                                   size_t size);

/**
 * Whether the caller runs on a secret stack that is locked.
 */
bool bitcoin_support_secret_stack_is_locked(void);

/**
 * Allocates a closed secret of `size` bytes, aligned to 16, all zeros: it cannot be read or
 * written, and an access ends the process (SIGSEGV), until it is opened. It has pages for itself,
 * at least one, between guard pages. They are locked: where they cannot be, there is no secret.
 * The other options are those of the process-wide pool. bitcoin_support_wipe_all and the wipe at
 * exit wipe it too.
 *
 * The caller owns it by its address, and frees it with bitcoin_support_closed_free. The functions
 * below take such addresses alone, and not that of a secret that Rust code has closed.
 *
 * Returns NULL if `size` is 0, if there is no memory that can be locked, and if the system does
 * not let it be closed (Windows, sandboxes).
 */
BITCOIN_SUPPORT_MUST_USE void *bitcoin_support_closed_alloc(size_t size);

/**
 * Opens a closed secret to all threads of the process, for reading, and with `writable` for
 * writing too. Openings are counted: each is ended by bitcoin_support_closed_close with the same
 * `writable`. Any thread may call this, and a signal handler too. It takes microseconds, and a
 * step for each mapping that the library has.
 *
 * Returns: BITCOIN_SUPPORT_OK, _NULL_ARGUMENT, _INVALID_HANDLE (no closed secret begins there) or
 * _NOT_AVAILABLE (the system refuses, or the secret has stayed with the parent of this process).
 */
enum bitcoin_support_status bitcoin_support_closed_open(void *secret, bool writable);

/**
 * Ends an opening. With the last one, the secret is closed again.
 *
 * Returns: BITCOIN_SUPPORT_OK, _NULL_ARGUMENT, _INVALID_HANDLE (no closed secret begins there, or
 * it has not been opened with this `writable`), _STAYS_OPEN (the opening has ended, but the system
 * refuses to close the secret) or _NOT_AVAILABLE (the secret has stayed with the parent of this
 * process).
 */
enum bitcoin_support_status bitcoin_support_closed_close(void *secret, bool writable);

/**
 * Calls `function` with `context` while the calling thread may read the closed secret, and with
 * `writable` write to it too. With a protection key (bitcoin_support_has_protection_key), no other
 * thread that is there can access it meanwhile, nor can signal handlers, and the calling thread
 * can access all closed secrets. Elsewhere it is opened to all threads. Any thread may call this,
 * and a signal handler too.
 *
 * The function must return: it must not leave by longjmp, by a C++ exception or by pthread_exit.
 * No other call may open, close or free the secret meanwhile. A thread that the function starts
 * has the right too, for its whole life.
 *
 * Returns: as bitcoin_support_closed_open, or BITCOIN_SUPPORT_STAYS_OPEN (the function has been
 * called, and the system refuses to close the secret afterwards). After any other status but
 * BITCOIN_SUPPORT_OK the function has not been called.
 */
enum bitcoin_support_status bitcoin_support_closed_on_this_thread(void *secret,
                                                                  bool writable,
                                                                  bitcoin_support_secret_function function,
                                                                  void *context);

/**
 * Wipes and frees a closed secret, open or not. No other call may use it meanwhile. NULL does
 * nothing. Where the system refuses to open it for writing, it is wiped by a protection key alone,
 * and only if it is closed: not if it is open for reading. Otherwise its pages are given back as
 * they are: the system fills them with zeros before any process gets them again.
 *
 * Returns: BITCOIN_SUPPORT_OK or _INVALID_HANDLE (no closed secret begins there).
 */
enum bitcoin_support_status bitcoin_support_closed_free(void *secret);

/**
 * Whether a protection key closes secrets (Linux on x86-64, on processors that have them), so that
 * bitcoin_support_closed_on_this_thread opens them to the calling thread alone.
 */
bool bitcoin_support_has_protection_key(void);

/**
 * Hardens the process: takes each of the steps, and writes the result of each, in the order of the
 * values from the lowest on. A step that the system does not have, or that a sandbox refuses, is
 * a result with BITCOIN_SUPPORT_NOT_AVAILABLE, and the others are taken all the same. No step can
 * be undone. No step is taken unasked.
 *
 * Call it at the start of the program, before there are other threads. It may be called again,
 * with the same steps or others. `count` is the number of results that `results` has room for: at
 * least one for each step.
 *
 * Out: `results[0]` and on, one for each step.
 * Returns: BITCOIN_SUPPORT_OK, when each step has a result. Otherwise nothing has been done:
 * _NULL_ARGUMENT, _BUFFER_TOO_SMALL or _BAD_OPTION (`steps` has a value that this version does not
 * know).
 */
enum bitcoin_support_status bitcoin_support_harden_process(bitcoin_support_harden_steps steps,
                                                           struct bitcoin_support_harden_result *results,
                                                           size_t count);

/**
 * The name of a step, one BITCOIN_SUPPORT_HARDEN_ value: "not-dumpable". "unknown" for any other
 * number. Never NULL. The text must not be freed.
 */
const char *bitcoin_support_harden_step_name(bitcoin_support_harden_steps step)
BITCOIN_SUPPORT_NEVER_NULL;

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* BITCOIN_SUPPORT_C_API_H */
