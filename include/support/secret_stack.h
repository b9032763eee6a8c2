// on_secret_stack: a function runs on a stack in locked memory and leaves nothing behind, over libbitcoin_support.
// Distributed under the MIT software license, see the accompanying file LICENSE.

#ifndef BITCOIN_SUPPORT_SECRET_STACK_H
#define BITCOIN_SUPPORT_SECRET_STACK_H

#include <bitcoin_support.h>

#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <variant>

namespace bitcoin_support {

/** A call on a secret stack: the function, and what it returns or throws. It lies on the ordinary stack. */
template <typename Function>
class SecretCall
{
    using Result = std::invoke_result_t<Function>;
    // A reference is kept as a pointer.
    using Kept = std::conditional_t<std::is_void_v<Result>, std::monostate,
                                    std::conditional_t<std::is_reference_v<Result>, std::remove_reference_t<Result>*, Result>>;

public:
    explicit SecretCall(Function& function_in) : function{function_in} {}

    /** Has one of the two C functions make the call, and returns what the function returns. */
    Result On(decltype(bitcoin_support_on_secret_stack)& on_stack, std::size_t size)
    {
        const bitcoin_support_status status{on_stack(&Run, this, size)};
        if (status == BITCOIN_SUPPORT_OUT_OF_MEMORY) throw std::bad_alloc();
        if (status != BITCOIN_SUPPORT_OK) throw std::runtime_error(bitcoin_support_status_message(status));
        if (exception) std::rethrow_exception(std::exchange(exception, nullptr));
        if constexpr (std::is_reference_v<Result>) {
            return static_cast<Result>(**result);
        } else if constexpr (!std::is_void_v<Result>) {
            return std::move(*result);
        }
    }

private:
    /** For the C function. No exception leaves it. */
    static void Run(void* call) noexcept { static_cast<SecretCall*>(call)->Call(); }

    void Call() noexcept
    {
        try {
            if constexpr (std::is_void_v<Result>) {
                std::forward<Function>(function)();
            } else if constexpr (std::is_reference_v<Result>) {
                auto&& referred{std::forward<Function>(function)()};
                result.emplace(std::addressof(referred));
            } else {
                result.emplace(std::forward<Function>(function)());
            }
        } catch (...) {
            exception = std::current_exception();
        }
    }

    Function& function;
    std::optional<Kept> result;
    std::exception_ptr exception;
};

} // namespace bitcoin_support

/** Calls a function on a secret stack of size bytes, 0 for the default (64 KiB), and returns what it returns.
 *  What it throws comes to the caller. The stack is wiped, and all registers are cleared that a function may
 *  change, also when the function throws: see bitcoin_support_on_secret_stack. What is returned passes over the
 *  ordinary stack, and an exception lies on the ordinary heap.
 *
 *  Throws std::bad_alloc when there is no memory for the stack, and std::runtime_error where there are no secret
 *  stacks. The function has not been called then. */
template <typename Function>
std::invoke_result_t<Function> on_secret_stack(Function&& function, std::size_t size = 0)
{
    return bitcoin_support::SecretCall<Function>{function}.On(bitcoin_support_on_secret_stack, size);
}

/** As on_secret_stack, but the stack is locked, and the call throws std::bad_alloc if it cannot be: see
 *  bitcoin_support_on_locked_secret_stack. */
template <typename Function>
std::invoke_result_t<Function> on_locked_secret_stack(Function&& function, std::size_t size = 0)
{
    return bitcoin_support::SecretCall<Function>{function}.On(bitcoin_support_on_locked_secret_stack, size);
}

#endif // BITCOIN_SUPPORT_SECRET_STACK_H
