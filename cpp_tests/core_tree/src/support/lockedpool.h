// The tree's own header, which this library's lockedpool.h replaces.

#ifndef BITCOIN_SUPPORT_LOCKEDPOOL_H
#define BITCOIN_SUPPORT_LOCKEDPOOL_H

#include <cstddef>

class LockedPoolManager
{
public:
    static LockedPoolManager& Instance();
    void* alloc(std::size_t size);
    void free(void* chunk);
};

#endif // BITCOIN_SUPPORT_LOCKEDPOOL_H
