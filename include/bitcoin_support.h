/*
 * bitcoin_support.h - locked memory for secrets: the C interface of libbitcoin_support.
 *
 * Made by cbindgen from src/ffi.rs; to change it, change that.
 *
 * Conventions
 *   - Sizes, limits and alignments are in bytes.
 *   - Functions that can fail in more than one way return a bitcoin_support_status; 0 is success. On
 *     any other but BITCOIN_SUPPORT_OVERRUN, nothing has changed, and outputs (always the last
 *     parameters) are not written.
 *     Functions that allocate return NULL on failure.
 *   - The object that a function works on is its first parameter. A NULL object is refused: NULL,
 *     zeros or BITCOIN_SUPPORT_NULL_ARGUMENT come back. No other parameter may be NULL unless it is
 *     said to be.
 *   - What a _create function made is given back to the matching _destroy function.
 *   - Callbacks get the context they were registered with. They may be called from any thread that
 *     uses the object, but never from two at once for one object. They must return normally: no
 *     longjmp, no C++ exception.
 *   - Pools may be used from any number of threads at once, arenas from one at a time.
 *   - A broken invariant of the library's own ends the process (abort).
 */

#ifndef BITCOIN_SUPPORT_C_API_H
#define BITCOIN_SUPPORT_C_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Version of the exported interface; the shared library's SONAME ends in it.
#define BITCOIN_SUPPORT_ABI 0

// Version of the library these declarations belong to.
#define BITCOIN_SUPPORT_VERSION_MAJOR 0

// See BITCOIN_SUPPORT_VERSION_MAJOR.
#define BITCOIN_SUPPORT_VERSION_MINOR 1

// See BITCOIN_SUPPORT_VERSION_MAJOR.
#define BITCOIN_SUPPORT_VERSION_PATCH 0

// Largest chunk of a locked pool, and size of its arenas, in bytes.
#define BITCOIN_SUPPORT_ARENA_SIZE 262144

// Alignment of the chunks of a locked pool in bytes; sizes are rounded up to it.
#define BITCOIN_SUPPORT_ARENA_ALIGN 16

// Size of a unique name in bytes, the terminating zero included.
#define BITCOIN_SUPPORT_UNIQUE_NAME_SIZE 33

// The memory is left out of core dumps.
#define BITCOIN_SUPPORT_PROTECTION_DUMP_EXCLUSION 0

// Children find what the fork policy says, by the kernel's doing. Where that is refused, children that the C
// library makes find it all the same; those made by the bare system call have the contents.
#define BITCOIN_SUPPORT_PROTECTION_FORK_POLICY 1

// The memory is not merged with equal pages.
#define BITCOIN_SUPPORT_PROTECTION_NO_MERGING 2

// The memory is not backed by huge pages.
#define BITCOIN_SUPPORT_PROTECTION_NO_HUGE_PAGES 3

// The contents, locked again before fork returns. The default; what a daemon needs.
#define BITCOIN_SUPPORT_FORK_KEEP 0

// Zeros, locked. Chunks stay allocated. A child must not use objects in them to which zeros are no value, such
// as pointers.
#define BITCOIN_SUPPORT_FORK_WIPE 1

// Nothing: an access ends the process. The child's pool is empty; freeing one of its parent's chunks
// succeeds and does nothing. A child must not use objects in them.
#define BITCOIN_SUPPORT_FORK_ABSENT 2

// Ordinary memory. The default.
#define BITCOIN_SUPPORT_SECRET_MEMORY_OFF 0

// Where the system has it; else ordinary locked memory, and the statistics say why.
#define BITCOIN_SUPPORT_SECRET_MEMORY_PREFER 1

// Nothing else.
#define BITCOIN_SUPPORT_SECRET_MEMORY_REQUIRE 2

// Wiped if the thread that exits is the only one that uses this memory, and else left to the kernel, so that no
// thread ever finds zeros where its secret was. The default. Where it cannot be known (it is asked of Linux, by
// unshare) nothing is wiped.
#define BITCOIN_SUPPORT_EXIT_WIPE_WHEN_ALONE 0

// Left to the kernel, always.
#define BITCOIN_SUPPORT_EXIT_NEVER 1

// Inaccessible at once, whoever uses it: the contents are given back to the kernel, and a thread that goes on and
// touches a secret ends the process (SIGSEGV).
#define BITCOIN_SUPPORT_EXIT_INACCESSIBLE 2

// Outcome of a call. Anything but BITCOIN_SUPPORT_OK left everything as it was, with the one exception of
// BITCOIN_SUPPORT_OVERRUN.
typedef enum bitcoin_support_status {
    // Success.
    BITCOIN_SUPPORT_OK = 0,
    // No used chunk begins at the address: it was freed before, lies inside a chunk, or was never
    // handed out.
    BITCOIN_SUPPORT_INVALID_FREE = 1,
    // The address is in no arena of the pool.
    BITCOIN_SUPPORT_NOT_IN_POOL = 2,
    // A used chunk begins at the address, but not one of that size or alignment.
    BITCOIN_SUPPORT_SIZE_MISMATCH = 3,
    // The alignment is not a power of two.
    BITCOIN_SUPPORT_BAD_ALIGNMENT = 4,
    // The region begins at the null address or wraps around the address space.
    BITCOIN_SUPPORT_BAD_REGION = 5,
    // No memory: for bookkeeping, or none that is locked for a buffer.
    BITCOIN_SUPPORT_OUT_OF_MEMORY = 6,
    // A pointer that must not be null is null.
    BITCOIN_SUPPORT_NULL_ARGUMENT = 7,
    // The caller's buffer has no room for the answer.
    BITCOIN_SUPPORT_BUFFER_TOO_SMALL = 8,
    // The system has no random bytes to give.
    BITCOIN_SUPPORT_NO_RANDOMNESS = 9,
    // The pool is in use already, and what was asked for has to come before.
    BITCOIN_SUPPORT_IN_USE = 10,
    // An option has no such value, contradicts another, or is not for this pool.
    BITCOIN_SUPPORT_BAD_OPTION = 11,
    // The system does not have, or does not allow, what was asked for.
    BITCOIN_SUPPORT_NOT_AVAILABLE = 12,
    // Bytes next to the chunk, which was a sampled one (see bitcoin_support_locked_pool_sample), have been
    // written to. The chunk has been wiped and freed all the same.
    BITCOIN_SUPPORT_OVERRUN = 13,
    // A signal handler has interrupted the calling thread's work on this pool.
    BITCOIN_SUPPORT_INTERRUPTED = 14,
    // The handle is not one of this kind, or no longer: it has been destroyed, or is never destroyed.
    BITCOIN_SUPPORT_INVALID_HANDLE = 15,
} bitcoin_support_status;

// An arena: hands out chunks of a region of memory that it never touches. Not thread-safe: calls
// on one arena must not overlap in time.
typedef struct bitcoin_support_arena bitcoin_support_arena;

// A growable buffer for a secret, in the process-wide pool (above BITCOIN_SUPPORT_ARENA_SIZE bytes in
// locked pages of its own). Growing wipes the place that the bytes leave. Not thread-safe.
typedef struct bitcoin_support_buffer bitcoin_support_buffer;

// A pool of locked memory. Thread-safe.
typedef struct bitcoin_support_locked_pool bitcoin_support_locked_pool;

// What an arena holds. `used + free == total` always.
typedef struct bitcoin_support_arena_stats {
    // Bytes in used chunks, padding included.
    size_t used;
    // Bytes in free chunks.
    size_t free;
    // Bytes managed.
    size_t total;
    // Number of used chunks.
    size_t chunks_used;
    // Number of free chunks.
    size_t chunks_free;
} bitcoin_support_arena_stats;

// Called for each chunk by the functions that walk: its address, its size in bytes, and whether it
// is used. Must not use the arena being walked; a pool it may use.
typedef void (*bitcoin_support_visit_chunk)(void *context, void *chunk, size_t size, bool used);

// Source of pages for a locked pool: functions over a `context` of the caller's. One thread at a time calls
// them, whichever uses the pool, which holds no lock meanwhile: they may use other pools, look at this one's
// statistics, and fork; an allocation from this pool that needs more pages fails at once in there. In a child
// of a fork that came while another thread was in one of them, none is called any more. The addresses may be no
// memory at all: the pool never touches them.
typedef struct bitcoin_support_page_allocator {
    // Passed to every function.
    void *context;
    // Maps and locks `len` bytes. Sets `*locked`, which is false before, to whether they are
    // locked. NULL when they cannot be mapped.
    void *(*allocate_locked)(void *context, size_t len, bool *locked);
    // Wipes, unlocks and unmaps what allocate_locked returned for `len`.
    void (*free_locked)(void *context, void *addr, size_t len);
    // How many bytes may be locked in all: SIZE_MAX for no limit, 0 for none at all.
    size_t (*get_limit)(void *context);
    // Called once, when the pool is destroyed and has freed all pages. May be NULL.
    void (*destroy)(void *context);
} bitcoin_support_page_allocator;

// What a child process finds, after fork, in memory that its parent had. The parent's stays as it is.
typedef uint32_t bitcoin_support_fork_policy;

// Whether a pool uses secret memory, which no other process can read however privileged (Linux's
// memfd_secret). It goes with BITCOIN_SUPPORT_FORK_ABSENT only. While it is in use the machine refuses
// to hibernate.
typedef uint32_t bitcoin_support_secret_memory;

// Choices for a pool. Set them all to zero, which stands for the defaults, then `size`, then what you
// choose; bitcoin_support_locked_pool_options_init does the first two. Later versions append members:
// those that `size` does not cover are defaults. A `size` that ends within a member, or the padding behind
// the last, or is larger than that of this version, is BITCOIN_SUPPORT_BAD_OPTION.
typedef struct bitcoin_support_locked_pool_options {
    // sizeof(bitcoin_support_locked_pool_options).
    size_t size;
    // A BITCOIN_SUPPORT_FORK_ value.
    bitcoin_support_fork_policy fork_policy;
    // A BITCOIN_SUPPORT_SECRET_MEMORY_ value.
    bitcoin_support_secret_memory secret_memory;
    // Size of a page in bytes, a common or a huge one; 0 for the common ones.
    size_t page_size;
    // Size of an arena, and of the largest chunk, in bytes, a multiple of the page size; 0 for
    // BITCOIN_SUPPORT_ARENA_SIZE.
    size_t arena_size;
    // The most that all arenas may have in bytes; 0 for no such limit.
    size_t max_size;
    // Whether to raise the process's limit on locked memory first: see
    // bitcoin_support_raise_lock_limit.
    bool raise_lock_limit;
    // Whether the pool has every protection of its memory besides the lock or fails: see
    // bitcoin_support_protection.
    bool require_protections;
} bitcoin_support_locked_pool_options;

// A protection that memory for secrets is to have besides its lock, and that the system can refuse. (Guard pages
// are not among them: memory is mapped with them, or not at all.)
typedef uint32_t bitcoin_support_protection;

// What becomes of the secrets that are left in locked memory when the process exits, by a return from main or by
// exit: of everything in pools over the operating system's own pages and in buffers. It is the last thing that
// happens, after exit handlers and destructors of objects with static storage. A process that ends otherwise is
// not concerned: the kernel takes its memory as it is, and zeroes it before anybody else gets it.
typedef uint32_t bitcoin_support_exit_policy;

// Decides, when no memory can be locked, whether the pool may use unlocked memory (true) or fails
// the allocation (false). `error` is the operating system's error number (0: unknown), `limit` the
// limit on locked bytes that was in force (SIZE_MAX: none or unknown). One thread at a time is in it, and holds
// no lock: it may use the pool, also its statistics, set another callback, and fork. An allocation in there for
// which it would be asked again fails at once. It must not wait for a thread that sets the callback or needs its
// answer. In a child of a fork that came while another thread was in it, it is not called, which counts as false,
// until one is set there.
typedef bool (*bitcoin_support_locking_failed)(void *context, int error, size_t limit);

// What an address means that lies in a sampled chunk, or what was one, or in the guard pages around it.
typedef struct bitcoin_support_address_report {
    // The chunk.
    void *chunk;
    // Number of bytes that were asked for.
    size_t size;
    // The address less that of the chunk: below 0 in front of it, from `size` on behind it.
    ptrdiff_t offset;
    // The operating system's number of the thread that has allocated it; 0: unknown.
    uint32_t allocated_by;
    // The same of the one that has freed it; 0 also while it is in use.
    uint32_t freed_by;
    // Whether it has been freed.
    bool freed;
    // All of this in a sentence, such as "0 bytes after a chunk of 32 bytes, allocated by thread 4711,
    // freed by thread 4712".
    char text[160];
} bitcoin_support_address_report;

// What the system has refused of one protection.
typedef struct bitcoin_support_missing_protection {
    // Bytes that were to have it and have not.
    size_t bytes;
    // Error number of the last refusal (0: none).
    int error;
} bitcoin_support_missing_protection;

// What a locked pool holds. `used + free == total` always.
typedef struct bitcoin_support_locked_pool_stats {
    // Bytes in used chunks, padding included.
    size_t used;
    // Bytes in free chunks.
    size_t free;
    // Bytes in all arenas.
    size_t total;
    // Bytes of `total` that are locked into memory.
    size_t locked;
    // Number of used chunks.
    size_t chunks_used;
    // Number of free chunks.
    size_t chunks_free;
    // Number of arenas.
    size_t arenas;
    // The most bytes that were ever in used chunks at once; for the process-wide pool with several
    // threads, the most that was seen.
    size_t peak_used;
    // How often an arena was wanted and could not be locked whole. Not 0 also where the pool has made do with a
    // smaller one, and is locked.
    size_t lock_failures;
    // Limit on locked bytes in force at the last of those (SIZE_MAX: none or unknown).
    size_t last_lock_limit;
    // Error number of the last of those (0: none, or unknown).
    int last_lock_error;
    // Why a pool that was to use secret memory last had to do without: an error number (0: it did not).
    int secret_memory_error;
    // Bytes of `total` that are secret memory.
    size_t secret_memory;
    // By BITCOIN_SUPPORT_PROTECTION_ value, what of `total` was to have that protection and has not. (Of a pool
    // over a foreign page allocator, nothing is known.)
    struct bitcoin_support_missing_protection missing_protections[4];
} bitcoin_support_locked_pool_stats;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The name of a status, such as "BITCOIN_SUPPORT_OK"; never NULL, not to be freed.
const char *bitcoin_support_status_name(int status);

// What a status means, in a sentence; never NULL, not to be freed.
const char *bitcoin_support_status_message(int status);

// Version of the library in use, such as "0.1.0"; not to be freed.
const char *bitcoin_support_version(void);

// BITCOIN_SUPPORT_ABI of the library in use.
uint32_t bitcoin_support_abi(void);

// Overwrites `len` bytes at `ptr` with zeros, as fast as memset and never optimized away. `ptr`
// may be NULL when `len` is 0.
void memory_cleanse(void *ptr, size_t len);

// Overwrites a string with zeros, up to its terminating zero; NULL does nothing. What may lie behind
// that, such as the rest of a buffer that held a longer string before, stays: see memory_cleanse.
void bitcoin_support_cleanse_string(char *string);

// Writes a name for a temporary file to `name`: 32 hexadecimal digits of the system's random source and
// a terminating zero. Creates nothing: create the file so that this fails if it exists.
//
// Returns: BITCOIN_SUPPORT_OK, _NULL_ARGUMENT, _BUFFER_TOO_SMALL (`size` is below
// BITCOIN_SUPPORT_UNIQUE_NAME_SIZE), or _NO_RANDOMNESS.
enum bitcoin_support_status bitcoin_support_get_unique_name(char *name,
                                                            size_t size);

// Makes an empty buffer with room for `capacity` bytes.
//
// Out: `*buffer`, to be destroyed with bitcoin_support_buffer_destroy.
// Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY or _NULL_ARGUMENT.
enum bitcoin_support_status bitcoin_support_buffer_create(size_t capacity,
                                                          struct bitcoin_support_buffer **buffer);

// Wipes and destroys a buffer; NULL does nothing.
//
// Returns: BITCOIN_SUPPORT_OK or _INVALID_HANDLE (not a buffer, or no longer).
enum bitcoin_support_status bitcoin_support_buffer_destroy(struct bitcoin_support_buffer *buffer);

// The bytes, to be read and written, until the buffer is changed or destroyed; NULL for a NULL buffer.
void *bitcoin_support_buffer_data(struct bitcoin_support_buffer *buffer);

// Number of bytes; 0 for a NULL buffer.
size_t bitcoin_support_buffer_size(const struct bitcoin_support_buffer *buffer);

// Changes the number of bytes: wipes those behind, or appends zeros.
//
// Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY or _NULL_ARGUMENT.
enum bitcoin_support_status bitcoin_support_buffer_resize(struct bitcoin_support_buffer *buffer,
                                                          size_t size);

// Appends `size` bytes from `data`, which are not in the buffer; `data` may be NULL when `size` is 0.
//
// Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY or _NULL_ARGUMENT.
enum bitcoin_support_status bitcoin_support_buffer_append(struct bitcoin_support_buffer *buffer,
                                                          const void *data,
                                                          size_t size);

// Makes an arena over the `size` bytes at `base`, which it never reads or writes: they need not be
// mapped. Its chunks are aligned to `alignment` bytes, a power of two, and take a multiple of it;
// bytes of the region before the first multiple and after the last are left alone.
//
// Out: `*arena`, to be destroyed with bitcoin_support_arena_destroy.
// Returns: BITCOIN_SUPPORT_OK, _BAD_ALIGNMENT, _BAD_REGION, _OUT_OF_MEMORY or _NULL_ARGUMENT.
enum bitcoin_support_status bitcoin_support_arena_create(void *base,
                                                         size_t size,
                                                         size_t alignment,
                                                         struct bitcoin_support_arena **arena);

// Destroys an arena; NULL does nothing. The region stays as it is.
//
// Returns: BITCOIN_SUPPORT_OK or _INVALID_HANDLE (not an arena, or no longer).
enum bitcoin_support_status bitcoin_support_arena_destroy(struct bitcoin_support_arena *arena);

// Allocates `size` bytes, aligned as the arena is. NULL when there is no room, or `size` is 0.
// Constant time.
void *bitcoin_support_arena_alloc(struct bitcoin_support_arena *arena, size_t size);

// Allocates `size` bytes aligned to `alignment` bytes, a power of two. NULL when there is no room,
// `size` is 0, or `alignment` is no power of two. Above the arena's own alignment the time it takes
// grows with the number of free chunks that are too badly placed.
void *bitcoin_support_arena_alloc_aligned(struct bitcoin_support_arena *arena,
                                          size_t size,
                                          size_t alignment);

// Frees the chunk that begins at `ptr`; NULL does nothing. Constant time.
//
// Returns: BITCOIN_SUPPORT_OK or _INVALID_FREE.
enum bitcoin_support_status bitcoin_support_arena_free(struct bitcoin_support_arena *arena,
                                                       void *ptr);

// Frees the chunk that begins at `ptr`, if it was allocated with this size and alignment.
//
// Returns: BITCOIN_SUPPORT_OK, _INVALID_FREE or _SIZE_MISMATCH.
enum bitcoin_support_status bitcoin_support_arena_free_sized(struct bitcoin_support_arena *arena,
                                                             void *ptr,
                                                             size_t size,
                                                             size_t alignment);

// Whether `ptr` lies in the region that the arena was made over.
bool bitcoin_support_arena_contains(const struct bitcoin_support_arena *arena, const void *ptr);

// What the arena holds. Constant time.
struct bitcoin_support_arena_stats bitcoin_support_arena_get_stats(const struct bitcoin_support_arena *arena);

// Visits every chunk: used ones from the lowest address up, then free ones. For debugging.
void bitcoin_support_arena_walk(const struct bitcoin_support_arena *arena,
                                bitcoin_support_visit_chunk visit,
                                void *context);

// Makes a pool over `pages`, which is copied, or with NULL over the operating system's own pages:
// then chunks are wiped as they are freed. Whatever is returned, `pages->destroy` will be called:
// on failure, before this function returns.
//
// Out: `*pool`, to be destroyed with bitcoin_support_locked_pool_destroy.
// Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY, or _NULL_ARGUMENT (a function of `pages` other than
// destroy, or `pool`, is NULL).
enum bitcoin_support_status bitcoin_support_locked_pool_create(const struct bitcoin_support_page_allocator *pages,
                                                               struct bitcoin_support_locked_pool **pool);

// Sets options to the defaults, and their `size`; NULL does nothing.
void bitcoin_support_locked_pool_options_init(struct bitcoin_support_locked_pool_options *options);

// Makes a pool over the operating system's own pages by options, or with NULL by the defaults. Nothing is
// mapped before the first allocation.
//
// Out: `*pool`, to be destroyed with bitcoin_support_locked_pool_destroy.
// Returns: BITCOIN_SUPPORT_OK, _OUT_OF_MEMORY, _BAD_OPTION, _NOT_AVAILABLE (the system has no secret
// memory, or refuses a protection, which is required, or does not let the limit be raised) or _NULL_ARGUMENT (`pool`).
enum bitcoin_support_status bitcoin_support_locked_pool_create_with(const struct bitcoin_support_locked_pool_options *options,
                                                                    struct bitcoin_support_locked_pool **pool);

// Chooses options for the process-wide pool (its sizes are fixed), before anything is allocated from it:
// at the beginning of main, or in a static initializer. The last of several calls counts.
//
// Returns: BITCOIN_SUPPORT_OK, _IN_USE (something has been allocated), _BAD_OPTION, _NOT_AVAILABLE or
// _NULL_ARGUMENT.
enum bitcoin_support_status bitcoin_support_locked_pool_configure_instance(const struct bitcoin_support_locked_pool_options *options);

// What an administrator can do about memory that could not be locked, in one line of English: for the
// error number and the limit that the callback or the statistics told. Never NULL, not to be freed.
const char *bitcoin_support_lock_remedy(int error,
                                        size_t limit);

// What an administrator can do about a protection that was refused, in one line of English: for a
// BITCOIN_SUPPORT_PROTECTION_ value and the error number that the statistics told. Never NULL, not to be freed.
const char *bitcoin_support_protection_remedy(bitcoin_support_protection protection,
                                              int error);

// Raises the limit on locked memory (RLIMIT_MEMLOCK) as far as the process may by itself, to its hard
// value. The library never does so unasked. `limit` may be NULL.
//
// Out: `*limit`, what it is then in bytes (SIZE_MAX: none).
// Returns: BITCOIN_SUPPORT_OK or _NOT_AVAILABLE (a sandbox forbids it).
enum bitcoin_support_status bitcoin_support_raise_lock_limit(size_t *limit);

// Overwrites everything in locked memory with zeros, at once: all memory of every pool over the
// operating system's own pages, whatever is in use. A panic button: may be called anywhere, also in a
// signal handler; it takes no lock, allocates nothing and makes no system call. Pools and chunks stay as
// they are otherwise. Objects in locked memory that are more than plain bytes must not be used any more.
void bitcoin_support_wipe_all(void);

// Chooses what becomes of the secrets that are left when the process exits: a BITCOIN_SUPPORT_EXIT_ value. The
// last call counts; it may be made at any time, by any thread.
//
// Returns: BITCOIN_SUPPORT_OK or _BAD_OPTION.
enum bitcoin_support_status bitcoin_support_set_exit_policy(bitcoin_support_exit_policy policy);

// Destroys a pool and frees its pages, whatever is still in use; NULL does nothing.
//
// Returns: BITCOIN_SUPPORT_OK or _INVALID_HANDLE (the process-wide pool, which is never destroyed; not a pool, or
// no longer).
enum bitcoin_support_status bitcoin_support_locked_pool_destroy(struct bitcoin_support_locked_pool *pool);

// The pool that all code of the process shares. It needs no initialization and is never destroyed: static
// destructors and exit handlers can use it. Never NULL.
struct bitcoin_support_locked_pool *bitcoin_support_locked_pool_instance(void);

// Allocates `size` bytes from the pool that all code of the process shares, aligned to
// BITCOIN_SUPPORT_ARENA_ALIGN: bitcoin_support_locked_pool_alloc of its instance, without the handle.
void *bitcoin_support_alloc(size_t size);

// Like bitcoin_support_alloc, but aligned to `alignment` bytes. NULL also when that is no power of two.
void *bitcoin_support_alloc_aligned(size_t size,
                                    size_t alignment);

// Wipes and frees a chunk of the pool that all code of the process shares: bitcoin_support_locked_pool_free
// of its instance, without the handle. NULL does nothing.
//
// Returns: BITCOIN_SUPPORT_OK, _INVALID_FREE, _NOT_IN_POOL, or _OVERRUN if the chunk is a sampled one.
enum bitcoin_support_status bitcoin_support_free(void *ptr);

// Sets who decides about unlocked memory. With NULL, which is the default, it is used, and counted
// in the statistics.
enum bitcoin_support_status bitcoin_support_locked_pool_set_locking_failed(struct bitcoin_support_locked_pool *pool,
                                                                           bitcoin_support_locking_failed callback,
                                                                           void *context);

// Allocates `size` bytes, aligned to BITCOIN_SUPPORT_ARENA_ALIGN. NULL when `size` is 0 or above
// BITCOIN_SUPPORT_ARENA_SIZE, or when there is neither room nor any to be had.
void *bitcoin_support_locked_pool_alloc(struct bitcoin_support_locked_pool *pool, size_t size);

// Like bitcoin_support_locked_pool_alloc, but aligned to `alignment` bytes. NULL also when that is
// no power of two.
void *bitcoin_support_locked_pool_alloc_aligned(struct bitcoin_support_locked_pool *pool,
                                                size_t size,
                                                size_t alignment);

// Frees the chunk that begins at `ptr`, wiping all of it first if the pool is over the operating
// system's own pages. NULL does nothing.
//
// Returns: BITCOIN_SUPPORT_OK, _INVALID_FREE, _NOT_IN_POOL, or _OVERRUN if the chunk is a sampled one.
enum bitcoin_support_status bitcoin_support_locked_pool_free(struct bitcoin_support_locked_pool *pool,
                                                             void *ptr);

// Frees the chunk that begins at `ptr`, if it was allocated with this size and alignment.
//
// Returns: BITCOIN_SUPPORT_OK, _INVALID_FREE, _NOT_IN_POOL, _SIZE_MISMATCH, or _OVERRUN if the chunk is
// a sampled one.
enum bitcoin_support_status bitcoin_support_locked_pool_free_sized(struct bitcoin_support_locked_pool *pool,
                                                                   void *ptr,
                                                                   size_t size,
                                                                   size_t alignment);

// Looks for overruns: from now on, one in `one_in` allocations from the process-wide pool, as chance has
// it, is placed in pages of its own, at their end or at their beginning, next to a guard page. When it is
// freed, the pages become inaccessible and stay so for a while. So an access behind the chunk, in front of
// it or after it was freed is a SIGSEGV at the very instruction, which nobody catches here;
// bitcoin_support_describe_address says what the address was. Up to 15 bytes between a chunk and the end
// of its pages are compared when it is freed: see BITCOIN_SUPPORT_OVERRUN.
//
// 1 finds every such bug, in development and tests; thousands are for production. 0 samples no more, which
// is how a process begins; nothing but this function (or its like for Rust) changes it. At most
// `max_locked` bytes are locked for samples at once, a page for each small chunk in use, and no more than
// half of what the process may lock; where none are left, an allocation is served as usual. In the
// statistics each counts as an arena, while it is in use.
//
// Returns: BITCOIN_SUPPORT_OK, or _OUT_OF_MEMORY (there are no addresses for it).
enum bitcoin_support_status bitcoin_support_locked_pool_sample(uint32_t one_in,
                                                               size_t max_locked);

// Says what an address means that lies in a chunk that has been sampled (see
// bitcoin_support_locked_pool_sample), used or freed, or in the guard pages around it. Of a place that
// several chunks have had, it is the last. May be called in a signal handler: takes no lock and allocates
// nothing. The answer is right unless the chunk is being allocated or freed at the same moment.
//
// Out: `*report`.
// Returns: BITCOIN_SUPPORT_OK, _NOT_IN_POOL (the address is none of these) or _NULL_ARGUMENT.
enum bitcoin_support_status bitcoin_support_describe_address(const void *address,
                                                             struct bitcoin_support_address_report *report);

// What the pool holds. Constant time; the process-wide pool holds its other threads up meanwhile.
struct bitcoin_support_locked_pool_stats bitcoin_support_locked_pool_get_stats(const struct bitcoin_support_locked_pool *pool);

// Visits every chunk that there is at one moment, in a list that is made first (two words for each; where
// there is no memory for it, nothing is visited). For debugging. `visit` may use the pool.
void bitcoin_support_locked_pool_walk(const struct bitcoin_support_locked_pool *pool,
                                      bitcoin_support_visit_chunk visit,
                                      void *context);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* BITCOIN_SUPPORT_C_API_H */
