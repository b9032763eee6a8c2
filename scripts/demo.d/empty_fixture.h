// Stands in for the fixture of allocator_tests.cpp in trees before release 22, and in Zcash, which starts a node. These
// are the include guards of the headers that it comes from. The tests rely on them to include these two.

#ifdef __cplusplus
#define BITCOIN_TEST_UTIL_SETUP_COMMON_H
#define BITCOIN_TEST_TEST_BITCOIN_H

#include <support/allocators/secure.h>
#include <support/lockedpool.h>

struct BasicTestingSetup {
};
#endif
