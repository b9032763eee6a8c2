/* A plugin that uses the library is closed and opened again.
 *
 *   unload_tests <plugin> <library> stays|goes
 *
 * The object that contains the library (the plugin, or the shared library) stays loaded with the pool and its
 * chunks: each round leaves as much locked memory and as many mapped addresses as the one before. A thread
 * that has used the pool may end afterwards, and the process may fork and exit. The control, "goes": the
 * plugin cannot find the object that contains the library, and all of this is lost.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 20 };

static int g_failures;

static void check(bool condition, const char* what)
{
    if (condition) return;
    fprintf(stderr, "not so: %s\n", what);
    ++g_failures;
}

/* A figure of /proc/self/status, in KiB. */
static long status_kb(const char* name)
{
    FILE* const file = fopen("/proc/self/status", "r");
    char line[256];
    long kb = -1;
    while (file && fgets(line, sizeof(line), file)) {
        if (strncmp(line, name, strlen(name)) == 0) kb = strtol(line + strlen(name) + 1, NULL, 10);
    }
    if (file) fclose(file);
    return kb;
}

static void* (*g_keep)(const char*);
static int (*g_drop)(void*);

static void* open_plugin(const char* path)
{
    void* const handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
    /* Converts an object pointer to a function pointer, which POSIX allows and C does not. */
    *(void**)&g_keep = dlsym(handle, "keep");
    *(void**)&g_drop = dlsym(handle, "drop");
    return handle;
}

static bool is_loaded(const char* path)
{
    void* const handle = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    if (handle) dlclose(handle);
    return handle != NULL;
}

/* Runs in a separate thread. A thread that has used the library would keep it loaded until the thread ends,
 * because of the destructor that Rust's standard library registers. */
static void* use(void* unused)
{
    (void)unused;
    check(g_drop(g_keep("of one round")) == 0, "the pool works");
    return NULL;
}

static void use_in_a_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, use, NULL) != 0) exit(2);
    pthread_join(thread, NULL);
}

static void* keep_something(void* unused)
{
    (void)unused;
    return g_keep("kept across rounds");
}

static int stays(const char* plugin, const char* library)
{
    pthread_t thread;
    void* secret = NULL;
    void* handle = open_plugin(plugin);
    if (pthread_create(&thread, NULL, keep_something, NULL) != 0) return 2;
    pthread_join(thread, &secret);
    check(secret != NULL, "a chunk");
    dlclose(handle);
    check(is_loaded(library), "the library is loaded when the plugin has been closed");

    const long locked = status_kb("VmLck"), mapped = status_kb("VmSize");
    for (int round = 0; round < ROUNDS; ++round) {
        handle = open_plugin(plugin);
        use_in_a_thread();
        dlclose(handle);
    }
    check(status_kb("VmLck") == locked, "no more is locked than after the first round");
    check(status_kb("VmSize") == mapped, "no more is mapped than after the first round");

    handle = open_plugin(plugin);
    check(strcmp(secret, "kept across rounds") == 0, "the secret is where it was");
    check(g_drop(secret) == 0, "the pool knows its chunk");
    check(g_drop(secret) != 0, "it is freed once");
    dlclose(handle);

    const pid_t child = fork();
    if (child == 0) {
        open_plugin(plugin);
        _exit(g_drop(g_keep("of the child")));
    }
    int status = -1;
    waitpid(child, &status, 0);
    check(status == 0, "a child of fork uses the pool");
    printf("locked %ld KiB, mapped %ld MiB, also after %d rounds\n", locked, mapped / 1024, ROUNDS);
    return g_failures != 0;
}

static int goes(const char* plugin, const char* library)
{
    long mapped = 0;
    for (int round = 0; round < ROUNDS; ++round) {
        void* const handle = open_plugin(plugin);
        use_in_a_thread();
        dlclose(handle);
        if (round == 0) mapped = status_kb("VmSize");
    }
    check(!is_loaded(library), "the library is unloaded with the plugin");
    check(status_kb("VmSize") - mapped >= (ROUNDS - 1) * 256L, "addresses are lost in each round");
    printf("mapped %ld MiB, after %d rounds %ld MiB\n", mapped / 1024, ROUNDS, status_kb("VmSize") / 1024);
    return g_failures != 0;
}

int main(int argc, char** argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: unload_tests <plugin> <library> stays|goes\n");
        return 2;
    }
    return strcmp(argv[3], "stays") == 0 ? stays(argv[1], argv[2]) : goes(argv[1], argv[2]);
}
