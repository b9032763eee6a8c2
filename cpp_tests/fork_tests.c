/* Fork handlers of a program use the process-wide pool, before and after the library's handlers. The library
 * registers its handlers when it is loaded, also from an archive, of which the linker takes only the parts to which
 * the program refers.
 *
 *   fork_tests early|late first_use|prepare|parent|child
 *
 * The last argument says which handler uses the pool. With first_use, prepare is the first use of the pool. */

#define _GNU_SOURCE /* MAP_ANONYMOUS */

#include <bitcoin_support.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Statistics of a pool. */
static bitcoin_support_locked_pool_stats stats_of_pool(const bitcoin_support_locked_pool* pool)
{
    bitcoin_support_locked_pool_stats stats;
    memset(&stats, 0, sizeof(stats));
    bitcoin_support_locked_pool_get_stats(pool, &stats, sizeof(stats));
    return stats;
}

static const char* user = "";
static int uses;

static void use(const char* handler)
{
    bitcoin_support_locked_pool* const pool = bitcoin_support_locked_pool_instance();
    void *small, *large;
    if (strcmp(user, handler) != 0) return;
    small = bitcoin_support_locked_pool_alloc(pool, 32);
    large = bitcoin_support_locked_pool_alloc(pool, 5000);
    /* The small chunk stays, so that memory is locked at the fork. */
    if (small != NULL && bitcoin_support_locked_pool_free(pool, large) == BITCOIN_SUPPORT_OK) ++uses;
}

static void in_prepare(void) { use("prepare"); }
static void in_parent(void) { use("parent"); }
static void in_child(void) { use("child"); }

static void register_handlers(void)
{
    if (pthread_atfork(in_prepare, in_parent, in_child) != 0) exit(2);
}

/* Runs before any constructor of the archive. A shared library's constructors have run by then. */
__attribute__((constructor(101))) static void early(int argc, char** argv)
{
    if (argc > 1 && strcmp(argv[1], "early") == 0) register_handlers();
}

/* Bytes that this process has locked, as the kernel counts them. */
static size_t locked_by_kernel(void)
{
    FILE* const status = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long kib = 0;
    while (status != NULL && fgets(line, sizeof(line), status) != NULL) {
        if (sscanf(line, "VmLck: %lu", &kib) == 1) break;
    }
    if (status != NULL) fclose(status);
    return kib * 1024;
}

/* Checks the child: its statistics are the kernel's figures, and the pool works. */
static bool child_is_in_order(void)
{
    bitcoin_support_locked_pool* const pool = bitcoin_support_locked_pool_instance();
    const size_t kernel = locked_by_kernel();
    const size_t locked = stats_of_pool(pool).locked;
    void* const chunk = bitcoin_support_locked_pool_alloc(pool, 100);
    printf("child: %zu bytes locked, %zu by the kernel\n", locked, kernel);
    return locked == kernel && locked > 0 && bitcoin_support_locked_pool_free(pool, chunk) == BITCOIN_SUPPORT_OK;
}

int main(int argc, char** argv)
{
    bitcoin_support_locked_pool* const pool = bitcoin_support_locked_pool_instance();
    const bool first_use = argc == 3 && strcmp(argv[2], "first_use") == 0;
    int status = 0;
    pid_t child;
    if (argc != 3) return 2;
    setvbuf(stdout, NULL, _IONBF, 0);
    alarm(60); /* many times as long as it takes; ends a thread that waits for itself */
    if (strcmp(argv[1], "late") == 0) register_handlers();
    if (!first_use && bitcoin_support_locked_pool_alloc(pool, 32) == NULL) return 3;
    /* The control: memory that the program locks by itself is not locked in the child. */
    if (mlock(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096) != 0) return 4;
    user = first_use ? "prepare" : argv[2];
    child = fork();
    if (child == 0) {
        alarm(30);
        _exit(child_is_in_order() && uses == (strcmp(user, "parent") != 0) ? 42 : 1);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) return 5;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 42) return 6;
    if (uses != (strcmp(user, "child") != 0)) return 7;
    return locked_by_kernel() == stats_of_pool(pool).locked + 4096 ? EXIT_SUCCESS : 8;
}
