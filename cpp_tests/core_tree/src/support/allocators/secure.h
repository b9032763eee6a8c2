// The tree's own header, which this library's secure.h replaces.

#ifndef BITCOIN_SUPPORT_ALLOCATORS_SECURE_H
#define BITCOIN_SUPPORT_ALLOCATORS_SECURE_H

#include <support/cleanse.h>
#include <support/lockedpool.h>

#include <string>

#endif // BITCOIN_SUPPORT_ALLOCATORS_SECURE_H
