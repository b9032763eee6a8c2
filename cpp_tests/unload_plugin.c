/* A plugin of a program, for unload_tests.c. It uses the pool of the library with which it is linked. */

#include <bitcoin_support.h>

#include <string.h>

#ifdef UNLOADABLE
/* Replaces the C library's function for the code in this object, which then cannot find the object that
 * contains it. */
#include <dlfcn.h>
__attribute__((visibility("hidden"))) int dladdr(const void* address, Dl_info* info)
{
    (void)address;
    (void)info;
    return 0;
}
#endif

void* keep(const char* secret);
void* keep(const char* secret)
{
    bitcoin_support_locked_pool* pool = bitcoin_support_locked_pool_instance();
    char* chunk = bitcoin_support_locked_pool_alloc(pool, 32);
    const size_t size = strlen(secret);
    if (chunk) memcpy(chunk, secret, size < 32 ? size : 32);
    return chunk;
}

int drop(void* chunk);
int drop(void* chunk)
{
    return (int)bitcoin_support_locked_pool_free(bitcoin_support_locked_pool_instance(), chunk);
}
