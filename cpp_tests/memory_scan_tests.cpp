// What is left of a secret in the whole memory of the process once its C++ object is gone: nothing, for
// the types of this library; something, for the standard ones used in the same way, which shows that the
// scan would find it.

#include "test_util.h"

#include <support/allocators/secure.h>
#include <support/allocators/zeroafterfree.h>

#include <boost/test/unit_test.hpp>

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

/** Random bytes that are nowhere in memory as they are: only masked, and byte by byte. */
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

    /** How often the needle is in the readable memory of this process. */
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
            // Not the first bytes: a heap writes its links there when it takes a chunk back.
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

/** Fills a string, makes it grow, copies it on purpose, and lets both go. */
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

/** Several, so that what the scan itself allocates does not cover all that an ordinary heap leaves. */
template <typename Make>
int LeftBehindByPointer(Make make)
{
    const Needle needle;
    {
        std::array<decltype(make()), 8> secrets;
        for (auto& secret : secrets) {
            secret = make();
            for (size_t i{0}; i < LENGTH; ++i) secret->bytes[i] = needle.At(i);
            // The optimizer must not take an object for one that nobody looks at.
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

} // namespace

BOOST_AUTO_TEST_SUITE(memory_scan)

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
