/* Keeps a key in locked memory, says whether it is locked, and gives the memory back wiped. */

#include <bitcoin_support.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    unsigned char* key = bitcoin_support_alloc(32);
    FILE* source = fopen("/dev/urandom", "rb");
    if (source != NULL) setvbuf(source, NULL, _IONBF, 0); /* no copy of the key in a buffer */
    if (key == NULL || source == NULL || fread(key, 32, 1, source) != 1) {
        perror("cannot make a key");
        return 1;
    }
    fclose(source);

    bitcoin_support_locked_pool* pool = bitcoin_support_locked_pool_instance();
    bitcoin_support_locked_pool_stats stats;
    bitcoin_support_locked_pool_get_stats(pool, &stats, sizeof stats);
    if (stats.locked == stats.total) {
        printf("the key is locked into memory, like all %zu bytes of the pool\n", stats.locked);
    } else {
        printf("the key may be swapped to disk: %zu of %zu bytes are locked, the limit is %zu (%s)\n",
               stats.locked, stats.total, stats.last_lock_limit, strerror(stats.last_lock_error));
    }

    bitcoin_support_status status = bitcoin_support_free(key);
    printf("freeing it: %s\n", bitcoin_support_status_message(status));
    status = bitcoin_support_free(key);
    printf("freeing it again: %s\n", bitcoin_support_status_message(status));
    return 0;
}
