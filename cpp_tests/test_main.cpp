// Boost.Test's runner, which all test programs share; the headers alone are enough for it.

#define BOOST_TEST_MODULE bitcoin_support
#include <boost/test/included/unit_test.hpp>
