// Functions on a secret stack: what they return and throw comes back, and their stack is zeros afterwards.
// secret_stack_proof.cpp searches a whole process.

#include <support/secret_stack.h>

#include "test_util.h"

#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t SIZE{64};

/** Leaves a mark on the stack, and returns its address. */
__attribute__((noinline)) uintptr_t LeaveMark()
{
    volatile unsigned char mark[SIZE];
    for (auto& byte : mark) byte = 0xa5;
    // Compilers warn of such an address, if they see that it is one.
    volatile unsigned char* volatile place{mark};
    return reinterpret_cast<uintptr_t>(place);
}

/** Whether the place of the mark has zeros, or is gone. */
bool IsWiped(uintptr_t address) { return test::AreWiped(test::Address(address), SIZE); }

/** Whether this processor has secret stacks. */
bool Available()
{
    return bitcoin_support_on_secret_stack([](void*) {}, nullptr, 0) != BITCOIN_SUPPORT_NOT_AVAILABLE;
}

#define SKIP_UNLESS_AVAILABLE() \
    if (!Available()) SKIP_TEST("no secret stacks on this processor")

} // namespace

BOOST_AUTO_TEST_SUITE(secret_stack)

BOOST_AUTO_TEST_CASE(results_come_back)
{
    SKIP_UNLESS_AVAILABLE();
    BOOST_CHECK_EQUAL(on_secret_stack([] { return 6 * 7; }), 42);
    BOOST_CHECK_EQUAL(on_secret_stack([] { return std::string(100, 'a'); }), std::string(100, 'a'));
    // What can only be moved, a reference, and nothing.
    const std::unique_ptr<int> moved{on_secret_stack([] { return std::make_unique<int>(7); })};
    BOOST_CHECK_EQUAL(*moved, 7);
    int number{1};
    int& same{on_secret_stack([&]() -> int& { return number; })};
    BOOST_CHECK_EQUAL(&same, &number);
    on_secret_stack([&] { number = 2; });
    BOOST_CHECK_EQUAL(number, 2);
    // A function object that is called as what it was given as.
    struct Once {
        int operator()() && { return 1; }
        int operator()() & { return 2; }
    } once;
    BOOST_CHECK_EQUAL(on_secret_stack(Once{}), 1);
    BOOST_CHECK_EQUAL(on_secret_stack(once), 2);
}

BOOST_AUTO_TEST_CASE(the_stack_is_wiped)
{
    SKIP_UNLESS_AVAILABLE();
    const uintptr_t address{on_secret_stack(LeaveMark)};
    BOOST_CHECK(IsWiped(address));
}

BOOST_AUTO_TEST_CASE(control_this_stack_is_not_wiped)
{
    BOOST_CHECK(!IsWiped(LeaveMark()));
}

BOOST_AUTO_TEST_CASE(exceptions_come_back_and_the_stack_is_wiped)
{
    SKIP_UNLESS_AVAILABLE();
    uintptr_t address{0};
    const auto throws{[&]() -> int {
        address = LeaveMark();
        throw std::runtime_error("on the way");
    }};
    for (int i{0}; i < 3; ++i) {
        BOOST_CHECK_EXCEPTION(on_secret_stack(throws), std::runtime_error,
                              [](const std::runtime_error& error) { return std::string{error.what()} == "on the way"; });
        BOOST_CHECK(IsWiped(address));
    }
    BOOST_CHECK_THROW(on_secret_stack([] { throw 7; }), int);
    // One that is caught within.
    BOOST_CHECK_EQUAL(on_secret_stack([] {
                          try {
                              throw std::runtime_error("within");
                          } catch (const std::exception&) {
                              return 1;
                          }
                      }),
                      1);
    // Through two secret stacks.
    BOOST_CHECK_THROW(on_secret_stack([&] { on_secret_stack(throws); }), std::runtime_error);
}

BOOST_AUTO_TEST_CASE(sizes)
{
    SKIP_UNLESS_AVAILABLE();
    BOOST_CHECK_EQUAL(on_secret_stack([] { return 1; }, size_t{1} << 20), 1);
    bool called{false};
    BOOST_CHECK_THROW(on_secret_stack([&] { called = true; }, SIZE_MAX), std::bad_alloc);
    BOOST_CHECK(!called);
}

BOOST_AUTO_TEST_CASE(locked_or_not_called)
{
    SKIP_UNLESS_AVAILABLE();
    bool called{false};
    try {
        BOOST_CHECK(on_locked_secret_stack([&] {
            called = true;
            return bitcoin_support_secret_stack_is_locked();
        }));
    } catch (const std::bad_alloc&) {
        BOOST_CHECK(!called);
    }
    BOOST_CHECK(!bitcoin_support_secret_stack_is_locked());
}

BOOST_AUTO_TEST_CASE(many_threads)
{
    SKIP_UNLESS_AVAILABLE();
    std::vector<std::thread> threads;
    std::vector<int> wiped(4);
    for (size_t number{0}; number < wiped.size(); ++number) {
        threads.emplace_back([&, number] {
            for (int i{0}; i < 100; ++i) wiped[number] += IsWiped(on_secret_stack(LeaveMark));
        });
    }
    for (auto& thread : threads) thread.join();
    for (const int count : wiped) BOOST_CHECK_EQUAL(count, 100);
}

BOOST_AUTO_TEST_SUITE_END()
