/* A system whose pages are larger than this machine's, to test programs on one. Linked dynamically, and started with
 * this library in LD_PRELOAD, a program finds pages of LARGE_PAGES bytes (16384 or 65536): the system tells that size,
 * gives and takes whole pages, begins each at a multiple of the size, and refuses what it would refuse there (EINVAL).
 * What the C library maps for itself stays as it is.
 *
 * A page comes into memory in parts here, the pages of the machine. So the kernel's figures of what is in memory, and
 * of pages by number (pagemap), are those of the machine.
 *
 * With LARGE_PAGES_STRICT set, a call that names part of a page ends the process. The kernel would round it to the
 * whole page, which is never what a program means that works in whole pages. (A length for munmap may be any: Rust's
 * standard library unmaps the stack for signals of a thread by the length that it has asked for.) */

#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_mseal
#define SYS_mseal 462
#endif

/** The bytes of addresses from which mappings take theirs, one after the other, which no kernel uses by itself. */
static const uintptr_t FIRST_ADDRESS = (uintptr_t)1 << 44;
static const uintptr_t END_OF_ADDRESSES = (uintptr_t)3 << 45;

static size_t page;
static bool is_strict;
static long (*real_syscall)(long, ...);
static long (*real_sysconf)(int);
static unsigned long (*real_getauxval)(unsigned long);
static uintptr_t next_address = FIRST_ADDRESS;

static void* symbol(const char* name)
{
    void* const found = dlsym(RTLD_NEXT, name);
    if (found == NULL) abort();
    return found;
}

/* Functions are not pointers to data in C, but dlsym says that they are. */
#define FIND(function, name)                       \
    do {                                           \
        void* const found = symbol(name);          \
        memcpy(&(function), &found, sizeof found); \
    } while (0)

/** Called when the library is loaded, or by the first call of another library that begins before it. */
__attribute__((constructor)) static void begin(void)
{
    if (page != 0) return;
    FIND(real_syscall, "syscall");
    FIND(real_sysconf, "sysconf");
    FIND(real_getauxval, "getauxval");
    is_strict = getenv("LARGE_PAGES_STRICT") != NULL;
    const char* const wanted = getenv("LARGE_PAGES");
    const size_t size = wanted == NULL ? 0 : strtoul(wanted, NULL, 10);
    if (size < (size_t)real_sysconf(_SC_PAGESIZE) || (size & (size - 1)) != 0) abort();
    page = size;
}

static bool is_whole(uintptr_t number) { return number % page == 0; }

static size_t rounded(size_t len) { return len > SIZE_MAX - page ? len : (len + page - 1) & ~(page - 1); }

static long failed(int error)
{
    errno = error;
    return -1;
}

/** For a call on pages that exist: what it names is whole pages, or the process ends (see above). */
static void must_be_whole(const char* call, uintptr_t addr, size_t len)
{
    if (!is_strict || (is_whole(addr) && is_whole(len))) return;
    static const char text[] = ": not whole pages\n";
    (void)!write(STDERR_FILENO, call, strlen(call));
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    raise(SIGABRT);
}

/** What a system call does on a system with such pages. */
static long on_large_pages(long call, long a, long b, long c, long d, long e, long f)
{
    begin();
    const uintptr_t addr = (uintptr_t)a;
    const size_t len = (size_t)b;
    switch (call) {
    case SYS_mmap: {
        if (!is_whole((uintptr_t)f)) return failed(EINVAL);
        if (d & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
            if (!is_whole(addr)) return failed(EINVAL);
            return real_syscall(call, a, rounded(len), c, d, e, f);
        }
        if (len == 0 || len > END_OF_ADDRESSES - FIRST_ADDRESS) return real_syscall(call, a, len, c, d, e, f);
        for (;;) {
            const uintptr_t at = __atomic_fetch_add(&next_address, rounded(len), __ATOMIC_RELAXED);
            if (at > END_OF_ADDRESSES - rounded(len)) return failed(ENOMEM);
            const long mapped = real_syscall(call, at, rounded(len), c, d | MAP_FIXED_NOREPLACE, e, f);
            if (mapped != -1 || errno != EEXIST) return mapped;
        }
    }
    case SYS_mremap: {
        must_be_whole("mremap", addr, (uintptr_t)b | (uintptr_t)c);
        if (!is_whole(addr)) return failed(EINVAL);
        const size_t from = rounded(len);
        const size_t to = rounded((size_t)c);
        if (to <= from || (d & MREMAP_FIXED) || !(d & MREMAP_MAYMOVE)) {
            return real_syscall(call, a, from, to, d, e);
        }
        if (to > END_OF_ADDRESSES - FIRST_ADDRESS) return failed(ENOMEM);
        const uintptr_t at = __atomic_fetch_add(&next_address, to, __ATOMIC_RELAXED);
        if (at > END_OF_ADDRESSES - to) return failed(ENOMEM);
        return real_syscall(call, a, from, to, d | MREMAP_FIXED, at);
    }
    case SYS_munmap:
    case SYS_mprotect:
    case SYS_madvise:
    case SYS_pkey_mprotect:
    case SYS_mseal:
        must_be_whole("a call on pages", addr, call == SYS_munmap ? 0 : len);
        if (!is_whole(addr)) return failed(EINVAL);
        return real_syscall(call, a, rounded(len), c, d, e, f);
    case SYS_mlock:
    case SYS_mlock2:
    case SYS_munlock: {
        must_be_whole("a lock", addr, len);
        const uintptr_t first = addr & ~(page - 1);
        return real_syscall(call, first, rounded(addr - first + len), c, d, e, f);
    }
    default: return real_syscall(call, a, b, c, d, e, f);
    }
}

long syscall(long call, ...)
{
    /* A call with fewer arguments does not look at the others. */
    va_list rest;
    va_start(rest, call);
    const long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long);
    const long d = va_arg(rest, long), e = va_arg(rest, long), f = va_arg(rest, long);
    va_end(rest);
    return on_large_pages(call, a, b, c, d, e, f);
}

void* mmap(void* addr, size_t len, int access, int flags, int fd, off_t offset)
{
    return (void*)on_large_pages(SYS_mmap, (long)addr, (long)len, access, flags, fd, offset);
}

void* mmap64(void* addr, size_t len, int access, int flags, int fd, off64_t offset)
{
    return (void*)on_large_pages(SYS_mmap, (long)addr, (long)len, access, flags, fd, offset);
}

void* mremap(void* addr, size_t len, size_t new_len, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    const long new_addr = flags & MREMAP_FIXED ? va_arg(rest, long) : 0;
    va_end(rest);
    return (void*)on_large_pages(SYS_mremap, (long)addr, (long)len, (long)new_len, flags, new_addr, 0);
}

int munmap(void* addr, size_t len) { return (int)on_large_pages(SYS_munmap, (long)addr, (long)len, 0, 0, 0, 0); }

int mprotect(void* addr, size_t len, int access)
{
    return (int)on_large_pages(SYS_mprotect, (long)addr, (long)len, access, 0, 0, 0);
}

int madvise(void* addr, size_t len, int advice)
{
    return (int)on_large_pages(SYS_madvise, (long)addr, (long)len, advice, 0, 0, 0);
}

int mlock(const void* addr, size_t len) { return (int)on_large_pages(SYS_mlock, (long)addr, (long)len, 0, 0, 0, 0); }

int mlock2(const void* addr, size_t len, unsigned flags)
{
    return (int)on_large_pages(SYS_mlock2, (long)addr, (long)len, (long)flags, 0, 0, 0);
}

int munlock(const void* addr, size_t len)
{
    return (int)on_large_pages(SYS_munlock, (long)addr, (long)len, 0, 0, 0, 0);
}

long sysconf(int name)
{
    begin();
    return name == _SC_PAGESIZE ? (long)page : real_sysconf(name);
}

int getpagesize(void) { return (int)sysconf(_SC_PAGESIZE); }

unsigned long getauxval(unsigned long type)
{
    begin();
    return type == AT_PAGESZ ? page : real_getauxval(type);
}
