/* What the DLL does that the library in a program does otherwise, or that other systems do not have: a program loads it,
 * lets go of it, uses it on threads that the system starts, and exits with a secret in it.
 *
 *   windows_tests <the DLL> <windows_witness.dll>
 *   windows_tests <the DLL> <windows_witness.dll> wipe|never     exits with a secret
 *
 * It does not link the library. */

#include <bitcoin_support.h>

#include "check.h"

#include <process.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

enum { LENGTH = 64 };

static void* (*allocate)(size_t);
static bitcoin_support_status (*release)(void*);
static bitcoin_support_status (*get_stats)(const bitcoin_support_locked_pool*, bitcoin_support_locked_pool_stats*, size_t);
static bitcoin_support_locked_pool* (*instance)(void);
static bitcoin_support_status (*set_exit_policy)(bitcoin_support_exit_policy);
static bitcoin_support_status (*raise_lock_limit)(size_t*);
static const char* (*lock_remedy)(int, size_t);

/* The function of that name, as a pointer of the type that it is put into. */
static void find(HMODULE library, const char* name, void* function)
{
    const FARPROC found = GetProcAddress(library, name);
    if (found == NULL) {
        printf("the DLL does not export %s\n", name);
        exit(2);
    }
    memcpy(function, &found, sizeof(found));
}

static HMODULE load(const char* path)
{
    const HMODULE library = LoadLibraryA(path);
    if (library == NULL) {
        printf("%s cannot be loaded: error %lu\n", path, GetLastError());
        exit(2);
    }
    return library;
}

static bitcoin_support_locked_pool_stats stats(void)
{
    bitcoin_support_locked_pool_stats stats;
    memset(&stats, 0, sizeof(stats));
    get_stats(instance(), &stats, sizeof(stats));
    return stats;
}

/* Whether the page of an address has memory that may be read and written. */
static bool is_accessible(const void* address)
{
    MEMORY_BASIC_INFORMATION page;
    CHECK(VirtualQuery(address, &page, sizeof(page)) == sizeof(page));
    return page.State == MEM_COMMIT && page.Protect == PAGE_READWRITE;
}

/* ---- Threads that the system starts ---- */

enum { CHUNKS = 200 };

/* Leaves chunks behind, with bytes in them, when the thread ends. */
static DWORD WINAPI allocates(LPVOID context)
{
    unsigned char** const chunks = context;
    int i;
    for (i = 0; i < CHUNKS; ++i) {
        chunks[i] = allocate(1 + (size_t)i);
        if (chunks[i] == NULL) return 1;
        memset(chunks[i], i, 1 + (size_t)i);
        /* What this thread has freed is used again. */
        if (i % 3 == 0) {
            if (release(chunks[i]) != BITCOIN_SUPPORT_OK) return 2;
            chunks[i] = NULL;
        }
    }
    return 0;
}

static void threads_leave_their_chunks(void)
{
    enum { THREADS = 4 };
    static unsigned char* chunks[2 * THREADS][CHUNKS];
    const size_t before = stats().chunks_used;
    size_t left = 0;
    int round, thread, i, byte;
    for (round = 0; round < 2; ++round) {
        HANDLE threads[THREADS];
        for (thread = 0; thread < THREADS; ++thread) {
            threads[thread] = CreateThread(NULL, 0, allocates, chunks[round * THREADS + thread], 0, NULL);
            CHECK(threads[thread] != NULL);
        }
        CHECK(WaitForMultipleObjects(THREADS, threads, TRUE, INFINITE) == WAIT_OBJECT_0);
        for (thread = 0; thread < THREADS; ++thread) {
            DWORD code = 99;
            CHECK(GetExitCodeThread(threads[thread], &code) && code == 0);
            CloseHandle(threads[thread]);
        }
    }
    for (thread = 0; thread < 2 * THREADS; ++thread) {
        for (i = 0; i < CHUNKS; ++i) {
            if (chunks[thread][i] == NULL) continue;
            for (byte = 0; byte <= i; ++byte) CHECK(chunks[thread][i][byte] == (unsigned char)i);
            ++left;
        }
    }
    CHECK(left > 0 && stats().chunks_used == before + left);
    for (thread = 0; thread < 2 * THREADS; ++thread) {
        for (i = 0; i < CHUNKS; ++i) {
            if (chunks[thread][i] == NULL) continue;
            CHECK(release(chunks[thread][i]) == BITCOIN_SUPPORT_OK);
        }
    }
    CHECK(stats().chunks_used == before);
}

/* ---- The library stays ---- */

static void stays_when_it_is_let_go(HMODULE library)
{
    unsigned char* const kept = allocate(LENGTH);
    MEMORY_BASIC_INFORMATION code;
    int i;
    memset(kept, 0xa5, LENGTH);
    /* More often than it has been loaded. */
    for (i = 0; i < 8; ++i) FreeLibrary(library);
    CHECK(VirtualQuery((const void*)(uintptr_t)release, &code, sizeof(code)) == sizeof(code) && code.State == MEM_COMMIT);
    if (code.State != MEM_COMMIT) exit(3);
    for (i = 0; i < LENGTH; ++i) CHECK(kept[i] == 0xa5);
    CHECK(release(kept) == BITCOIN_SUPPORT_OK);
}

/* ---- Pages, and the limit on them ---- */

static void an_arena_lies_between_guard_pages(void)
{
    unsigned char* const chunk = allocate(LENGTH);
    MEMORY_BASIC_INFORMATION pages;
    CHECK(is_accessible(chunk));
    CHECK(VirtualQuery(chunk, &pages, sizeof(pages)) == sizeof(pages));
    CHECK(!is_accessible((char*)pages.AllocationBase));
    CHECK(!is_accessible((char*)pages.BaseAddress + pages.RegionSize));
    CHECK(release(chunk) == BITCOIN_SUPPORT_OK);
}

static void the_limit_is_the_working_set(void)
{
    SIZE_T least = 0, most = 0;
    size_t limit = 0;
    CHECK(raise_lock_limit(&limit) == BITCOIN_SUPPORT_OK);
    CHECK(GetProcessWorkingSetSize(GetCurrentProcess(), &least, &most));
    CHECK(limit == least && limit > 0);
    CHECK(strstr(lock_remedy(ERROR_WORKING_SET_QUOTA, limit), "bitcoin_support_raise_lock_limit") != NULL);
    CHECK(strstr(lock_remedy(ERROR_ACCESS_DENIED, limit), "Wine") != NULL);
}

/* ---- The end of the process ---- */

static DWORD WINAPI uses_the_pool(LPVOID context)
{
    HANDLE running = context;
    SetEvent(running);
    for (;;) release(allocate(100));
    return 0;
}

/* Exits with a secret, while another thread uses the pool. */
static int exit_with_a_secret(HMODULE witness, const char* policy)
{
    void (*watch)(const unsigned char*);
    unsigned char* const secret = allocate(LENGTH);
    const HANDLE running = CreateEventA(NULL, FALSE, FALSE, NULL);
    find(witness, "watch", &watch);
    if (strcmp(policy, "never") == 0) set_exit_policy(BITCOIN_SUPPORT_EXIT_NEVER);
    memset(secret, 0xa5, LENGTH);
    watch(secret);
    if (CreateThread(NULL, 0, uses_the_pool, running, 0, NULL) == NULL) return 4;
    WaitForSingleObject(running, INFINITE);
    return 0;
}

int main(int argc, char** argv)
{
    HMODULE witness, library;
    if (argc < 3) return 2;
    witness = load(argv[2]);
    library = load(argv[1]);
    find(library, "bitcoin_support_alloc", &allocate);
    find(library, "bitcoin_support_free", &release);
    find(library, "bitcoin_support_locked_pool_get_stats", &get_stats);
    find(library, "bitcoin_support_locked_pool_instance", &instance);
    find(library, "bitcoin_support_set_exit_policy", &set_exit_policy);
    find(library, "bitcoin_support_raise_lock_limit", &raise_lock_limit);
    find(library, "bitcoin_support_lock_remedy", &lock_remedy);
    if (argc > 3) return exit_with_a_secret(witness, argv[3]);

    an_arena_lies_between_guard_pages();
    the_limit_is_the_working_set();
    threads_leave_their_chunks();
    stays_when_it_is_let_go(library);
    CHECK(_spawnl(_P_WAIT, argv[0], "windows_tests", argv[1], argv[2], "wipe", NULL) == 40);
    /* Control: without the wipe the secret is there. */
    CHECK(_spawnl(_P_WAIT, argv[0], "windows_tests", argv[1], argv[2], "never", NULL) == 41);
    printf("%d failed checks\n", failures);
    return failures == 0 ? 0 : 1;
}
