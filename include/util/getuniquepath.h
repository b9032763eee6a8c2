// Drop-in for Bitcoin Core's util/getuniquepath.h (22 to 25), over libbitcoin_support.
// Distributed under the MIT software license, see the accompanying file LICENSE.
//
// Inline, so that Core's getuniquepath.cpp is not to be compiled beside it. Core's fs::path is whatever the caller
// has it be: this header includes no fs.h and names no fs.

#ifndef BITCOIN_UTIL_GETUNIQUEPATH_H
#define BITCOIN_UTIL_GETUNIQUEPATH_H

#include <bitcoin_support.h>

#include <filesystem>
#include <stdexcept>
#include <type_traits>

/** base with a name of 32 random hexadecimal digits appended, which nobody has chosen before and nobody
 *  can guess. Nothing is created: create it so that this fails if it exists. Throws std::runtime_error
 *  when the system has no random bytes to give.
 *
 *  Path is a class such as Core's fs::path: made from a string, joined by /. */
template <typename Path, typename = std::enable_if_t<std::is_class<typename Path::string_type>::value>>
inline Path GetUniquePath(const Path& base)
{
    char name[BITCOIN_SUPPORT_UNIQUE_NAME_SIZE];
    const bitcoin_support_status status{bitcoin_support_get_unique_name(name, sizeof(name))};
    if (status != BITCOIN_SUPPORT_OK) throw std::runtime_error(bitcoin_support_status_message(status));
    return base / Path(static_cast<const char*>(name));
}

/** The same for what the standard library takes for a path. */
inline std::filesystem::path GetUniquePath(const std::filesystem::path& base)
{
    return GetUniquePath<std::filesystem::path>(base);
}

#endif // BITCOIN_UTIL_GETUNIQUEPATH_H
