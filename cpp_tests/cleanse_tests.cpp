// memory_cleanse zeroes exactly the bytes of its range, at every length and alignment. (cleanse_elision.cpp
// tests that the optimizer keeps it.)

#include "test_util.h"

#include <support/cleanse.h>

#include <boost/test/unit_test.hpp>

using namespace test;

BOOST_AUTO_TEST_SUITE(cleanse)

BOOST_AUTO_TEST_CASE(every_length_and_alignment)
{
    constexpr size_t LONGEST{4096};
    constexpr size_t MARGIN{64};
    alignas(64) static unsigned char buffer[MARGIN + 64 + LONGEST + MARGIN];
    const std::vector<size_t> offsets{UnderValgrind() ? std::vector<size_t>{0, 7} : std::vector<size_t>{0, 1, 2, 3, 7, 8, 15, 16, 31, 33, 63}};
    for (const size_t offset : offsets) {
        unsigned char* const start{buffer + MARGIN + offset};
        for (size_t length{0}; length <= LONGEST; length += UnderValgrind() ? 61 : 1) {
            std::memset(buffer, 0xa5, sizeof(buffer));
            memory_cleanse(start, length);
            const bool zeroed{AllBytesAre(start, length, 0)};
            const bool rest_untouched{AllBytesAre(buffer, MARGIN + offset, 0xa5) &&
                                      AllBytesAre(start + length, sizeof(buffer) - MARGIN - offset - length, 0xa5)};
            if (!zeroed || !rest_untouched) BOOST_FAIL("length " << length << " at offset " << offset);
        }
    }
}

BOOST_AUTO_TEST_CASE(nothing_at_nowhere)
{
    memory_cleanse(nullptr, 0);
    memory_cleanse(Address(SYNTHETIC_BASE), 0);
    BOOST_CHECK(true);
}

BOOST_AUTO_TEST_CASE(a_megabyte_between_guards)
{
    std::vector<unsigned char> buffer((1 << 20) + 2, 0xa5);
    memory_cleanse(buffer.data() + 1, 1 << 20);
    BOOST_CHECK(AllBytesAre(buffer.data() + 1, 1 << 20, 0));
    BOOST_CHECK(buffer.front() == 0xa5 && buffer.back() == 0xa5);
}

BOOST_AUTO_TEST_SUITE_END()
