// The functions of both sides in two_copies_test.cmake.

#ifndef BITCOIN_SUPPORT_CPP_TESTS_TWO_COPIES_H
#define BITCOIN_SUPPORT_CPP_TESTS_TWO_COPIES_H

#include <support/allocators/secure.h>
#include <support/lockedpool.h>

#include <memory>

#define TWO_COPIES_SIDE(side)                                                                       \
    /** Makes and frees strings, vectors, keys, pools and arenas. Returns their number of bytes. */ \
    size_t side##_use(const char* in, int n);                                                       \
    void side##_append(SecureString& s, const char* more);                                          \
    SecureString side##_make();                                                                     \
    std::unique_ptr<LockedPool> side##_pool();                                                      \
    /** Throws std::runtime_error. */                                                               \
    void side##_free_badly();                                                                       \
    LockedPoolManager* side##_manager()

TWO_COPIES_SIDE(library);
TWO_COPIES_SIDE(program);

#endif // BITCOIN_SUPPORT_CPP_TESTS_TWO_COPIES_H
