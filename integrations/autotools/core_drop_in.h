// For trees that include Core's headers as "support/...": such a name is looked up in the folder of the file that
// includes it, before any folder of -I. core_drop_in.mk has the compiler read this file first. Core's own headers
// have the same include guards, so they are skipped afterwards.
// Distributed under the MIT software license, see the accompanying file LICENSE.

#ifdef __cplusplus
#include <support/allocators/secure.h>
#include <support/allocators/zeroafterfree.h>
#include <support/cleanse.h>
#include <support/lockedpool.h>
#endif
