#include <support/allocators/secure.h>
#include <support/lockedpool.h>

#include <cstddef>
#include <iostream>

std::size_t LengthOfSecret();

// Holds a secret until its input ends.
int main()
{
    const auto secret{make_secure_unique<int>(7)};
    std::cout << LengthOfSecret() + LockedPoolManager::Instance().stats().used << std::endl;
    std::cin.get();
}
