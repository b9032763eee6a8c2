// Drop-in for Bitcoin Core's support/cleanse.h, over libbitcoin_support.
// Distributed under the MIT software license, see the accompanying file LICENSE.

#ifndef BITCOIN_SUPPORT_CLEANSE_H
#define BITCOIN_SUPPORT_CLEANSE_H

// Declares memory_cleanse, with C linkage, unlike Core's. A second declaration here would be a redundant one, of
// which the compiler warns in Core trees.
#include <bitcoin_support.h>

#include <cstdlib>

#endif // BITCOIN_SUPPORT_CLEANSE_H
