// Drop-in for Bitcoin Core's support/cleanse.h, over libbitcoin_support.
// Distributed under the MIT software license, see the accompanying file LICENSE.

#ifndef BITCOIN_SUPPORT_CLEANSE_H
#define BITCOIN_SUPPORT_CLEANSE_H

#include <cstdlib>

/** Overwrites len bytes at ptr with zeros. The compiler does not remove it, even if it can prove that the
 *  bytes are not read afterwards. Has C linkage, unlike Core's. */
extern "C" void memory_cleanse(void* ptr, size_t len);

#endif // BITCOIN_SUPPORT_CLEANSE_H
