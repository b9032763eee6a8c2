/* Touches a chunk of the process-wide pool as the argument says: a byte "inside" it, the byte "behind" it,
 * the byte "before" it, or a byte of it after it was "freed". Ends as if nothing were wrong, unless
 * AddressSanitizer or valgrind reports the access, which needs a library that is built with the feature of
 * that name. */

#include <bitcoin_support.h>

#include <stdio.h>
#include <string.h>

int main(int argc, char** argv)
{
    static const size_t sizes[] = {32, 27, 4096, 5000};
    bitcoin_support_locked_pool* const pool = bitcoin_support_locked_pool_instance();
    const char* const where = argc > 1 ? argv[1] : "inside";
    const size_t size = argc > 2 ? sizes[(argv[2][0] - '0') % 4] : sizes[0];
    /* Neighbours are in use, so that a touched edge belongs to the middle chunk. */
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
    printf("%s a chunk of %zu bytes: nothing was reported\n", where, size);
    return 0;
}
