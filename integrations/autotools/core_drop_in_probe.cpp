// Compiled and linked by core_drop_in.mk the way Core is going to be.
// Distributed under the MIT software license, see the accompanying file LICENSE.

#include <support/allocators/secure.h>
#include <support/allocators/zeroafterfree.h>
#include <support/cleanse.h>
#include <support/lockedpool.h>

int main()
{
    SecureString secret{"secret"};
    memory_cleanse(secret.data(), secret.size());
    return LockedPoolManager::Instance().stats().used == 0;
}
