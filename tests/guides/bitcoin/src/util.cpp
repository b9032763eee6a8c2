#include <support/allocators/secure.h>

#include <cstddef>

// The secret is made here, so that the library is linked into this one too.
std::size_t LengthOfSecret()
{
    const SecureString secret{"a passphrase that is too long to lie in the string"};
    return secret.size();
}
