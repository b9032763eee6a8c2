// Drop-in for Bitcoin Core's util/getuniquepath.h (22 to 26), over libbitcoin_support.
// Distributed under the MIT software license, see the accompanying file LICENSE.
//
// Inline, so that Core's getuniquepath.cpp is not to be compiled beside it.

#ifndef BITCOIN_UTIL_GETUNIQUEPATH_H
#define BITCOIN_UTIL_GETUNIQUEPATH_H

#include <bitcoin_support.h>

#include <stdexcept>

// Core's namespace fs; outside of Core's tree, the standard library's.
#if __has_include(<util/fs.h>)
#include <util/fs.h>
#elif __has_include(<fs.h>)
#include <fs.h>
#else
#include <filesystem>
namespace fs = std::filesystem;
#endif

/** base with a name of 32 random hexadecimal digits appended, which nobody has chosen before and nobody
 *  can guess. Nothing is created: create it so that this fails if it exists. Throws std::runtime_error
 *  when the system has no random bytes to give. */
inline fs::path GetUniquePath(const fs::path& base)
{
    char name[BITCOIN_SUPPORT_UNIQUE_NAME_SIZE];
    const bitcoin_support_status status{bitcoin_support_get_unique_name(name, sizeof(name))};
    if (status != BITCOIN_SUPPORT_OK) throw std::runtime_error(bitcoin_support_status_message(status));
    return base / fs::path(static_cast<const char*>(name));
}

#endif // BITCOIN_UTIL_GETUNIQUEPATH_H
