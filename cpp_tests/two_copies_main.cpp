// The program of two_copies_test.cmake. Uses the pool in the shared library and in itself, and hands objects
// over in both directions.

#include "two_copies.h"

#include <cstdio>
#include <stdexcept>
#include <string>

static int g_failures;

static void Check(bool condition, const char* what)
{
    if (condition) return;
    std::fprintf(stderr, "not so: %s\n", what);
    ++g_failures;
}

template <typename FreeBadly>
static void CheckThrown(FreeBadly free_badly)
{
    try {
        free_badly();
        Check(false, "a bad free throws");
    } catch (const std::runtime_error& e) {
        Check(std::string{e.what()}.find("invalid address") != std::string::npos, e.what());
    }
}

int main()
{
    const char* const in{"long enough to lie in the pool"};
    Check(library_use(in, 50) == program_use(in, 50), "both do the same");

    {
        SecureString s{in};
        library_append(s, " and longer, so that the string grows on the other side");
        program_append(s, " and longer, so that the string grows on this side again, twice as long as it was");
        SecureString t{library_make()};
        t += s;
        library_append(t, s.c_str());
        s = program_make();

        Check(library_manager() == program_manager(), "one manager");
        Check(LockedPoolManager::Instance().stats().used >= s.capacity() + t.capacity(), "what is used is in its pool");
    }

    const std::unique_ptr<LockedPool> pool{library_pool()};
    void* const chunk{pool->alloc(64)};
    Check(chunk && pool->stats().used == 64, "a pool from the other side works");
    pool->free(chunk);

    CheckThrown(library_free_badly);
    CheckThrown(program_free_badly);
    Check(LockedPoolManager::Instance().stats().used == 0, "nothing is left");
    return g_failures != 0;
}
