/* Calls of other libraries for secrets, and what stands for them here: docs/coming-from.md quotes these functions. */

#include <bitcoin_support.h>

#include <stdio.h>
#include <string.h>

static int libsodium(void)
{
    unsigned char* key = bitcoin_support_alloc(32); /* sodium_malloc(32) */
    if (key == NULL) return 1;
    memset(key, 7, 32);
    memory_cleanse(key, 32);                                       /* sodium_memzero(key, 32) */
    if (bitcoin_support_free(key) != BITCOIN_SUPPORT_OK) return 1; /* sodium_free(key) */

    unsigned char* closed = bitcoin_support_closed_alloc(32); /* sodium_malloc(32), sodium_mprotect_noaccess(closed) */
    if (closed == NULL) return 1;
    int status = bitcoin_support_closed_open(closed, true); /* sodium_mprotect_readwrite(closed) */
    if (status == BITCOIN_SUPPORT_OK) {
        memset(closed, 7, 32);
        status = bitcoin_support_closed_close(closed, true); /* sodium_mprotect_noaccess(closed) */
    }
    if (status == BITCOIN_SUPPORT_OK) status = bitcoin_support_closed_open(closed, false); /* sodium_mprotect_readonly(closed) */
    if (status == BITCOIN_SUPPORT_OK) {
        printf("the key begins with %d\n", closed[0]);
        status = bitcoin_support_closed_close(closed, false);
    }
    if (bitcoin_support_closed_free(closed) != BITCOIN_SUPPORT_OK) return 1; /* sodium_free(closed) */
    return status;
}

/* Refuses memory that cannot be locked: the allocation fails. */
static bool refuse_unlocked(void* context, int error, size_t limit)
{
    (void)context;
    fprintf(stderr, "memory cannot be locked: %s\n", bitcoin_support_lock_remedy(error, limit));
    return false;
}

static int openssl(void)
{
    bitcoin_support_locked_pool* pool = bitcoin_support_locked_pool_instance(); /* CRYPTO_secure_malloc_init is not needed */
    bitcoin_support_locked_pool_set_locking_failed(pool, refuse_unlocked, NULL);

    unsigned char* key = bitcoin_support_alloc(32); /* OPENSSL_secure_malloc(32) */
    if (key == NULL) return 1;
    memset(key, 0, 32); /* OPENSSL_secure_zalloc(32) */

    bitcoin_support_locked_pool_stats stats;
    bitcoin_support_locked_pool_get_stats(pool, &stats, sizeof stats);
    printf("%zu bytes are used, %zu of %zu are locked\n", stats.used, stats.locked, stats.total); /* CRYPTO_secure_used() */

    return bitcoin_support_free(key); /* OPENSSL_secure_free(key), OPENSSL_secure_clear_free(key, 32) */
}

static int memguard(void)
{
    unsigned char* key = bitcoin_support_alloc(32); /* memguard.NewBuffer(32) */
    if (key == NULL) return 1;
    memset(key, 7, 32);

    unsigned char sealed[32 + BITCOIN_SUPPORT_SEAL_OVERHEAD]; /* key.Seal() */
    int status = bitcoin_support_seal(key, 32, "key 1", 5, sealed, sizeof sealed);
    if (status == BITCOIN_SUPPORT_OK) status = bitcoin_support_free(key);
    if (status != BITCOIN_SUPPORT_OK) return status;

    key = bitcoin_support_alloc(32); /* enclave.Open() */
    if (key == NULL) return 1;
    status = bitcoin_support_unseal(sealed, sizeof sealed, "key 1", 5, key, 32);
    bitcoin_support_free(key); /* key.Destroy() */

    bitcoin_support_wipe_all(); /* memguard.Purge() */
    return status;
}

int main(void)
{
    if (libsodium() != 0 || openssl() != 0 || memguard() != 0) {
        fprintf(stderr, "a call has failed\n");
        return 1;
    }
    printf("all have been called\n");
    return 0;
}
