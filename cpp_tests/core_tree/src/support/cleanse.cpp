// The tree's own code, which must not be compiled when the tree has been switched over.

#include <support/cleanse.h>

void memory_cleanse(void* ptr, std::size_t len)
{
    for (volatile char* byte{static_cast<char*>(ptr)}; len > 0; --len, ++byte) *byte = 0;
}
