/* Uses both static libraries, also in a thread that ends with chunks in its cache: 0 if both work. */

#include <bitcoin_support.h>

#include <pthread.h>
#include <string.h>

uint64_t other_sum(uint64_t end);

static void* allocate(void* failed)
{
    void* chunks[64];
    for (size_t i = 0; i < 64; ++i) {
        chunks[i] = bitcoin_support_alloc(32);
        if (!chunks[i]) return failed;
        memset(chunks[i], 1, 32);
    }
    for (size_t i = 0; i < 64; ++i) {
        if (bitcoin_support_free(chunks[i]) != BITCOIN_SUPPORT_OK) return failed;
    }
    return NULL;
}

int main(void)
{
    pthread_t thread;
    void* failed = &thread;
    if (allocate(failed)) return 1;
    if (other_sum(0) != 0 || other_sum(1000) != 499500) return 2;
    if (pthread_create(&thread, NULL, allocate, failed) || pthread_join(thread, &failed) || failed) return 3;
    if (bitcoin_support_free(&failed) != BITCOIN_SUPPORT_NOT_IN_POOL) return 4;
    return other_sum(0) == 0 ? 0 : 5;
}
