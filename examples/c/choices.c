/* What a C program can choose: a pool by options, a buffer that grows, a secret stack, and allocations that find overruns. */

#include <bitcoin_support.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A pool of one arena for keys that no child of fork shall have. */
static int keys_that_stay_here(void)
{
    bitcoin_support_locked_pool_options options;
    bitcoin_support_locked_pool_options_init(&options, sizeof options);
    options.fork_policy = BITCOIN_SUPPORT_FORK_WIPE;
    options.max_size = BITCOIN_SUPPORT_ARENA_SIZE;
    bitcoin_support_locked_pool* pool;
    int status = bitcoin_support_locked_pool_create_with(&options, &pool);
    if (status != BITCOIN_SUPPORT_OK) return status;

    unsigned char* key = bitcoin_support_locked_pool_alloc(pool, 32);
    if (key == NULL) {
        bitcoin_support_locked_pool_destroy(pool);
        return BITCOIN_SUPPORT_OUT_OF_MEMORY;
    }
    memset(key, 7, 32);
    const pid_t child = fork();
    if (child == 0) _exit(key[0]);
    int ended = 0;
    if (child > 0 && waitpid(child, &ended, 0) == child) printf("the key begins with %d, in a child with %d\n", key[0], WEXITSTATUS(ended));

    status = bitcoin_support_locked_pool_free(pool, key);
    const int destroyed = bitcoin_support_locked_pool_destroy(pool);
    return status == BITCOIN_SUPPORT_OK ? destroyed : status;
}

/* A text of which the length is not known before. What it grows out of is wiped. */
static int text_that_grows(void)
{
    bitcoin_support_buffer* text;
    int status = bitcoin_support_buffer_create(16, &text);
    if (status != BITCOIN_SUPPORT_OK) return status;
    for (int word = 0; word < 4 && status == BITCOIN_SUPPORT_OK; ++word) status = bitcoin_support_buffer_append(text, "abandon ", 8);
    printf("%zu bytes of words\n", bitcoin_support_buffer_size(text));
    const int destroyed = bitcoin_support_buffer_destroy(text);
    return status == BITCOIN_SUPPORT_OK ? destroyed : status;
}

/* A stand-in for a derivation. Its variables and registers are gone when it has returned. */
static void derive(void* context)
{
    unsigned char scratch[32];
    for (int i = 0; i < 32; ++i) scratch[i] = (unsigned char)(i * 3);
    memcpy(context, scratch, sizeof scratch);
}

static int on_a_secret_stack(void)
{
    unsigned char* const child = bitcoin_support_alloc(32);
    if (child == NULL) return BITCOIN_SUPPORT_OUT_OF_MEMORY;
    const int status = bitcoin_support_on_secret_stack(derive, child, 0);
    printf("derived: %d\n", child[1]);
    const int freed = bitcoin_support_free(child);
    return status == BITCOIN_SUPPORT_OK ? freed : status;
}

/* In tests: each allocation lies against a guard page. A handler of SIGSEGV would ask for si_addr. */
static int sampled(void)
{
    int status = bitcoin_support_locked_pool_sample(1, 1 << 20);
    if (status != BITCOIN_SUPPORT_OK) return status;
    char* const key = bitcoin_support_alloc(32);
    bitcoin_support_locked_pool_sample(0, 0);
    if (key == NULL) return BITCOIN_SUPPORT_OUT_OF_MEMORY;

    bitcoin_support_address_report report;
    status = bitcoin_support_describe_address(key + 5, &report, sizeof report);
    if (status == BITCOIN_SUPPORT_OK) printf("an access there: %s\n", report.text);
    const int freed = bitcoin_support_free(key);
    return status == BITCOIN_SUPPORT_OK ? freed : status;
}

int main(void)
{
    static int (*const choices[])(void) = {keys_that_stay_here, text_that_grows, on_a_secret_stack, sampled};
    for (size_t i = 0; i < sizeof choices / sizeof *choices; ++i) {
        const int status = choices[i]();
        if (status == BITCOIN_SUPPORT_NOT_AVAILABLE) {
            printf("this system does not have it\n");
        } else if (status != BITCOIN_SUPPORT_OK) {
            fprintf(stderr, "%s\n", bitcoin_support_status_message(status));
            return 1;
        }
    }
    return 0;
}
