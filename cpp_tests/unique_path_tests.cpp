// GetUniquePath: the base and a name that is new each time.

#include <util/getuniquepath.h>

#include <boost/test/unit_test.hpp>

#include <set>
#include <string>

BOOST_AUTO_TEST_SUITE(unique_path)

BOOST_AUTO_TEST_CASE(is_the_base_and_a_random_name)
{
    std::set<std::string> names;
    for (const char* const base : {"", "relative", "/tmp", "/tmp/a/b"}) {
        for (int i{0}; i < 100; ++i) {
            const fs::path path{GetUniquePath(base)};
            BOOST_CHECK_EQUAL(path.parent_path().string(), base);
            const std::string name{path.filename().string()};
            BOOST_CHECK_EQUAL(name.size(), 32U);
            BOOST_CHECK_EQUAL(name.find_first_not_of("0123456789abcdef"), std::string::npos);
            BOOST_CHECK(names.insert(name).second);
            BOOST_CHECK(!fs::exists(path));
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
