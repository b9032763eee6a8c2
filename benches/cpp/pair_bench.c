/* The shortest time of an allocation of 32 bytes with its free, in one thread and in two, in C alone: it builds for each
 * system that the library builds for, so that systems on one machine can be compared.
 *
 *   pair_bench [<rounds>]        100 rounds of 100 000 pairs
 *
 * Prints nanoseconds for a pair, and the scaling: the throughput of two threads over that of one. */

#include <bitcoin_support.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PAIRS = 100000,
       LIVE = 100 };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

struct thread {
    int rounds;
    pthread_barrier_t* start;
    double shortest;
};

static void* work(void* context)
{
    struct thread* const thread = context;
    void* live[LIVE];
    int round, pair, i;
    thread->shortest = 1e18;
    /* A thread with few secrets is served otherwise than one with many. */
    for (i = 0; i < LIVE; ++i) live[i] = bitcoin_support_alloc(32);
    for (round = 0; round < thread->rounds; ++round) {
        double start, elapsed;
        pthread_barrier_wait(thread->start);
        start = now();
        for (pair = 0; pair < PAIRS; ++pair) {
            volatile unsigned char* const chunk = bitcoin_support_alloc(32);
            if (chunk == NULL) exit(1);
            chunk[0] = 1;
            if (bitcoin_support_free((void*)(uintptr_t)chunk) != BITCOIN_SUPPORT_OK) exit(1);
        }
        elapsed = now() - start;
        pthread_barrier_wait(thread->start);
        if (elapsed < thread->shortest) thread->shortest = elapsed;
    }
    for (i = 0; i < LIVE; ++i) {
        if (bitcoin_support_free(live[i]) != BITCOIN_SUPPORT_OK) exit(1);
    }
    return NULL;
}

/* Nanoseconds for a pair in each of so many threads. */
static double measure(int threads, int rounds)
{
    pthread_barrier_t start;
    pthread_t handles[2];
    struct thread of[2];
    double longest = 0;
    int i;
    if (pthread_barrier_init(&start, NULL, (unsigned)threads) != 0) exit(1);
    for (i = 0; i < threads; ++i) {
        of[i].rounds = rounds;
        of[i].start = &start;
        if (pthread_create(&handles[i], NULL, work, &of[i]) != 0) exit(1);
    }
    for (i = 0; i < threads; ++i) {
        if (pthread_join(handles[i], NULL) != 0) exit(1);
        if (of[i].shortest > longest) longest = of[i].shortest;
    }
    pthread_barrier_destroy(&start);
    return longest / PAIRS;
}

int main(int argc, char** argv)
{
    const int rounds = argc > 1 ? atoi(argv[1]) : 100;
    double one, two;
    bitcoin_support_locked_pool_stats stats;
    if (rounds < 1) return 2;
    one = measure(1, rounds);
    two = measure(2, rounds);
    if (bitcoin_support_locked_pool_get_stats(bitcoin_support_locked_pool_instance(), &stats, sizeof(stats)) != BITCOIN_SUPPORT_OK ||
        stats.chunks_used != 0) {
        puts("chunks are left");
        return 1;
    }
    printf("one thread %.1f ns, two threads %.1f ns each, scaling %.2f\n", one, two, 2 * one / two);
    return 0;
}
