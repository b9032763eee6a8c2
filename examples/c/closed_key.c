/* Keeps a key on a page to which there is no access while the key is not in use, derives another key from it on a
 * stack that is wiped, and seals it. */

#include <bitcoin_support.h>

#include <stdio.h>
#include <string.h>

/* Counts the bits of the key, on the calling thread. */
struct count {
    const unsigned char* key;
    int bits;
};

static void count_bits(void* context)
{
    struct count* const count = context;
    for (int i = 0; i < 256; ++i) count->bits += count->key[i / 8] >> i % 8 & 1;
}

/* A stand-in for the derivation of a real program. Its variables and what it calls leave copies on the stack. */
struct derivation {
    const unsigned char* parent;
    unsigned char* child;
};

static void derive(void* context)
{
    const struct derivation* const keys = context;
    for (int i = 0; i < 32; ++i) keys->child[i] = (unsigned char)(keys->parent[i] * 3 + 1);
}

int main(void)
{
    unsigned char* const key = bitcoin_support_closed_alloc(32); /* an access is a SIGSEGV now */
    if (key == NULL) {
        fprintf(stderr, "no closed secret is to be had\n");
        return 1;
    }

    /* Opened to all threads of the process, to write the key. */
    bitcoin_support_status status = bitcoin_support_closed_open(key, true);
    if (status == BITCOIN_SUPPORT_OK) {
        memset(key, 0x0f, 32);
        status = bitcoin_support_closed_close(key, true);
    }

    /* Opened to this thread, where there are protection keys. */
    struct count count = {key, 0};
    if (status == BITCOIN_SUPPORT_OK) {
        status = bitcoin_support_closed_on_this_thread(key, false, count_bits, &count);
        printf("%d bits, opened %s\n", count.bits, bitcoin_support_has_protection_key() ? "by a protection key" : "by mprotect");
    }

    if (status == BITCOIN_SUPPORT_OK) status = bitcoin_support_closed_open(key, true);
    if (status == BITCOIN_SUPPORT_OK) {
        /* What the derivation leaves on its stack and in registers is gone when the call returns. The key is
         * replaced by its child. */
        struct derivation keys = {key, key};
        status = bitcoin_support_on_secret_stack(derive, &keys, 0);
        printf("derived: %s\n", bitcoin_support_status_message(status));

        /* Sealed: encrypted in ordinary memory, for as long as it is not used. */
        unsigned char sealed[32 + BITCOIN_SUPPORT_SEAL_OVERHEAD];
        if (status == BITCOIN_SUPPORT_OK) status = bitcoin_support_seal(key, 32, "key 1", 5, sealed, sizeof sealed);
        memory_cleanse(key, 32);
        if (status == BITCOIN_SUPPORT_OK) status = bitcoin_support_unseal(sealed, sizeof sealed, "key 1", 5, key, 32);
        printf("sealed and opened: %s\n", bitcoin_support_status_message(status));
        bitcoin_support_closed_close(key, true);
    }
    bitcoin_support_status freed = bitcoin_support_closed_free(key); /* wiped */
    return status == BITCOIN_SUPPORT_OK && freed == BITCOIN_SUPPORT_OK ? 0 : 1;
}
