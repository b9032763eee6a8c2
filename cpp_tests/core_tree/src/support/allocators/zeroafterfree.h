// The tree's own header, which this library's zeroafterfree.h replaces.

#ifndef BITCOIN_SUPPORT_ALLOCATORS_ZEROAFTERFREE_H
#define BITCOIN_SUPPORT_ALLOCATORS_ZEROAFTERFREE_H

#include <support/cleanse.h>

#endif // BITCOIN_SUPPORT_ALLOCATORS_ZEROAFTERFREE_H
