// The tree's own header, which this library's cleanse.h replaces.

#ifndef BITCOIN_SUPPORT_CLEANSE_H
#define BITCOIN_SUPPORT_CLEANSE_H

#include <cstddef>

void memory_cleanse(void* ptr, std::size_t len);

#endif // BITCOIN_SUPPORT_CLEANSE_H
