// GetUniquePath returns the base with a name that is new each time.

#include <util/getuniquepath.h>

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <set>
#include <string>
#include <type_traits>
#include <utility>

namespace {
// The class that Core's trees call fs: from 23 on a class over the standard library's, with its own
// operators...
namespace core_23 {
class path : public std::filesystem::path
{
public:
    using std::filesystem::path::path;
    path(std::filesystem::path other) : std::filesystem::path(std::move(other)) {}
    path(const std::string&) = delete;
};
path operator/(path p1, path p2)
{
    p1 /= static_cast<const std::filesystem::path&>(p2);
    return p1;
}
} // namespace core_23

// ...and up to 22 Boost's class, which the standard library does not know.
namespace core_22 {
class path
{
public:
    using string_type = std::string;
    path(const char* name) : m_name(name) {}
    path(const std::string& name) : m_name(name) {}
    const std::string& string() const { return m_name; }
    friend path operator/(const path& a, const path& b) { return {a.m_name + "/" + b.m_name}; }

private:
    std::string m_name;
};
} // namespace core_22

template <typename Path>
void CheckUnique(const Path& base)
{
    const Path first{GetUniquePath(base)};
    const Path second{GetUniquePath(base)};
    static_assert(std::is_same<decltype(GetUniquePath(base)), Path>::value, "the caller's own class");
    const std::string beginning{first.string().substr(0, 5)};
    BOOST_CHECK(beginning == "/tmp/" || beginning == std::string{"/tmp"} + static_cast<char>(std::filesystem::path::preferred_separator));
    BOOST_CHECK_EQUAL(first.string().size(), 5U + 32U);
    BOOST_CHECK(first.string() != second.string());
}
} // namespace

BOOST_AUTO_TEST_SUITE(unique_path)

BOOST_AUTO_TEST_CASE(is_of_the_class_that_it_is_asked_with)
{
    CheckUnique(core_22::path{"/tmp"});
    CheckUnique(core_23::path{"/tmp"});
    CheckUnique(std::filesystem::path{"/tmp"});
}

BOOST_AUTO_TEST_CASE(is_the_base_and_a_random_name)
{
    std::set<std::string> names;
    for (const char* const base : {"", "relative", "/tmp", "/tmp/a/b"}) {
        for (int i{0}; i < 100; ++i) {
            const std::filesystem::path path{GetUniquePath(base)};
            BOOST_CHECK_EQUAL(path.parent_path().string(), base);
            const std::string name{path.filename().string()};
            BOOST_CHECK_EQUAL(name.size(), 32U);
            BOOST_CHECK_EQUAL(name.find_first_not_of("0123456789abcdef"), std::string::npos);
            BOOST_CHECK(names.insert(name).second);
            BOOST_CHECK(!std::filesystem::exists(path));
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
