// A program that keeps a secret, and says whose headers it was compiled with.

#include <support/allocators/secure.h>
#include <support/allocators/zeroafterfree.h>

#include <cstddef>
#include <cstdio>
#include <cstring>

void Wipe(char* secret, std::size_t length);

int main()
{
    LockedPoolManager& pool{LockedPoolManager::Instance()};
    char* const secret{static_cast<char*>(pool.alloc(32))};
    if (!secret) return 1;
    std::strcpy(secret, "secret");
    Wipe(secret, 32);
    const bool wiped{secret[0] == 0 && secret[5] == 0};
    pool.free(secret);
#ifdef BITCOIN_SUPPORT_ABI
    std::puts("compiled with bitcoin-support");
#else
    std::puts("compiled with its own headers");
#endif
    return wiped ? 0 : 1;
}
