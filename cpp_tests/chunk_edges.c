/* Touches a chunk of the process-wide pool as the argument says: "inside" it, the byte "behind" it, the one
 * "before" it, or one of it when it has been "freed". Ends as if all were well, unless somebody looks:
 * AddressSanitizer or valgrind, with a library built with the feature of that name.
 */

#include <bitcoin_support.h>

#include <stdio.h>
#include <string.h>

int main(int argc, char** argv)
{
    static const size_t sizes[] = {32, 27, 4096, 5000};
    bitcoin_support_locked_pool* const pool = bitcoin_support_locked_pool_instance();
    const char* const where = argc > 1 ? argv[1] : "inside";
    const size_t size = argc > 2 ? sizes[(argv[2][0] - '0') % 4] : sizes[0];
    /* With neighbours in use: theirs is not ours. */
    unsigned char* chunks[3];
    size_t i;
    for (i = 0; i < 3; ++i) {
        chunks[i] = bitcoin_support_locked_pool_alloc(pool, size);
        if (chunks[i] == NULL) return 1;
        memset(chunks[i], 1, size);
    }
    if (strcmp(where, "behind") == 0) {
        ((volatile unsigned char*)chunks[1])[size] = 1;
    } else if (strcmp(where, "before") == 0) {
        ((volatile unsigned char*)chunks[1])[-1] = 1;
    } else if (strcmp(where, "freed") == 0) {
        if (bitcoin_support_locked_pool_free(pool, chunks[1]) != BITCOIN_SUPPORT_OK) return 1;
        ((volatile unsigned char*)chunks[1])[size / 2] = 1;
    } else {
        ((volatile unsigned char*)chunks[1])[size - 1] = 1;
    }
    printf("%s a chunk of %zu bytes: nobody has seen it\n", where, size);
    return 0;
}
