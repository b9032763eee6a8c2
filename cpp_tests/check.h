/* How the test programs in C check: what does not hold is printed and counted. */

#ifndef BITCOIN_SUPPORT_CPP_TESTS_CHECK_H
#define BITCOIN_SUPPORT_CPP_TESTS_CHECK_H

#include <stdio.h>

static int failures = 0;

#define CHECK(condition)                                                         \
    do {                                                                         \
        if (!(condition)) {                                                      \
            printf("%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
            ++failures;                                                          \
        }                                                                        \
    } while (0)

#endif
