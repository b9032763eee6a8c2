// Code that wipes.

#include <support/cleanse.h>

#include <cstddef>

void Wipe(char* secret, std::size_t length);

void Wipe(char* secret, std::size_t length) { memory_cleanse(secret, length); }
