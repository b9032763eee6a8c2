/* Uses the C interface from C99 alone. Every function of bitcoin_support.h does what the header says, also
 * with null arguments. A page allocator's destroy is called once in every case.
 *
 *   c_api_tests --list_content        names the cases
 *   c_api_tests --run_test=<case>     runs one; without an argument all are run
 */

/* For functions on processes, which C itself does not have. */
#define _GNU_SOURCE
/* Of /proc/self/mem each address can be named, also where addresses have 32 bits. */
#define _FILE_OFFSET_BITS 64

#include <bitcoin_support.h>

#include "check.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* On Windows, without fork, some cases are left out. windows_tests.c has others. */
#ifdef _WIN32
#include <windows.h>
#else
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

/* The compiler would warn of so large an allocation. */
static volatile size_t all_of_memory = SIZE_MAX;

/* Statistics of a pool. */
static bitcoin_support_locked_pool_stats stats_of_pool(const bitcoin_support_locked_pool* pool)
{
    bitcoin_support_locked_pool_stats stats;
    memset(&stats, 0, sizeof(stats));
    bitcoin_support_locked_pool_get_stats(pool, &stats, sizeof(stats));
    return stats;
}

/* Statistics of an arena. */
static bitcoin_support_arena_stats stats_of_arena(const bitcoin_support_arena* arena)
{
    bitcoin_support_arena_stats stats;
    memset(&stats, 0, sizeof(stats));
    bitcoin_support_arena_get_stats(arena, &stats, sizeof(stats));
    return stats;
}

#define BASE ((char*)0x08000000) /* nothing is mapped there */
#define MIB ((size_t)1 << 20)

/* The kernel reads the bytes, because AddressSanitizer and valgrind report every other read of freed memory. */
static bool all_bytes_are(const unsigned char* bytes, size_t size, unsigned char value)
{
#ifdef _WIN32
    unsigned char byte = value;
    bool equal = true;
    size_t i;
    for (i = 0; equal && i < size; ++i) {
        equal = ReadProcessMemory(GetCurrentProcess(), bytes + i, &byte, 1, NULL) && byte == value;
    }
    return equal;
#else
    const int memory = open("/proc/self/mem", O_RDONLY);
    unsigned char byte = value;
    bool equal = memory >= 0;
    size_t i;
    for (i = 0; equal && i < size; ++i) {
        equal = pread(memory, &byte, 1, (off_t)(uintptr_t)(bytes + i)) == 1 && byte == value;
    }
    close(memory);
    return equal;
#endif
}

/* ---- Records of a walk ---- */

typedef struct {
    void* chunks[8];
    size_t sizes[8];
    bool used[8];
    int count;
    int most; /* the visit that ends the walk */
} walked;

static bool note_chunk(void* context, void* chunk, size_t size, bool used)
{
    walked* const seen = context;
    if (seen->count < 8) {
        seen->chunks[seen->count] = chunk;
        seen->sizes[seen->count] = size;
        seen->used[seen->count] = used;
    }
    return ++seen->count != seen->most;
}

/* ---- A page allocator that counts its calls ---- */

typedef struct {
    int pages; /* pages left to hand out */
    bool lock;
    size_t limit;
    int allocated, freed, limit_asked, destroyed;
    bool locked_was_false;
    void* last_freed;
    size_t last_len;
} page_source;

static void* source_allocate(void* context, size_t len, bool* locked)
{
    page_source* const source = context;
    source->locked_was_false = !*locked;
    source->last_len = len;
    if (source->pages == 0) return NULL;
    --source->pages;
    if (source->lock) *locked = true;
    return BASE + ((size_t)source->allocated++ << 24);
}

static void source_free(void* context, void* addr, size_t len)
{
    page_source* const source = context;
    ++source->freed;
    source->last_freed = addr;
    source->last_len = len;
}

static size_t source_limit(void* context)
{
    page_source* const source = context;
    ++source->limit_asked;
    return source->limit;
}

static void source_destroy(void* context)
{
    page_source* const source = context;
    ++source->destroyed;
}

static page_source make_source(int pages, bool lock)
{
    page_source source;
    memset(&source, 0, sizeof(source));
    source.pages = pages;
    source.lock = lock;
    source.limit = SIZE_MAX;
    return source;
}

static bitcoin_support_page_allocator table_over(page_source* source)
{
    bitcoin_support_page_allocator table;
    table.context = source;
    table.allocate_locked = source_allocate;
    table.free_locked = source_free;
    table.get_limit = source_limit;
    table.destroy = source_destroy;
    return table;
}

static bitcoin_support_locked_pool* pool_over(page_source* source)
{
    const bitcoin_support_page_allocator table = table_over(source);
    bitcoin_support_locked_pool* pool = NULL;
    CHECK(bitcoin_support_locked_pool_create(&table, &pool) == BITCOIN_SUPPORT_OK);
    CHECK(pool != NULL);
    return pool;
}

/* ---- Cases ---- */

static void version_and_abi(void)
{
    char version[64];
    snprintf(version, sizeof(version), "%d.%d.%d", BITCOIN_SUPPORT_VERSION_MAJOR, BITCOIN_SUPPORT_VERSION_MINOR, BITCOIN_SUPPORT_VERSION_PATCH);
    CHECK(strncmp(bitcoin_support_version(), version, strlen(version)) == 0);
    CHECK(bitcoin_support_version_number() == BITCOIN_SUPPORT_VERSION_NUMBER);
    CHECK(BITCOIN_SUPPORT_VERSION_NUMBER / 1000000 == BITCOIN_SUPPORT_VERSION_MAJOR);
    CHECK(BITCOIN_SUPPORT_VERSION_NUMBER / 1000 % 1000 == BITCOIN_SUPPORT_VERSION_MINOR);
    CHECK(bitcoin_support_abi() == BITCOIN_SUPPORT_ABI);
}

static void status_names_and_messages(void)
{
    static const struct {
        bitcoin_support_status status;
        const char* name;
    } table[] = {
        {BITCOIN_SUPPORT_OK, "BITCOIN_SUPPORT_OK"},
        {BITCOIN_SUPPORT_INVALID_FREE, "BITCOIN_SUPPORT_INVALID_FREE"},
        {BITCOIN_SUPPORT_NOT_IN_POOL, "BITCOIN_SUPPORT_NOT_IN_POOL"},
        {BITCOIN_SUPPORT_SIZE_MISMATCH, "BITCOIN_SUPPORT_SIZE_MISMATCH"},
        {BITCOIN_SUPPORT_BAD_ALIGNMENT, "BITCOIN_SUPPORT_BAD_ALIGNMENT"},
        {BITCOIN_SUPPORT_BAD_REGION, "BITCOIN_SUPPORT_BAD_REGION"},
        {BITCOIN_SUPPORT_OUT_OF_MEMORY, "BITCOIN_SUPPORT_OUT_OF_MEMORY"},
        {BITCOIN_SUPPORT_NULL_ARGUMENT, "BITCOIN_SUPPORT_NULL_ARGUMENT"},
        {BITCOIN_SUPPORT_BUFFER_TOO_SMALL, "BITCOIN_SUPPORT_BUFFER_TOO_SMALL"},
        {BITCOIN_SUPPORT_NO_RANDOMNESS, "BITCOIN_SUPPORT_NO_RANDOMNESS"},
        {BITCOIN_SUPPORT_IN_USE, "BITCOIN_SUPPORT_IN_USE"},
        {BITCOIN_SUPPORT_BAD_OPTION, "BITCOIN_SUPPORT_BAD_OPTION"},
        {BITCOIN_SUPPORT_NOT_AVAILABLE, "BITCOIN_SUPPORT_NOT_AVAILABLE"},
        {BITCOIN_SUPPORT_OVERRUN, "BITCOIN_SUPPORT_OVERRUN"},
        {BITCOIN_SUPPORT_INTERRUPTED, "BITCOIN_SUPPORT_INTERRUPTED"},
        {BITCOIN_SUPPORT_INVALID_HANDLE, "BITCOIN_SUPPORT_INVALID_HANDLE"},
        {BITCOIN_SUPPORT_TAMPERED, "BITCOIN_SUPPORT_TAMPERED"},
        {BITCOIN_SUPPORT_KEY_WIPED, "BITCOIN_SUPPORT_KEY_WIPED"},
        {BITCOIN_SUPPORT_KEYS_IN_USE, "BITCOIN_SUPPORT_KEYS_IN_USE"},
        {BITCOIN_SUPPORT_BAD_SIZE, "BITCOIN_SUPPORT_BAD_SIZE"},
        {BITCOIN_SUPPORT_STAYS_OPEN, "BITCOIN_SUPPORT_STAYS_OPEN"},
    };
    const int count = (int)(sizeof(table) / sizeof(table[0]));
    static const int strangers[] = {21, 22, -1, 1000, INT32_MAX, INT32_MIN};
    int i, j;
    for (i = 0; i < count; ++i) {
        CHECK((int)table[i].status == i);
        CHECK(strcmp(bitcoin_support_status_name(i), table[i].name) == 0);
        for (j = 0; j < i; ++j) CHECK(strcmp(bitcoin_support_status_message(i), bitcoin_support_status_message(j)) != 0);
        CHECK(strlen(bitcoin_support_status_message(i)) > 0);
    }
    for (i = 0; i < (int)(sizeof(strangers) / sizeof(strangers[0])); ++i) {
        CHECK(strcmp(bitcoin_support_status_name(strangers[i]), "BITCOIN_SUPPORT_UNKNOWN") == 0);
        CHECK(strlen(bitcoin_support_status_message(strangers[i])) > 0);
    }
    /* Messages that programs written for Bitcoin Core compare. */
    CHECK(strcmp(bitcoin_support_status_message(BITCOIN_SUPPORT_INVALID_FREE), "Arena: invalid or double free") == 0);
    CHECK(strcmp(bitcoin_support_status_message(BITCOIN_SUPPORT_NOT_IN_POOL), "LockedPool: invalid address not pointing to any arena") == 0);
}

static void cleanse(void)
{
    unsigned char bytes[64];
    memset(bytes, 0xa5, sizeof(bytes));
    memory_cleanse(bytes + 1, 62);
    CHECK(bytes[0] == 0xa5 && bytes[63] == 0xa5 && all_bytes_are(bytes + 1, 62, 0));
    memory_cleanse(NULL, 0);
}

static void arena_life(void)
{
    bitcoin_support_arena* arena = NULL;
    bitcoin_support_arena_stats stats;
    walked seen;
    void *a, *b, *c;
    CHECK(bitcoin_support_arena_create(BASE, MIB, 16, &arena) == BITCOIN_SUPPORT_OK);
    a = bitcoin_support_arena_alloc(arena, 1000);
    b = bitcoin_support_arena_alloc(arena, 1);
    c = bitcoin_support_arena_alloc_aligned(arena, 100, 4096);
    CHECK(a == BASE + MIB - 1008);
    CHECK(b == BASE + MIB - 1024);
    CHECK(c == BASE + MIB - 4096);
    CHECK(bitcoin_support_arena_alloc(arena, 0) == NULL);
    CHECK(bitcoin_support_arena_alloc(arena, all_of_memory) == NULL);
    CHECK(bitcoin_support_arena_alloc_aligned(arena, 16, 24) == NULL);
    CHECK(bitcoin_support_arena_alloc_aligned(arena, 16, 0) == NULL);
    CHECK(bitcoin_support_arena_contains(arena, a));
    CHECK(bitcoin_support_arena_contains(arena, BASE));
    CHECK(!bitcoin_support_arena_contains(arena, BASE + MIB));
    CHECK(!bitcoin_support_arena_contains(arena, BASE - 1));
    CHECK(!bitcoin_support_arena_contains(arena, NULL));

    stats = stats_of_arena(arena);
    CHECK(stats.used == 1008 + 16 + 112 && stats.used + stats.free == stats.total && stats.total == MIB);
    CHECK(stats.chunks_used == 3 && stats.chunks_free == 2);

    memset(&seen, 0, sizeof(seen));
    CHECK(bitcoin_support_arena_walk(arena, note_chunk, &seen) == BITCOIN_SUPPORT_OK);
    CHECK(seen.count == 5);
    CHECK(seen.chunks[0] == c && seen.sizes[0] == 112 && seen.used[0]);
    CHECK(seen.chunks[1] == b && seen.chunks[2] == a);
    CHECK(seen.chunks[3] == BASE && seen.sizes[3] == MIB - 4096 && !seen.used[3]);
    CHECK(!seen.used[4]);
    memset(&seen, 0, sizeof(seen));
    seen.most = 2; /* the visitor ends the walk */
    CHECK(bitcoin_support_arena_walk(arena, note_chunk, &seen) == BITCOIN_SUPPORT_OK && seen.count == 2);

    CHECK(bitcoin_support_arena_free(arena, NULL) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_arena_free(arena, BASE + 8) == BITCOIN_SUPPORT_INVALID_FREE);
    CHECK(bitcoin_support_arena_free_sized(arena, NULL, 5, 7) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_arena_free_sized(arena, c, 128, 4096) == BITCOIN_SUPPORT_SIZE_MISMATCH);
    CHECK(bitcoin_support_arena_free_sized(arena, c, 100, 4096) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_arena_free_sized(arena, c, 100, 4096) == BITCOIN_SUPPORT_INVALID_FREE);
    CHECK(bitcoin_support_arena_free(arena, b) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_arena_free(arena, b) == BITCOIN_SUPPORT_INVALID_FREE);
    CHECK(bitcoin_support_arena_free(arena, a) == BITCOIN_SUPPORT_OK);
    stats = stats_of_arena(arena);
    CHECK(stats.used == 0 && stats.chunks_used == 0 && stats.chunks_free == 1);
    bitcoin_support_arena_destroy(arena);
}

static void arena_creation_failures(void)
{
    bitcoin_support_arena* const untouched = (bitcoin_support_arena*)(void*)&failures;
    bitcoin_support_arena* arena = untouched;
    CHECK(bitcoin_support_arena_create(BASE, MIB, 0, &arena) == BITCOIN_SUPPORT_BAD_ALIGNMENT);
    CHECK(bitcoin_support_arena_create(BASE, MIB, 12, &arena) == BITCOIN_SUPPORT_BAD_ALIGNMENT);
    CHECK(bitcoin_support_arena_create(NULL, MIB, 16, &arena) == BITCOIN_SUPPORT_BAD_REGION);
    CHECK(bitcoin_support_arena_create(BASE, SIZE_MAX, 16, &arena) == BITCOIN_SUPPORT_BAD_REGION);
    CHECK(bitcoin_support_arena_create(BASE, sizeof(size_t) == 8 ? SIZE_MAX >> 14 : SIZE_MAX / 2, 1, &arena) ==
          BITCOIN_SUPPORT_OUT_OF_MEMORY);
    CHECK(bitcoin_support_arena_create(BASE, MIB, 16, NULL) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(arena == untouched); /* outputs are written on success only */
}

static void arena_null_arguments(void)
{
    bitcoin_support_arena* arena = NULL;
    bitcoin_support_arena_stats stats;
    walked seen;
    memset(&seen, 0, sizeof(seen));
    CHECK(bitcoin_support_arena_get_stats(NULL, &stats, sizeof(stats)) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_arena_alloc(NULL, 16) == NULL);
    CHECK(bitcoin_support_arena_alloc_aligned(NULL, 16, 16) == NULL);
    CHECK(bitcoin_support_arena_free(NULL, BASE) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_arena_free(NULL, NULL) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_arena_free_sized(NULL, BASE, 16, 16) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(!bitcoin_support_arena_contains(NULL, BASE));
    CHECK(bitcoin_support_arena_walk(NULL, note_chunk, &seen) == BITCOIN_SUPPORT_NULL_ARGUMENT && seen.count == 0);
    bitcoin_support_arena_destroy(NULL);

    CHECK(bitcoin_support_arena_create(BASE, MIB, 16, &arena) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_arena_walk(arena, NULL, NULL) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    bitcoin_support_arena_destroy(arena);
}

static void pool_over_a_table(void)
{
    page_source source = make_source(2, true);
    bitcoin_support_locked_pool* const pool = pool_over(&source);
    bitcoin_support_locked_pool_stats stats;
    walked seen;
    void *a, *b;
    CHECK(source.allocated == 0 && source.limit_asked == 0);
    CHECK(bitcoin_support_locked_pool_alloc(pool, 0) == NULL);
    CHECK(bitcoin_support_locked_pool_alloc(pool, BITCOIN_SUPPORT_ARENA_SIZE + 1) == NULL);
    CHECK(bitcoin_support_locked_pool_alloc_aligned(pool, 16, 3) == NULL);
    CHECK(source.allocated == 0);

    a = bitcoin_support_locked_pool_alloc(pool, BITCOIN_SUPPORT_ARENA_SIZE);
    CHECK(a == BASE && source.last_len == BITCOIN_SUPPORT_ARENA_SIZE && source.locked_was_false && source.limit_asked == 1);
    b = bitcoin_support_locked_pool_alloc_aligned(pool, 100, 1024);
    CHECK(b != NULL && (uintptr_t)b % 1024 == 0);
    CHECK(bitcoin_support_locked_pool_alloc(pool, BITCOIN_SUPPORT_ARENA_SIZE) == NULL); /* no pages are left */

    stats = stats_of_pool(pool);
    CHECK(stats.arenas == 2 && stats.total == 2 * BITCOIN_SUPPORT_ARENA_SIZE && stats.locked == stats.total);
    CHECK(stats.used == BITCOIN_SUPPORT_ARENA_SIZE + 112 && stats.used + stats.free == stats.total && stats.peak_used == stats.used);
    CHECK(stats.chunks_used == 2 && stats.chunks_free == 2);
    CHECK(stats.lock_failures == 0 && stats.last_lock_error == 0 && stats.last_lock_limit == SIZE_MAX);

    memset(&seen, 0, sizeof(seen));
    bitcoin_support_locked_pool_walk(pool, note_chunk, &seen);
    CHECK(seen.count == 4 && seen.chunks[0] == a && seen.used[0] && seen.sizes[0] == BITCOIN_SUPPORT_ARENA_SIZE && seen.chunks[1] == b);
    CHECK(bitcoin_support_locked_pool_walk(pool, NULL, NULL) == BITCOIN_SUPPORT_NULL_ARGUMENT);

    CHECK(bitcoin_support_locked_pool_free(pool, NULL) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_locked_pool_free(pool, &source) == BITCOIN_SUPPORT_NOT_IN_POOL);
    CHECK(bitcoin_support_locked_pool_free(pool, (char*)a + 16) == BITCOIN_SUPPORT_INVALID_FREE);
    CHECK(bitcoin_support_locked_pool_free(pool, a) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_locked_pool_free(pool, a) == BITCOIN_SUPPORT_INVALID_FREE);
    CHECK(bitcoin_support_locked_pool_free_sized(pool, NULL, 1, 1) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_locked_pool_free_sized(pool, &source, 1, 1) == BITCOIN_SUPPORT_NOT_IN_POOL);
    CHECK(bitcoin_support_locked_pool_free_sized(pool, (char*)b + 16, 1, 1) == BITCOIN_SUPPORT_INVALID_FREE);
    CHECK(bitcoin_support_locked_pool_free_sized(pool, b, 113, 1024) == BITCOIN_SUPPORT_SIZE_MISMATCH);
    CHECK(bitcoin_support_locked_pool_free_sized(pool, b, 100, 1024) == BITCOIN_SUPPORT_OK);

    CHECK(source.freed == 0 && source.destroyed == 0);
    bitcoin_support_locked_pool_destroy(pool);
    CHECK(source.freed == 2 && source.destroyed == 1);
}

static void pool_destroyed_with_chunks_in_use(void)
{
    page_source source = make_source(3, true);
    bitcoin_support_locked_pool* const pool = pool_over(&source);
    CHECK(bitcoin_support_locked_pool_alloc(pool, 16) == BASE + BITCOIN_SUPPORT_ARENA_SIZE - 16);
    bitcoin_support_locked_pool_destroy(pool);
    CHECK(source.freed == 1 && source.last_freed == BASE && source.last_len == BITCOIN_SUPPORT_ARENA_SIZE && source.destroyed == 1);
}

static void table_is_copied_and_destroy_may_be_null(void)
{
    page_source source = make_source(1, true);
    bitcoin_support_page_allocator table = table_over(&source);
    bitcoin_support_locked_pool* pool = NULL;
    table.destroy = NULL;
    CHECK(bitcoin_support_locked_pool_create(&table, &pool) == BITCOIN_SUPPORT_OK);
    memset(&table, 0, sizeof(table));
    CHECK(bitcoin_support_locked_pool_alloc(pool, 16) != NULL);
    bitcoin_support_locked_pool_destroy(pool);
    CHECK(source.freed == 1 && source.destroyed == 0);
}

static void destroy_is_called_once_on_failure(void)
{
    bitcoin_support_locked_pool* const untouched = (bitcoin_support_locked_pool*)(void*)&failures;
    bitcoin_support_locked_pool* pool = untouched;
    int missing;
    for (missing = 0; missing < 3; ++missing) {
        page_source source = make_source(1, true);
        bitcoin_support_page_allocator table = table_over(&source);
        if (missing == 0) table.allocate_locked = NULL;
        if (missing == 1) table.free_locked = NULL;
        if (missing == 2) table.get_limit = NULL;
        CHECK(bitcoin_support_locked_pool_create(&table, &pool) == BITCOIN_SUPPORT_NULL_ARGUMENT);
        CHECK(pool == untouched);
        CHECK(source.destroyed == 1 && source.freed == 0 && source.allocated == 0);
    }
    {
        page_source source = make_source(1, true);
        const bitcoin_support_page_allocator table = table_over(&source);
        CHECK(bitcoin_support_locked_pool_create(&table, NULL) == BITCOIN_SUPPORT_NULL_ARGUMENT);
        CHECK(source.destroyed == 1);
    }
    CHECK(bitcoin_support_locked_pool_create(NULL, NULL) == BITCOIN_SUPPORT_NULL_ARGUMENT);
}

typedef struct {
    bool answer;
    int calls;
    int error;
    size_t limit;
} decision;

static bool decide(void* context, int error, size_t limit)
{
    decision* const d = context;
    ++d->calls;
    d->error = error;
    d->limit = limit;
    return d->answer;
}

static void locking_failed_callback(void)
{
    page_source source = make_source(5, false);
    bitcoin_support_locked_pool* const pool = pool_over(&source);
    decision first = {false, 0, -1, 0}, second = {true, 0, -1, 0};
    bitcoin_support_locked_pool_stats stats;
    CHECK(bitcoin_support_locked_pool_set_locking_failed(pool, decide, &first) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_locked_pool_alloc(pool, 16) == NULL);
    CHECK(first.calls == 1 && first.error == 0 && first.limit == SIZE_MAX);
    CHECK(source.freed == 1 && source.last_freed == BASE);

    CHECK(bitcoin_support_locked_pool_set_locking_failed(pool, decide, &second) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_locked_pool_alloc(pool, 16) != NULL);
    CHECK(first.calls == 1 && second.calls == 1);

    CHECK(bitcoin_support_locked_pool_set_locking_failed(pool, NULL, NULL) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_locked_pool_alloc(pool, BITCOIN_SUPPORT_ARENA_SIZE) != NULL);
    CHECK(second.calls == 1);
    stats = stats_of_pool(pool);
    CHECK(stats.lock_failures == 3 && stats.locked == 0 && stats.arenas == 2);
    bitcoin_support_locked_pool_destroy(pool);
    CHECK(source.freed == 3 && source.destroyed == 1);
}

static void pool_over_own_pages(void)
{
    bitcoin_support_locked_pool* pool = NULL;
    bitcoin_support_locked_pool_stats stats;
    unsigned char* chunk;
    CHECK(bitcoin_support_locked_pool_create(NULL, &pool) == BITCOIN_SUPPORT_OK);
    stats = stats_of_pool(pool);
    CHECK(stats.total == 0 && stats.arenas == 0);
    chunk = bitcoin_support_locked_pool_alloc(pool, 100);
    CHECK(chunk != NULL && all_bytes_are(chunk, 112, 0));
    memset(chunk, 0xa5, 100);
    CHECK(bitcoin_support_locked_pool_free_sized(pool, chunk, 200, 16) == BITCOIN_SUPPORT_SIZE_MISMATCH);
    CHECK(all_bytes_are(chunk, 100, 0xa5));
    CHECK(bitcoin_support_locked_pool_free_sized(pool, chunk, 100, 16) == BITCOIN_SUPPORT_OK);
    CHECK(all_bytes_are(chunk, 112, 0));
    stats = stats_of_pool(pool);
    CHECK(stats.used == 0 && stats.peak_used == 112 && stats.total == BITCOIN_SUPPORT_ARENA_SIZE);
    bitcoin_support_locked_pool_destroy(pool);
}

static void process_wide_pool(void)
{
    bitcoin_support_locked_pool* const pool = bitcoin_support_locked_pool_instance();
    void* chunk;
    CHECK(pool != NULL && pool == bitcoin_support_locked_pool_instance());
    chunk = bitcoin_support_locked_pool_alloc(pool, 16);
    CHECK(chunk != NULL && (uintptr_t)chunk % BITCOIN_SUPPORT_ARENA_ALIGN == 0);
    CHECK(bitcoin_support_locked_pool_free(pool, chunk) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_locked_pool_free(pool, chunk) == BITCOIN_SUPPORT_INVALID_FREE);
}

/* The functions without a handle use the same pool as those with its handle. */
static void process_wide_pool_without_a_handle(void)
{
    bitcoin_support_locked_pool* const pool = bitcoin_support_locked_pool_instance();
    const size_t used = stats_of_pool(pool).used;
    unsigned char* chunk = bitcoin_support_alloc(100);
    int on_the_stack = 0;
    CHECK(chunk != NULL && (uintptr_t)chunk % BITCOIN_SUPPORT_ARENA_ALIGN == 0);
    CHECK(stats_of_pool(pool).used >= used + 100);
    CHECK(bitcoin_support_free(chunk) == BITCOIN_SUPPORT_OK);
    CHECK(stats_of_pool(pool).used == used);
    CHECK(bitcoin_support_free(chunk) == BITCOIN_SUPPORT_INVALID_FREE);
    CHECK(bitcoin_support_free(&on_the_stack) == BITCOIN_SUPPORT_NOT_IN_POOL);
    CHECK(bitcoin_support_free(NULL) == BITCOIN_SUPPORT_OK);

    chunk = bitcoin_support_alloc_aligned(100, 256);
    CHECK(chunk != NULL && (uintptr_t)chunk % 256 == 0);
    CHECK(bitcoin_support_locked_pool_free(pool, chunk) == BITCOIN_SUPPORT_OK);
    chunk = bitcoin_support_locked_pool_alloc(pool, 5000);
    CHECK(chunk != NULL && bitcoin_support_free(chunk) == BITCOIN_SUPPORT_OK);

    CHECK(bitcoin_support_alloc(0) == NULL);
    CHECK(bitcoin_support_alloc(BITCOIN_SUPPORT_ARENA_SIZE + 1) == NULL);
    CHECK(bitcoin_support_alloc_aligned(100, 24) == NULL);
}

#ifndef _WIN32
/* Whether AddressSanitizer or valgrind would end the process instead. */
static bool sees_edges_of_chunks(void)
{
#if defined(__SANITIZE_ADDRESS__)
    return true;
#else
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
    return true;
#endif
#endif
    return getenv("BITCOIN_SUPPORT_UNDER_VALGRIND") != NULL;
#endif
}

/* With every chunk sampled: whether a child process dies of a misuse of one chunk. */
static bool dies_of(void (*misuse)(unsigned char* chunk), unsigned one_in)
{
    int status = 0;
    const pid_t child = fork();
    if (child == 0) {
        unsigned char* chunk;
        signal(SIGSEGV, SIG_DFL);
        /* Without samples, too, the chunk at the end of an arena lies beside a guard page. */
        if (bitcoin_support_locked_pool_alloc(bitcoin_support_locked_pool_instance(), 32) == NULL) _exit(1);
        if (bitcoin_support_locked_pool_sample(one_in, SIZE_MAX) != BITCOIN_SUPPORT_OK) _exit(1);
        do {
            chunk = bitcoin_support_locked_pool_alloc(bitcoin_support_locked_pool_instance(), 32);
            /* A sampled chunk lies at the beginning or at the end of its pages, at random. */
        } while (one_in != 0 && ((uintptr_t)chunk + 32) % (uintptr_t)sysconf(_SC_PAGESIZE) != 0);
        misuse(chunk);
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

/* The compiler knows the size of a chunk, and would warn. */
static volatile size_t behind_32 = 32;

static void overrun(unsigned char* chunk) { ((volatile unsigned char*)chunk)[behind_32] = 1; }

static void use_after_free(unsigned char* chunk)
{
    bitcoin_support_locked_pool_free(bitcoin_support_locked_pool_instance(), chunk);
    ((volatile unsigned char*)chunk)[5] = 1;
}

static void sampled_chunks(void)
{
    bitcoin_support_locked_pool* const pool = bitcoin_support_locked_pool_instance();
    bitcoin_support_address_report report;
    unsigned char* chunk;

    CHECK(dies_of(overrun, 1) && dies_of(use_after_free, 1));
    if (!sees_edges_of_chunks()) CHECK(!dies_of(overrun, 0) && !dies_of(use_after_free, 0));

    CHECK(bitcoin_support_describe_address(pool, &report, sizeof(report)) == BITCOIN_SUPPORT_NOT_IN_POOL);
    CHECK(bitcoin_support_locked_pool_sample(1, SIZE_MAX) == BITCOIN_SUPPORT_OK);
    chunk = bitcoin_support_locked_pool_alloc(pool, 17);
    CHECK(chunk != NULL && all_bytes_are(chunk, 17, 0));
    CHECK(bitcoin_support_describe_address(chunk + 3, &report, sizeof(report)) == BITCOIN_SUPPORT_OK);
    CHECK(report.chunk == chunk && report.size == 17 && report.offset == 3);
    CHECK(report.allocated_by != 0 && report.freed_by == 0 && !report.freed);
    CHECK(strncmp(report.text, "byte 3 of a chunk of 17 bytes, allocated by thread ", 50) == 0);
    CHECK(bitcoin_support_describe_address(chunk, NULL, sizeof(report)) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_locked_pool_free_sized(pool, chunk, 40, 1) == BITCOIN_SUPPORT_SIZE_MISMATCH);

    /* A byte beside the chunk, before the guard page. */
    ((volatile unsigned char*)chunk)[behind_32 - 15] = 0;
    CHECK(bitcoin_support_locked_pool_free_sized(pool, chunk, 17, 1) == BITCOIN_SUPPORT_OVERRUN);
    CHECK(bitcoin_support_locked_pool_free(pool, chunk) == BITCOIN_SUPPORT_INVALID_FREE);
    CHECK(bitcoin_support_describe_address(chunk - 1, &report, sizeof(report)) == BITCOIN_SUPPORT_OK);
    CHECK(report.offset == -1 && report.freed && report.freed_by == report.allocated_by);
    CHECK(strncmp(report.text, "1 bytes before a chunk of 17 bytes", 34) == 0);

    CHECK(bitcoin_support_locked_pool_sample(0, 0) == BITCOIN_SUPPORT_OK);
    chunk = bitcoin_support_locked_pool_alloc(pool, 17);
    CHECK(bitcoin_support_describe_address(chunk, &report, sizeof(report)) == BITCOIN_SUPPORT_NOT_IN_POOL);
    CHECK(bitcoin_support_locked_pool_free(pool, chunk) == BITCOIN_SUPPORT_OK);
}

#endif

static void secure_buffer(void)
{
    bitcoin_support_buffer* buffer = NULL;
    unsigned char* bytes;
    const unsigned char* left;
    size_t i;
    CHECK(bitcoin_support_buffer_create(0, &buffer) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_buffer_size(buffer) == 0);
    CHECK(bitcoin_support_buffer_append(buffer, NULL, 0) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_buffer_append(buffer, "secret", 6) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_buffer_size(buffer) == 6);
    CHECK(memcmp(bitcoin_support_buffer_data(buffer), "secret", 6) == 0);

    /* Growing wipes the old place of the bytes, which stays mapped. */
    left = bitcoin_support_buffer_data(buffer);
    CHECK(bitcoin_support_buffer_resize(buffer, 5000) == BITCOIN_SUPPORT_OK);
    bytes = bitcoin_support_buffer_data(buffer);
    CHECK(bytes != left);
    CHECK(all_bytes_are(left, 6, 0));
    CHECK(memcmp(bytes, "secret", 6) == 0);
    CHECK(all_bytes_are(bytes + 6, 4994, 0));

    /* Shrinking wipes too, also above the size of an arena. */
    for (i = 0; i < 5000; ++i) bytes[i] = 0xee;
    CHECK(bitcoin_support_buffer_resize(buffer, 10) == BITCOIN_SUPPORT_OK);
    CHECK(all_bytes_are(bytes, 10, 0xee));
    CHECK(all_bytes_are(bytes + 10, 4990, 0));
    CHECK(bitcoin_support_buffer_resize(buffer, 3 * BITCOIN_SUPPORT_ARENA_SIZE) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_buffer_size(buffer) == 3 * BITCOIN_SUPPORT_ARENA_SIZE);
    CHECK(all_bytes_are(bitcoin_support_buffer_data(buffer), 10, 0xee));

    CHECK(bitcoin_support_buffer_resize(buffer, SIZE_MAX) == BITCOIN_SUPPORT_OUT_OF_MEMORY);
    CHECK(bitcoin_support_buffer_append(buffer, "x", SIZE_MAX) == BITCOIN_SUPPORT_OUT_OF_MEMORY);
    CHECK(bitcoin_support_buffer_append(buffer, NULL, 1) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_buffer_size(buffer) == 3 * BITCOIN_SUPPORT_ARENA_SIZE);
    bitcoin_support_buffer_destroy(buffer);

    buffer = NULL;
    CHECK(bitcoin_support_buffer_create(SIZE_MAX, &buffer) == BITCOIN_SUPPORT_OUT_OF_MEMORY);
    CHECK(buffer == NULL);
    CHECK(bitcoin_support_buffer_create(1, NULL) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_buffer_data(NULL) == NULL);
    CHECK(bitcoin_support_buffer_size(NULL) == 0);
    CHECK(bitcoin_support_buffer_resize(NULL, 1) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_buffer_append(NULL, "x", 1) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    bitcoin_support_buffer_destroy(NULL);
}

static void strings_and_names(void)
{
    char string[] = "secret\0kept";
    char name[BITCOIN_SUPPORT_UNIQUE_NAME_SIZE + 1], other[BITCOIN_SUPPORT_UNIQUE_NAME_SIZE];
    bitcoin_support_cleanse_string(string);
    CHECK(all_bytes_are((unsigned char*)string, 7, 0));
    CHECK(strcmp(string + 7, "kept") == 0);
    bitcoin_support_cleanse_string(NULL);

    name[BITCOIN_SUPPORT_UNIQUE_NAME_SIZE] = 'x';
    CHECK(bitcoin_support_get_unique_name(name, BITCOIN_SUPPORT_UNIQUE_NAME_SIZE) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_get_unique_name(other, sizeof(other)) == BITCOIN_SUPPORT_OK);
    CHECK(strlen(name) == BITCOIN_SUPPORT_UNIQUE_NAME_SIZE - 1);
    CHECK(strspn(name, "0123456789abcdef") == strlen(name));
    CHECK(strcmp(name, other) != 0);
    CHECK(name[BITCOIN_SUPPORT_UNIQUE_NAME_SIZE] == 'x');
    strcpy(other, name);
    CHECK(bitcoin_support_get_unique_name(other, BITCOIN_SUPPORT_UNIQUE_NAME_SIZE - 1) == BITCOIN_SUPPORT_BUFFER_TOO_SMALL);
    CHECK(strcmp(name, other) == 0);
    CHECK(bitcoin_support_get_unique_name(NULL, 100) == BITCOIN_SUPPORT_NULL_ARGUMENT);
}

/* A structure that the library fills, as an older caller knows it, which has fewer members, and a newer one. */
static void sizes_of_structures(void)
{
    bitcoin_support_locked_pool* const pool = bitcoin_support_locked_pool_instance();
    const bitcoin_support_locked_pool_stats known = stats_of_pool(pool);
    struct {
        bitcoin_support_locked_pool_stats stats;
        unsigned char newer[16];
    } both;
    const unsigned char* const bytes = (const unsigned char*)&both;
    size_t size;
    for (size = 0; size <= sizeof(both); ++size) {
        memset(&both, 0xa5, sizeof(both));
        CHECK(bitcoin_support_locked_pool_get_stats(pool, &both.stats, size) == BITCOIN_SUPPORT_OK);
        CHECK(all_bytes_are(bytes + size, sizeof(both) - size, 0xa5));
        if (size >= offsetof(bitcoin_support_locked_pool_stats, locked)) CHECK(both.stats.total == known.total);
        if (size > sizeof(known)) CHECK(all_bytes_are(both.newer, size - sizeof(known), 0));
    }
}

/* The figures of all memory for secrets, over two pools and a buffer that is in none. */
static void figures_of_all_memory(void)
{
    enum { LARGE = 1 << 20,
           NEWER = 16 };
    bitcoin_support_memory_stats before, all;
    bitcoin_support_locked_pool* pool = NULL;
    bitcoin_support_buffer* large = NULL;
    union {
        bitcoin_support_memory_stats stats;
        unsigned char bytes[sizeof(bitcoin_support_memory_stats) + NEWER];
    } caller;
    size_t size;

    CHECK(bitcoin_support_free(bitcoin_support_alloc(32)) == BITCOIN_SUPPORT_OK); /* there is a process-wide pool */
    CHECK(bitcoin_support_get_memory_stats(&before, sizeof(before)) == BITCOIN_SUPPORT_OK);
    CHECK(before.mappings > 0 && before.total >= stats_of_pool(bitcoin_support_locked_pool_instance()).total);
    CHECK(before.locked <= before.total);

    CHECK(bitcoin_support_locked_pool_create(NULL, &pool) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_locked_pool_alloc(pool, 32) != NULL);
    CHECK(bitcoin_support_get_memory_stats(&all, sizeof(all)) == BITCOIN_SUPPORT_OK);
    CHECK(all.mappings == before.mappings + 1 && all.total == before.total + stats_of_pool(pool).total);
    CHECK(all.locked == before.locked + stats_of_pool(pool).locked);

    CHECK(bitcoin_support_buffer_create(LARGE, &large) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_locked_pool_destroy(pool) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_get_memory_stats(&all, sizeof(all)) == BITCOIN_SUPPORT_OK);
    CHECK(all.mappings == before.mappings + 1 && all.total >= before.total + LARGE);
    CHECK(bitcoin_support_buffer_destroy(large) == BITCOIN_SUPPORT_OK);

    /* Nothing is left of either. The size is that of an older caller's structure, or of a newer one's. */
    for (size = 0; size <= sizeof(caller.bytes); ++size) {
        const size_t known = size < sizeof(before) ? size : sizeof(before);
        memset(&caller, 0xa5, sizeof(caller));
        CHECK(bitcoin_support_get_memory_stats(&caller.stats, size) == BITCOIN_SUPPORT_OK);
        CHECK(memcmp(caller.bytes, &before, known) == 0);
        CHECK(all_bytes_are(caller.bytes + known, size - known, 0));
        CHECK(all_bytes_are(caller.bytes + size, sizeof(caller.bytes) - size, 0xa5));
    }
    CHECK(bitcoin_support_get_memory_stats(NULL, sizeof(all)) == BITCOIN_SUPPORT_NULL_ARGUMENT);
}

static void pool_null_arguments(void)
{
    bitcoin_support_locked_pool_stats stats;
    walked seen;
    memset(&seen, 0, sizeof(seen));
    CHECK(bitcoin_support_locked_pool_get_stats(NULL, &stats, sizeof(stats)) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_locked_pool_get_stats(bitcoin_support_locked_pool_instance(), NULL, sizeof(stats)) ==
          BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_locked_pool_alloc(NULL, 16) == NULL);
    CHECK(bitcoin_support_locked_pool_alloc_aligned(NULL, 16, 16) == NULL);
    CHECK(bitcoin_support_locked_pool_free(NULL, BASE) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_locked_pool_free(NULL, NULL) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_locked_pool_free_sized(NULL, BASE, 16, 16) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_locked_pool_set_locking_failed(NULL, decide, &seen) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_locked_pool_set_locking_failed(NULL, NULL, NULL) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_locked_pool_walk(NULL, note_chunk, &seen) == BITCOIN_SUPPORT_NULL_ARGUMENT && seen.count == 0);
    bitcoin_support_locked_pool_destroy(NULL);
}

/* ---- Options ---- */

/* Runs before any other case that uses the process-wide pool. */
#ifndef _WIN32
static void protections_are_there(const bitcoin_support_locked_pool* pool)
{
    const bitcoin_support_locked_pool_stats stats = stats_of_pool(pool);
    const size_t count = sizeof(stats.missing_protections) / sizeof(stats.missing_protections[0]);
    size_t i;
    CHECK(count > BITCOIN_SUPPORT_PROTECTION_NO_HUGE_PAGES);
    for (i = 0; i < count; ++i) {
        CHECK(stats.missing_protections[i].bytes == 0 && stats.missing_protections[i].error == 0);
    }
}

static void pool_options(void)
{
    bitcoin_support_locked_pool_options options;
    bitcoin_support_locked_pool* pool = NULL;
    bitcoin_support_locked_pool* const instance = bitcoin_support_locked_pool_instance();
    bitcoin_support_status status;
    void* chunk;
    size_t larger[16];
    size_t i;

    memset(&options, 0xff, sizeof(options));
    bitcoin_support_locked_pool_options_init(&options, sizeof(options));
    CHECK(options.size == sizeof(options) && options.fork_policy == BITCOIN_SUPPORT_FORK_KEEP);
    CHECK(options.secret_memory == BITCOIN_SUPPORT_SECRET_MEMORY_OFF && options.page_size == 0);
    CHECK(options.arena_size == 0 && options.max_size == 0 && !options.raise_lock_limit);
    CHECK(!options.require_protections);
    for (i = 0; i < sizeof(options.reserved); ++i) {
        CHECK(options.reserved[i] == 0);
        options.reserved[i] = 1;
        CHECK(bitcoin_support_locked_pool_create_with(&options, &pool) == BITCOIN_SUPPORT_BAD_OPTION);
        options.reserved[i] = 0;
    }
    bitcoin_support_locked_pool_options_init(NULL, sizeof(options));
    /* The options of a program that was compiled with another version: fewer, or more. */
    memset(larger, 0xff, sizeof(larger));
    bitcoin_support_locked_pool_options_init((bitcoin_support_locked_pool_options*)larger, sizeof(size_t) - 1);
    CHECK(larger[0] == SIZE_MAX);
    bitcoin_support_locked_pool_options_init((bitcoin_support_locked_pool_options*)larger, sizeof(size_t));
    CHECK(larger[0] == sizeof(size_t) && larger[1] == SIZE_MAX);
    bitcoin_support_locked_pool_options_init((bitcoin_support_locked_pool_options*)larger, sizeof(larger) - sizeof(size_t));
    CHECK(larger[0] == sizeof(larger) - sizeof(size_t) && larger[15] == SIZE_MAX);
    for (i = 1; i < 15; ++i) {
        CHECK(larger[i] == 0);
    }

    CHECK(bitcoin_support_locked_pool_create_with(NULL, &pool) == BITCOIN_SUPPORT_OK && pool != NULL);
    bitcoin_support_locked_pool_destroy(pool);
    CHECK(bitcoin_support_locked_pool_create_with(&options, NULL) == BITCOIN_SUPPORT_NULL_ARGUMENT);

    options.arena_size = options.max_size = 65536;
    options.require_protections = true; /* nothing is refused here */
    CHECK(bitcoin_support_locked_pool_create_with(&options, &pool) == BITCOIN_SUPPORT_OK);
    chunk = bitcoin_support_locked_pool_alloc(pool, 65536);
    CHECK(chunk != NULL && bitcoin_support_locked_pool_alloc(pool, 16) == NULL);
    CHECK(stats_of_pool(pool).secret_memory == 0);
    protections_are_there(pool);
    bitcoin_support_locked_pool_destroy(pool);

    /* Options of a version that had only the size. */
    options.size = sizeof(size_t);
    CHECK(bitcoin_support_locked_pool_create_with(&options, &pool) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_locked_pool_alloc(pool, BITCOIN_SUPPORT_ARENA_SIZE) != NULL);
    bitcoin_support_locked_pool_destroy(pool);

    pool = NULL;
    for (options.size = 0; options.size < sizeof(size_t); ++options.size) {
        CHECK(bitcoin_support_locked_pool_create_with(&options, &pool) == BITCOIN_SUPPORT_BAD_OPTION);
    }
    options.size = sizeof(options) + 1;
    CHECK(bitcoin_support_locked_pool_create_with(&options, &pool) == BITCOIN_SUPPORT_BAD_OPTION);
    options.size = offsetof(bitcoin_support_locked_pool_options, page_size) + 1; /* within a member */
    CHECK(bitcoin_support_locked_pool_create_with(&options, &pool) == BITCOIN_SUPPORT_BAD_OPTION);
    bitcoin_support_locked_pool_options_init(&options, sizeof(options));
    options.fork_policy = 3;
    CHECK(bitcoin_support_locked_pool_create_with(&options, &pool) == BITCOIN_SUPPORT_BAD_OPTION);
    options.fork_policy = BITCOIN_SUPPORT_FORK_WIPE;
    options.secret_memory = BITCOIN_SUPPORT_SECRET_MEMORY_PREFER; /* needs the policy absent */
    CHECK(bitcoin_support_locked_pool_create_with(&options, &pool) == BITCOIN_SUPPORT_BAD_OPTION);
    CHECK(pool == NULL);

    options.fork_policy = BITCOIN_SUPPORT_FORK_ABSENT;
    options.secret_memory = BITCOIN_SUPPORT_SECRET_MEMORY_REQUIRE;
    status = bitcoin_support_locked_pool_create_with(&options, &pool);
    CHECK(status == BITCOIN_SUPPORT_OK || status == BITCOIN_SUPPORT_NOT_AVAILABLE);
    if (status == BITCOIN_SUPPORT_OK) {
        bitcoin_support_locked_pool_stats stats;
        chunk = bitcoin_support_locked_pool_alloc(pool, 32);
        stats = stats_of_pool(pool);
        CHECK(chunk == NULL ? stats.lock_failures > 0 : stats.secret_memory == stats.total && stats.total > 0);
        bitcoin_support_locked_pool_destroy(pool);
    }

    CHECK(bitcoin_support_locked_pool_configure_instance(NULL) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    bitcoin_support_locked_pool_options_init(&options, sizeof(options));
    options.max_size = 1 << 20;
    CHECK(bitcoin_support_locked_pool_configure_instance(&options) == BITCOIN_SUPPORT_BAD_OPTION);
    options.max_size = 0;
    options.fork_policy = BITCOIN_SUPPORT_FORK_WIPE;
    CHECK(bitcoin_support_locked_pool_configure_instance(&options) == BITCOIN_SUPPORT_OK);
    options.fork_policy = BITCOIN_SUPPORT_FORK_KEEP;
    CHECK(bitcoin_support_locked_pool_configure_instance(&options) == BITCOIN_SUPPORT_OK);
    chunk = bitcoin_support_locked_pool_alloc(instance, 32);
    CHECK(chunk != NULL);
    CHECK(bitcoin_support_locked_pool_configure_instance(&options) == BITCOIN_SUPPORT_IN_USE);
    CHECK(bitcoin_support_locked_pool_free(instance, chunk) == BITCOIN_SUPPORT_OK);
}

static void remedies_and_limits(void)
{
    size_t limit = 0;
    CHECK(strstr(bitcoin_support_lock_remedy(12, 65536), "LimitMEMLOCK=") != NULL);
    CHECK(strstr(bitcoin_support_lock_remedy(12, 65536), "ulimit -l") != NULL);
    CHECK(strstr(bitcoin_support_lock_remedy(12, 65536), "CAP_IPC_LOCK") != NULL);
    CHECK(strstr(bitcoin_support_lock_remedy(1, 65536), "SystemCallFilter=@memlock") != NULL);
    CHECK(strstr(bitcoin_support_lock_remedy(1, 65536), "ulimit") == NULL);
    CHECK(strstr(bitcoin_support_protection_remedy(BITCOIN_SUPPORT_PROTECTION_DUMP_EXCLUSION, 1), "madvise") != NULL);
    CHECK(strlen(bitcoin_support_protection_remedy(UINT32_MAX, -1)) > 0);
    CHECK(strlen(bitcoin_support_lock_remedy(0, SIZE_MAX)) > 0);
    CHECK(bitcoin_support_raise_lock_limit(&limit) == BITCOIN_SUPPORT_OK && limit > 0);
    CHECK(bitcoin_support_raise_lock_limit(NULL) == BITCOIN_SUPPORT_OK);
}

#endif

static void wipe_all(void)
{
    bitcoin_support_locked_pool* pool = NULL;
    unsigned char* chunks[2];
    int i;
    CHECK(bitcoin_support_locked_pool_create(NULL, &pool) == BITCOIN_SUPPORT_OK);
    chunks[0] = bitcoin_support_locked_pool_alloc(pool, 100);
    chunks[1] = bitcoin_support_locked_pool_alloc(bitcoin_support_locked_pool_instance(), 100);
    for (i = 0; i < 2; ++i) memset(chunks[i], 0xa5, 100);
    for (i = 0; i < 2; ++i) CHECK(all_bytes_are(chunks[i], 100, 0xa5));
    bitcoin_support_wipe_all();
    for (i = 0; i < 2; ++i) CHECK(all_bytes_are(chunks[i], 100, 0));
    CHECK(bitcoin_support_locked_pool_free(pool, chunks[0]) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_locked_pool_free(bitcoin_support_locked_pool_instance(), chunks[1]) == BITCOIN_SUPPORT_OK);
    bitcoin_support_locked_pool_destroy(pool);
}

static void sealed_secrets(void)
{
    enum { SIZE = 32,
           SEALED_SIZE = SIZE + BITCOIN_SUPPORT_SEAL_OVERHEAD };
    unsigned char *key = bitcoin_support_alloc(SIZE), *opened = bitcoin_support_alloc(SIZE), sealed[SEALED_SIZE], again[SEALED_SIZE];
    size_t i;
    memset(key, 0xa5, SIZE);
    CHECK(bitcoin_support_seal(key, SIZE, "key 1", 5, sealed, SEALED_SIZE) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_seal(key, SIZE, "key 1", 5, again, SEALED_SIZE) == BITCOIN_SUPPORT_OK);
    CHECK(memcmp(sealed, again, SEALED_SIZE) != 0);
    CHECK(bitcoin_support_unseal(sealed, SEALED_SIZE, "key 1", 5, opened, SIZE) == BITCOIN_SUPPORT_OK);
    CHECK(all_bytes_are(opened, SIZE, 0xa5));

    /* What has been changed, and what belongs elsewhere, is refused, and nothing is written. */
    memset(opened, 0x11, SIZE);
    CHECK(bitcoin_support_unseal(sealed, SEALED_SIZE, "key 2", 5, opened, SIZE) == BITCOIN_SUPPORT_TAMPERED);
    CHECK(bitcoin_support_unseal(sealed, SEALED_SIZE, NULL, 0, opened, SIZE) == BITCOIN_SUPPORT_TAMPERED);
    for (i = 0; i < SEALED_SIZE; ++i) {
        sealed[i] ^= 0x10;
        CHECK(bitcoin_support_unseal(sealed, SEALED_SIZE, "key 1", 5, opened, SIZE) == BITCOIN_SUPPORT_TAMPERED);
        sealed[i] ^= 0x10;
    }
    CHECK(all_bytes_are(opened, SIZE, 0x11));
    /* The control. */
    CHECK(bitcoin_support_unseal(sealed, SEALED_SIZE, "key 1", 5, opened, SIZE) == BITCOIN_SUPPORT_OK);

    /* In its place, and without bytes. */
    memset(again, 0x22, SIZE);
    CHECK(bitcoin_support_seal(again, SIZE, NULL, 0, again, SEALED_SIZE) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_unseal(again, SEALED_SIZE, NULL, 0, again, SIZE) == BITCOIN_SUPPORT_OK);
    CHECK(all_bytes_are(again, SIZE, 0x22));
    CHECK(bitcoin_support_seal(NULL, 0, NULL, 0, again, BITCOIN_SUPPORT_SEAL_OVERHEAD) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_unseal(again, BITCOIN_SUPPORT_SEAL_OVERHEAD, NULL, 0, NULL, 0) == BITCOIN_SUPPORT_OK);

    CHECK(bitcoin_support_seal(key, SIZE, NULL, 0, again, SEALED_SIZE - 1) == BITCOIN_SUPPORT_BAD_SIZE);
    CHECK(bitcoin_support_seal(key, SIZE_MAX, NULL, 0, again, 0) == BITCOIN_SUPPORT_BAD_SIZE);
    CHECK(bitcoin_support_seal(NULL, SIZE, NULL, 0, again, SEALED_SIZE) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_seal(key, SIZE, NULL, 1, again, SEALED_SIZE) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_seal(key, SIZE, NULL, 0, NULL, SEALED_SIZE) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_unseal(sealed, SIZE, NULL, 0, opened, SIZE) == BITCOIN_SUPPORT_BAD_SIZE);
    CHECK(bitcoin_support_unseal(NULL, SEALED_SIZE, NULL, 0, opened, SIZE) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_unseal(sealed, SEALED_SIZE, NULL, 1, opened, SIZE) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_unseal(sealed, SEALED_SIZE, NULL, 0, NULL, SIZE) == BITCOIN_SUPPORT_NULL_ARGUMENT);

    /* Three older keys are kept, if something was sealed with each. */
    for (i = 0; i < 4; ++i) {
        CHECK(bitcoin_support_unseal(sealed, SEALED_SIZE, "key 1", 5, opened, SIZE) == BITCOIN_SUPPORT_OK);
        CHECK(bitcoin_support_rotate_sealing_key() == BITCOIN_SUPPORT_OK);
        CHECK(bitcoin_support_seal(key, SIZE, NULL, 0, again, SEALED_SIZE) == BITCOIN_SUPPORT_OK);
    }
    CHECK(bitcoin_support_unseal(sealed, SEALED_SIZE, "key 1", 5, opened, SIZE) == BITCOIN_SUPPORT_KEY_WIPED);
    CHECK(bitcoin_support_unseal(again, SEALED_SIZE, NULL, 0, opened, SIZE) == BITCOIN_SUPPORT_OK);
    bitcoin_support_wipe_all();
    CHECK(bitcoin_support_unseal(again, SEALED_SIZE, NULL, 0, opened, SIZE) == BITCOIN_SUPPORT_KEY_WIPED);
    CHECK(bitcoin_support_free(key) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_free(opened) == BITCOIN_SUPPORT_OK);
}

#ifndef _WIN32
static void read_first(void* context)
{
    unsigned char** const key = context;
    key[1] = key[0][0] == 0xa5 ? key[0] : NULL;
}

static void write_first(void* context)
{
    **(unsigned char**)context = 0x5a;
}

/* Whether an access to an address ends the process: a child tries. */
static bool is_fault(unsigned char* address, bool writes)
{
    int status = 0;
    const pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        if (writes) *(volatile unsigned char*)address = 1;
        _exit(*(volatile unsigned char*)address == 0xff ? 1 : 0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static unsigned char* interrupted;

static void read_interrupted(int signal)
{
    (void)signal;
    _exit(*(volatile unsigned char*)interrupted == 0xff ? 1 : 0);
}

/* Whether a signal handler that interrupts this function may read: a child tries. */
static void read_in_handler(void* context)
{
    unsigned char** const key = context;
    int status = 0;
    const pid_t child = fork();
    interrupted = key[0];
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGUSR1, read_interrupted);
        raise(SIGUSR1);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) ? WTERMSIG(status) == SIGSEGV : status == 0);
    key[1] = WIFSIGNALED(status) ? NULL : key[0];
}

static void closed_secrets(void)
{
    unsigned char* const key = bitcoin_support_closed_alloc(32);
    unsigned char* seen[2] = {key, NULL};
    bitcoin_support_address_report report;
    CHECK(key != NULL && bitcoin_support_closed_alloc(0) == NULL && bitcoin_support_closed_alloc(SIZE_MAX) == NULL);
    CHECK(is_fault(key, false) && is_fault(key, true));
    CHECK(bitcoin_support_describe_address(key + 3, &report, sizeof(report)) == BITCOIN_SUPPORT_OK);
    CHECK(report.chunk == key && report.size == 32 && report.offset == 3 && !report.freed);
    CHECK(strstr(report.text, "byte 3 of a closed secret of 32 bytes, which no guard has opened") == report.text);

    /* Open, and the control: the same accesses. Openings are counted. */
    CHECK(bitcoin_support_closed_open(key, true) == BITCOIN_SUPPORT_OK);
    CHECK(all_bytes_are(key, 32, 0));
    CHECK(!is_fault(key, false) && !is_fault(key, true));
    memset(key, 0xa5, 32);
    CHECK(bitcoin_support_closed_open(key, false) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_closed_close(key, true) == BITCOIN_SUPPORT_OK);
    CHECK(!is_fault(key, false) && is_fault(key, true));
    CHECK(bitcoin_support_closed_close(key, true) == BITCOIN_SUPPORT_INVALID_HANDLE);
    CHECK(bitcoin_support_closed_close(key, false) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_closed_close(key, false) == BITCOIN_SUPPORT_INVALID_HANDLE);
    CHECK(is_fault(key, false) && is_fault(key, true));

    /* On this thread, whether there is a key or not. */
    CHECK(bitcoin_support_closed_on_this_thread(key, false, read_first, seen) == BITCOIN_SUPPORT_OK && seen[1] == key);
    CHECK(bitcoin_support_closed_on_this_thread(key, true, write_first, seen) == BITCOIN_SUPPORT_OK);
    CHECK(is_fault(key, false));
    CHECK(bitcoin_support_closed_on_this_thread(key, false, read_in_handler, seen) == BITCOIN_SUPPORT_OK);
    CHECK((seen[1] == NULL) == bitcoin_support_has_protection_key());
    CHECK(bitcoin_support_closed_open(key, false) == BITCOIN_SUPPORT_OK);
    CHECK(key[0] == 0x5a && all_bytes_are(key + 1, 31, 0xa5));
    CHECK(bitcoin_support_closed_on_this_thread(key, true, write_first, seen) == BITCOIN_SUPPORT_OK);
    bitcoin_support_wipe_all();
    CHECK(all_bytes_are(key, 32, 0) && is_fault(key, true));

    /* What is no closed secret is refused. */
    CHECK(bitcoin_support_closed_open(key + 1, false) == BITCOIN_SUPPORT_INVALID_HANDLE);
    CHECK(bitcoin_support_closed_close(seen, false) == BITCOIN_SUPPORT_INVALID_HANDLE);
    CHECK(bitcoin_support_closed_on_this_thread(seen, false, read_first, seen) == BITCOIN_SUPPORT_INVALID_HANDLE);
    CHECK(bitcoin_support_closed_on_this_thread(key, false, NULL, seen) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_closed_open(NULL, false) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_closed_close(NULL, false) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_closed_free(seen) == BITCOIN_SUPPORT_INVALID_HANDLE);
    CHECK(bitcoin_support_closed_free(NULL) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_closed_free(key) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_closed_free(key) == BITCOIN_SUPPORT_INVALID_HANDLE);
}

/* The secrets that a child has in locked memory when it exits. */
static unsigned char* left[2];
static int ends[2];

/* Ends the process with what is left of the secrets: 0 for no memory, 1 for zeros, 2 for the secrets. */
static void look(int status, void* argument)
{
    (void)status, (void)argument;
    const bool there[2] = {write(ends[1], left[0], 100) == 100, write(ends[1], left[1], 100) == 100};
    if (!there[0] && !there[1]) _exit(0);
    if (all_bytes_are(left[0], 100, 0) && all_bytes_are(left[1], 100, 0)) _exit(1);
    _exit(all_bytes_are(left[0], 100, 0xa5) && all_bytes_are(left[1], 100, 0xa5) ? 2 : 3);
}

/* Runs after the exit handlers and before the library is finalized. The handler that it registers runs after
 * that. */
__attribute__((destructor)) static void register_look(void)
{
    if (left[0] && on_exit(look, NULL) != 0) _exit(4);
}

static int left_at_exit(bitcoin_support_exit_policy policy)
{
    int status = 0;
    const pid_t child = fork();
    if (child == 0) {
        bitcoin_support_buffer* large = NULL;
        left[0] = bitcoin_support_locked_pool_alloc(bitcoin_support_locked_pool_instance(), 100);
        if (bitcoin_support_buffer_create(0, &large) != BITCOIN_SUPPORT_OK) _exit(5);
        if (bitcoin_support_buffer_resize(large, 300 * 1024) != BITCOIN_SUPPORT_OK) _exit(5);
        left[1] = bitcoin_support_buffer_data(large);
        memset(left[0], 0xa5, 100);
        memset(left[1], 0xa5, 100);
        if (pipe(ends) != 0 || bitcoin_support_set_exit_policy(policy) != BITCOIN_SUPPORT_OK) _exit(6);
        exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void exit_policies(void)
{
    CHECK(bitcoin_support_set_exit_policy(3) == BITCOIN_SUPPORT_BAD_OPTION);
    if (sees_edges_of_chunks()) {
        puts("skipped: inaccessible at exit: AddressSanitizer and valgrind report the look at it");
    } else {
        CHECK(left_at_exit(BITCOIN_SUPPORT_EXIT_INACCESSIBLE) == 0);
    }
    if (unshare(CLONE_VM) == 0) {
        CHECK(left_at_exit(BITCOIN_SUPPORT_EXIT_WIPE_WHEN_ALONE) == 1);
    } else {
        puts("skipped: nothing is wiped where unshare is forbidden");
    }
    CHECK(left_at_exit(BITCOIN_SUPPORT_EXIT_NEVER) == 2);
}

/* What a function found and left on a secret stack. */
struct on_stack {
    unsigned char* frame;
    bool locked;
    int calls;
};

static void leave_secret(void* context)
{
    struct on_stack* found = context;
    volatile unsigned char secret[64];
    size_t i;
    for (i = 0; i < sizeof(secret); ++i) secret[i] = 0xa5;
    /* As a number: the address is looked at when the frame is gone. */
    found->frame = (unsigned char*)(uintptr_t)secret;
    found->locked = bitcoin_support_secret_stack_is_locked();
    ++found->calls;
}

static void calls_again(void* context)
{
    struct on_stack* found = context;
    ++found->calls;
    CHECK(bitcoin_support_on_secret_stack(leave_secret, &found[1], 0) == BITCOIN_SUPPORT_OK);
}

static void secret_stack(void)
{
    struct on_stack found[2] = {{NULL, false, 0}, {NULL, false, 0}};
    const bitcoin_support_status status = bitcoin_support_on_secret_stack(leave_secret, &found[0], 0);
    if (status == BITCOIN_SUPPORT_NOT_AVAILABLE) {
        puts("skipped: no secret stacks on this processor");
        return;
    }
    CHECK(status == BITCOIN_SUPPORT_OK && found[0].calls == 1);
    CHECK(!bitcoin_support_secret_stack_is_locked());
    /* The thread keeps the stack, so it is mapped. */
    CHECK(all_bytes_are(found[0].frame, 64, 0));
    /* Control: the same function on this stack. */
    leave_secret(&found[0]);
    CHECK(found[0].calls == 2 && !found[0].locked);
    CHECK(bitcoin_support_on_secret_stack(calls_again, &found[0], 100 * 1024) == BITCOIN_SUPPORT_OK);
    CHECK(found[0].calls == 3 && found[1].calls == 1);
    CHECK(bitcoin_support_on_secret_stack(NULL, &found[0], 0) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_on_secret_stack(leave_secret, &found[0], SIZE_MAX) == BITCOIN_SUPPORT_OUT_OF_MEMORY);
    CHECK(found[0].calls == 3);
    if (bitcoin_support_on_locked_secret_stack(leave_secret, &found[0], 0) == BITCOIN_SUPPORT_OK) {
        CHECK(found[0].calls == 4 && found[0].locked);
    } else {
        puts("skipped: nothing can be locked");
    }
}

/* ---- The process hardened ---- */

static void hardened(void)
{
    enum { STEPS = 3,
           ALL = 9 };
    const bitcoin_support_harden_steps steps = BITCOIN_SUPPORT_HARDEN_NO_CORE_FILE | BITCOIN_SUPPORT_HARDEN_LOCK_LIMIT |
                                               BITCOIN_SUPPORT_HARDEN_NO_NEW_PRIVILEGES;
    const bitcoin_support_harden_steps unknown = (bitcoin_support_harden_steps)1 << 63;
    bitcoin_support_harden_result results[ALL];
    struct rlimit core;
    int status = 0;
    pid_t child;
    size_t i;

    /* What is refused changes nothing. */
    const int before = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    results[0].step = 77;
    CHECK(bitcoin_support_harden_process(steps | unknown, results, ALL) == BITCOIN_SUPPORT_BAD_OPTION);
    CHECK(bitcoin_support_harden_process(steps, NULL, ALL) == BITCOIN_SUPPORT_NULL_ARGUMENT);
    CHECK(bitcoin_support_harden_process(steps, results, STEPS - 1) == BITCOIN_SUPPORT_BUFFER_TOO_SMALL);
    CHECK(bitcoin_support_harden_process(0, results, 0) == BITCOIN_SUPPORT_OK);
    CHECK(results[0].step == 77);
    CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == before);

    for (i = 0; i < ALL; ++i) {
        CHECK(strcmp(bitcoin_support_harden_step_name((bitcoin_support_harden_steps)1 << i), "unknown") != 0);
    }
    CHECK(strcmp(bitcoin_support_harden_step_name(BITCOIN_SUPPORT_HARDEN_NOT_DUMPABLE), "not-dumpable") == 0);
    CHECK(strcmp(bitcoin_support_harden_step_name(0), "unknown") == 0);
    CHECK(strcmp(bitcoin_support_harden_step_name(steps), "unknown") == 0);

    /* No step can be undone, so that a child takes them. */
    child = fork();
    if (child == 0) {
        if (bitcoin_support_harden_process(steps, results, STEPS) != BITCOIN_SUPPORT_OK) _exit(1);
        if (results[0].step != BITCOIN_SUPPORT_HARDEN_NO_CORE_FILE) _exit(2);
        if (results[1].step != BITCOIN_SUPPORT_HARDEN_NO_NEW_PRIVILEGES) _exit(3);
        if (results[2].step != BITCOIN_SUPPORT_HARDEN_LOCK_LIMIT) _exit(4);
        for (i = 0; i < STEPS; ++i) {
            if (results[i].status != BITCOIN_SUPPORT_OK || results[i].error != 0) _exit(5);
        }
        if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 0 || core.rlim_max != 0) _exit(6);
        if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) _exit(7);
        _exit(42);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

#endif

/* ---- The runner ---- */

/* A handle that was destroyed before, that is of another kind, or that must not be destroyed is refused, and
 * nothing changes. */
static void handles_are_destroyed_once(void)
{
    bitcoin_support_locked_pool* const instance = bitcoin_support_locked_pool_instance();
    bitcoin_support_locked_pool* pool = NULL;
    bitcoin_support_buffer* buffer = NULL;
    bitcoin_support_arena* arena = NULL;
    void* const kept = bitcoin_support_locked_pool_alloc(instance, 32);
    const size_t used = stats_of_pool(instance).chunks_used;

    CHECK(bitcoin_support_locked_pool_destroy(instance) == BITCOIN_SUPPORT_INVALID_HANDLE);
    CHECK(bitcoin_support_buffer_destroy((bitcoin_support_buffer*)instance) == BITCOIN_SUPPORT_INVALID_HANDLE);
    CHECK(stats_of_pool(instance).chunks_used == used);
    CHECK(bitcoin_support_locked_pool_free(instance, kept) == BITCOIN_SUPPORT_OK);

    CHECK(bitcoin_support_locked_pool_create(NULL, &pool) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_buffer_create(100, &buffer) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_arena_create((void*)0x08000000, 4096, 16, &arena) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_arena_destroy((bitcoin_support_arena*)pool) == BITCOIN_SUPPORT_INVALID_HANDLE);
    CHECK(bitcoin_support_locked_pool_destroy((bitcoin_support_locked_pool*)buffer) == BITCOIN_SUPPORT_INVALID_HANDLE);
    CHECK(bitcoin_support_buffer_destroy((bitcoin_support_buffer*)arena) == BITCOIN_SUPPORT_INVALID_HANDLE);
    CHECK(bitcoin_support_locked_pool_alloc(pool, 16) != NULL && bitcoin_support_arena_alloc(arena, 16) != NULL);
    CHECK(bitcoin_support_buffer_resize(buffer, 50) == BITCOIN_SUPPORT_OK);
    /* Control: the same handles, alive and of the right kind. */
    CHECK(bitcoin_support_locked_pool_destroy(pool) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_buffer_destroy(buffer) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_arena_destroy(arena) == BITCOIN_SUPPORT_OK);
    CHECK(bitcoin_support_locked_pool_destroy(pool) == BITCOIN_SUPPORT_INVALID_HANDLE);
    CHECK(bitcoin_support_buffer_destroy(buffer) == BITCOIN_SUPPORT_INVALID_HANDLE);
    CHECK(bitcoin_support_arena_destroy(arena) == BITCOIN_SUPPORT_INVALID_HANDLE);
    CHECK(bitcoin_support_locked_pool_destroy(NULL) == BITCOIN_SUPPORT_OK);
}

static const struct {
    const char* name;
    void (*run)(void);
} cases[] = {
    {"version_and_abi", version_and_abi},
    {"status_names_and_messages", status_names_and_messages},
    {"cleanse", cleanse},
    {"arena_life", arena_life},
    {"arena_creation_failures", arena_creation_failures},
    {"arena_null_arguments", arena_null_arguments},
#ifndef _WIN32
    {"pool_options", pool_options},
    {"remedies_and_limits", remedies_and_limits},
#endif
    {"wipe_all", wipe_all},
#ifndef _WIN32
    {"closed_secrets", closed_secrets},
#endif
    {"sealed_secrets", sealed_secrets},
#ifndef _WIN32
    {"exit_policies", exit_policies},
    {"secret_stack", secret_stack},
    {"hardened", hardened},
#endif
    {"pool_over_a_table", pool_over_a_table},
    {"pool_destroyed_with_chunks_in_use", pool_destroyed_with_chunks_in_use},
    {"table_is_copied_and_destroy_may_be_null", table_is_copied_and_destroy_may_be_null},
    {"destroy_is_called_once_on_failure", destroy_is_called_once_on_failure},
    {"locking_failed_callback", locking_failed_callback},
    {"pool_over_own_pages", pool_over_own_pages},
    {"process_wide_pool", process_wide_pool},
    {"process_wide_pool_without_a_handle", process_wide_pool_without_a_handle},
#ifndef _WIN32
    {"sampled_chunks", sampled_chunks},
#endif
    {"secure_buffer", secure_buffer},
    {"strings_and_names", strings_and_names},
    {"sizes_of_structures", sizes_of_structures},
    {"figures_of_all_memory", figures_of_all_memory},
    {"pool_null_arguments", pool_null_arguments},
    {"handles_are_destroyed_once", handles_are_destroyed_once},
};

int main(int argc, char** argv)
{
    const char* const prefix = "--run_test=";
    const bool list = argc > 1 && strcmp(argv[1], "--list_content") == 0;
    const char* const wanted = argc > 1 && strncmp(argv[1], prefix, strlen(prefix)) == 0 ? argv[1] + strlen(prefix) : NULL;
    int ran = 0;
    size_t i;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        if (list) {
            printf("%s*\n", cases[i].name);
            continue;
        }
        if (wanted != NULL && strcmp(wanted, cases[i].name) != 0) continue;
        cases[i].run();
        ++ran;
    }
    if (list) return 0;
    printf("%d cases, %d failed checks\n", ran, failures);
    return ran > 0 && failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
