// Scans the whole memory of the process for a secret after its C++ object is gone. The types of this library
// leave nothing. The standard types, used in the same way, leave something, which shows that the scan works.

#include "test_util.h"

#include <support/allocators/sealed.h>
#include <support/allocators/secure.h>
#include <support/allocators/zeroafterfree.h>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr size_t LENGTH{48};

/** Random bytes that are nowhere in memory in clear: only masked, and byte by byte. */
class Needle
{
public:
    Needle()
    {
        std::random_device random;
        for (size_t i{0}; i < LENGTH; ++i) {
            mask[i] = static_cast<unsigned char>(random());
            masked[i] = static_cast<unsigned char>(random());
        }
    }

    unsigned char At(size_t i) const { return mask[i] ^ masked[i]; }

    /** The number of places in this process's readable memory that have the needle. */
    int Count() const
    {
        int count{0};
        std::ifstream maps{"/proc/self/maps"};
        for (std::string line; std::getline(maps, line);) {
            unsigned long begin, end;
            char read;
            if (std::sscanf(line.c_str(), "%lx-%lx %c", &begin, &end, &read) != 3 || read != 'r') continue;
            if (line.find("[v") != std::string::npos) continue; // the kernel's own
            count += CountIn(reinterpret_cast<const volatile unsigned char*>(begin), end - begin);
        }
        return count;
    }

private:
    std::array<unsigned char, LENGTH> mask, masked;

    __attribute__((no_sanitize("address"))) int CountIn(const volatile unsigned char* memory, size_t size) const
    {
        int count{0};
        for (size_t at{0}; at + LENGTH <= size; ++at) {
            // Skips the first bytes, where a heap writes its links when it takes a block back.
            size_t i{24};
            while (i < LENGTH && (memory[at + i] ^ mask[i]) == masked[i]) ++i;
            if (i == LENGTH) ++count;
        }
        return count;
    }
};

struct Secret {
    std::array<unsigned char, LENGTH> bytes;
    int more;
};

/** Fills a string, makes it grow, copies it on purpose, and destroys both. */
template <typename String>
int LeftBehindByString()
{
    const Needle needle;
    {
        String secret;
        for (size_t i{0}; i < LENGTH; ++i) secret.push_back(static_cast<char>(needle.At(i)));
        BOOST_CHECK_GE(needle.Count(), 1); // it is there as long as it is needed
        const String copy{secret};
        secret.append(1000, 'x');
        BOOST_CHECK_GE(needle.Count(), 2);
    }
    return needle.Count();
}

/** Uses several objects, so that the scan's own allocations do not overwrite all that an ordinary heap
 *  leaves. */
template <typename Make>
int LeftBehindByPointer(Make make)
{
    const Needle needle;
    {
        std::array<decltype(make()), 8> secrets;
        for (auto& secret : secrets) {
            secret = make();
            for (size_t i{0}; i < LENGTH; ++i) secret->bytes[i] = needle.At(i);
            // Makes the optimizer believe that the object is used.
            __asm__ volatile(""
                             :
                             : "r"(secret.get())
                             : "memory");
        }
        BOOST_CHECK_GE(needle.Count(), 8);
    }
    return needle.Count();
}

template <typename Bytes>
int LeftBehindByVector()
{
    const Needle needle;
    {
        Bytes secret;
        for (size_t i{0}; i < LENGTH; ++i) secret.push_back(static_cast<typename Bytes::value_type>(needle.At(i)));
        secret.resize(5000);
        BOOST_CHECK_GE(needle.Count(), 1);
    }
    return needle.Count();
}

/** The largest number of consecutive characters of a secret in a string object itself: while it grows to
 *  LENGTH characters, at the end, and after its destruction. */
struct InObject {
    size_t while_growing{0}, in_the_end{0}, afterwards{0};
};

template <typename Make>
InObject LeftInObject(Make make)
{
    const Needle needle;
    alignas(SecureString) unsigned char place[sizeof(SecureString)]{};
    const auto longest{[&] {
        __asm__ volatile(""
                         :
                         : "r"(place)
                         : "memory");
        size_t most{0};
        for (size_t at{0}; at < sizeof(place); ++at) {
            for (size_t first{0}; first < LENGTH; ++first) {
                size_t n{0};
                while (at + n < sizeof(place) && first + n < LENGTH && place[at + n] == needle.At(first + n)) ++n;
                most = std::max(most, n);
            }
        }
        return most;
    }};
    InObject found;
    SecureString* const secret{new (place) SecureString(make())};
    for (size_t i{0}; i < LENGTH; ++i) {
        secret->push_back(static_cast<char>(needle.At(i)));
        found.while_growing = std::max(found.while_growing, longest());
    }
    found.in_the_end = longest();
    std::destroy_at(secret);
    found.afterwards = longest();
    return found;
}

/** This many consecutive bytes may equal bytes of the object's pointer and sizes by chance. */
constexpr size_t BY_CHANCE{2};

} // namespace

BOOST_AUTO_TEST_SUITE(memory_scan)

BOOST_AUTO_TEST_CASE(secure_string_made_to_grow)
{
    const auto found{LeftInObject([] { return make_secure_string(); })};
    BOOST_CHECK_LE(found.while_growing, BY_CHANCE);
    BOOST_CHECK_LE(found.afterwards, BY_CHANCE);
    BOOST_CHECK_GE(make_secure_string(1000).capacity(), 1000U);
    SecureString cleared{make_secure_string()};
    const char* const buffer{cleared.data()};
    cleared = "short";
    cleared.clear();
    const SecureString moved{std::move(cleared)};
    BOOST_CHECK_EQUAL(static_cast<const void*>(moved.data()), static_cast<const void*>(buffer));
}

BOOST_AUTO_TEST_CASE(control_secure_string_that_was_short)
{
    // The characters that docs/threat-model.md says are left: of 15, those that the capacity does not take the place of.
    constexpr size_t left{15 - sizeof(size_t)};
    const auto found{LeftInObject([] { return SecureString{}; })};
    BOOST_CHECK_GE(found.while_growing, left);
#if defined(_GLIBCXX_USE_CXX11_ABI) && _GLIBCXX_USE_CXX11_ABI
    BOOST_CHECK_EQUAL(found.in_the_end, left);
    BOOST_CHECK_EQUAL(found.afterwards, left);
#elif defined(_LIBCPP_VERSION)
    BOOST_CHECK_LE(found.in_the_end, BY_CHANCE);
#endif
}

BOOST_AUTO_TEST_CASE(secure_string)
{
    if (test::SANITIZED) SKIP_TEST("AddressSanitizer maps more memory than can be read through");
    BOOST_CHECK_EQUAL(LeftBehindByString<SecureString>(), 0);
}

BOOST_AUTO_TEST_CASE(control_string)
{
    if (test::SANITIZED) SKIP_TEST("AddressSanitizer maps more memory than can be read through");
    BOOST_CHECK_GE(LeftBehindByString<std::string>(), 1);
}

BOOST_AUTO_TEST_CASE(secure_unique_pointer)
{
    if (test::SANITIZED) SKIP_TEST("AddressSanitizer maps more memory than can be read through");
    BOOST_CHECK_EQUAL(LeftBehindByPointer([] { return make_secure_unique<Secret>(); }), 0);
}

BOOST_AUTO_TEST_CASE(control_unique_pointer)
{
    if (test::SANITIZED) SKIP_TEST("AddressSanitizer maps more memory than can be read through");
    BOOST_CHECK_GE(LeftBehindByPointer([] { return std::make_unique<Secret>(); }), 1);
}

BOOST_AUTO_TEST_CASE(sealed_objects)
{
    if (test::SANITIZED) SKIP_TEST("AddressSanitizer maps more memory than can be read through");
    const Needle needle;
    auto secret{make_secure_unique<Secret>()};
    for (size_t i{0}; i < LENGTH; ++i) secret->bytes[i] = needle.At(i);
    // The control: the search finds the object before it is sealed, and whenever it is open.
    BOOST_CHECK_EQUAL(needle.Count(), 1);
    secure_sealed<Secret> sealed{*secret};
    secret.reset();
    BOOST_CHECK_EQUAL(needle.Count(), 0);
    secret = sealed.open();
    BOOST_CHECK_EQUAL(needle.Count(), 1);
    secret.reset();
    BOOST_CHECK_EQUAL(needle.Count(), 0);
    sealed.change([&](Secret& open) {
        BOOST_CHECK_EQUAL(needle.Count(), 1);
        open.more = 7;
    });
    secure_sealed<Secret>::rotate_sealing_key();
    sealed.reseal();
    BOOST_CHECK_EQUAL(needle.Count(), 0);
    BOOST_CHECK_EQUAL(sealed.open()->more, 7);
}

BOOST_AUTO_TEST_CASE(serialize_data)
{
    if (test::SANITIZED) SKIP_TEST("AddressSanitizer maps more memory than can be read through");
    BOOST_CHECK_EQUAL(LeftBehindByVector<SerializeData>(), 0);
}

BOOST_AUTO_TEST_CASE(control_vector)
{
    if (test::SANITIZED) SKIP_TEST("AddressSanitizer maps more memory than can be read through");
    BOOST_CHECK_GE(LeftBehindByVector<std::vector<std::byte>>(), 1);
}

BOOST_AUTO_TEST_SUITE_END()
