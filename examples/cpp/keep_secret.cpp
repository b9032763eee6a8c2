// Keeps a key and a passphrase in locked memory, says whether they are locked, and wipes them.

#include <support/allocators/secure.h>
#include <support/lockedpool.h>

#include <array>
#include <cstring>
#include <iostream>
#include <sys/random.h>
#include <unistd.h>

using Key = std::array<unsigned char, 32>;

int main()
{
    secure_unique_ptr<Key> key{make_secure_unique<Key>()};
    if (getentropy(key->data(), key->size()) != 0) return 1;
    const SecureString passphrase{"a passphrase too long to live inside the string object"};

    const auto stats{LockedPoolManager::Instance().details()};
    if (stats.locked == stats.total) {
        std::cout << stats.chunks_used << " secrets are locked into memory\n";
    } else {
        std::cout << "secrets may be swapped to disk: " << stats.locked << " of " << stats.total << " bytes are locked, the limit is "
                  << stats.last_lock_limit << " (" << std::strerror(stats.last_lock_error) << ")\n";
    }

    key.reset(); // wiped and freed; passphrase follows at the end of its scope
    std::cout << LockedPoolManager::Instance().stats().chunks_used << " left\n";
}
