// The tree's own code, which must not be compiled when the tree has been switched over.

#include <support/lockedpool.h>

#include <cstdlib>

LockedPoolManager& LockedPoolManager::Instance()
{
    static LockedPoolManager instance;
    return instance;
}

void* LockedPoolManager::alloc(std::size_t size) { return std::malloc(size); }

void LockedPoolManager::free(void* chunk) { std::free(chunk); }
