// Drop-in for Bitcoin Core's util/getuniquepath.h (22 to 25), over libbitcoin_support.
// Distributed under the MIT software license, see the accompanying file LICENSE.
//
// The function is inline, so Core's getuniquepath.cpp must not be compiled. It is a template, so that this
// header need not include Core's fs.h: Core's fs::path is whatever type the caller passes.

#ifndef BITCOIN_UTIL_GETUNIQUEPATH_H
#define BITCOIN_UTIL_GETUNIQUEPATH_H

#include <bitcoin_support.h>

#include <filesystem>
#include <stdexcept>
#include <type_traits>

/** Appends to base a name of 32 random hexadecimal digits, which has not been used before and cannot be
 *  guessed. Does not create the file; the caller should create it in a way that fails if it exists. Throws
 *  std::runtime_error when the system cannot supply random bytes.
 *
 *  Path is a class such as Core's fs::path: it can be made from a string, and / joins two of them. */
template <typename Path, typename = std::enable_if_t<std::is_class<typename Path::string_type>::value>>
inline Path GetUniquePath(const Path& base)
{
    char name[BITCOIN_SUPPORT_UNIQUE_NAME_SIZE];
    const bitcoin_support_status status{bitcoin_support_get_unique_name(name, sizeof(name))};
    if (status != BITCOIN_SUPPORT_OK) throw std::runtime_error(bitcoin_support_status_message(status));
    return base / Path(static_cast<const char*>(name));
}

/** The same for all that converts to std::filesystem::path. */
inline std::filesystem::path GetUniquePath(const std::filesystem::path& base)
{
    return GetUniquePath<std::filesystem::path>(base);
}

#endif // BITCOIN_UTIL_GETUNIQUEPATH_H
