// Boost.Test's runner, which all test programs share. It needs only Boost's headers.

#define BOOST_TEST_MODULE bitcoin_support
#include <boost/test/included/unit_test.hpp>
