// The optimizer keeps memory_cleanse and removes an ordinary memset, on a buffer that dies right afterwards,
// with -O3 and link-time optimization.
//
//   cleanse_elision memory_cleanse    succeeds if nothing is left of a secret
//   cleanse_elision memset            the control: succeeds if the secret is still there
//
// The secret is on the stack of a thread. This program provides the stack, so that it can search the stack
// after the thread has ended. Another compiler than this file's has compiled the library to machine code.
// Link-time optimization across the two languages needs a clang of rustc's LLVM version, and is not tested
// here.

#include <support/cleanse.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <pthread.h>
#include <sys/mman.h>

namespace {

constexpr size_t SECRET_SIZE{4096};
constexpr size_t STACK_SIZE{256 * 1024};

/** Each byte of the secret is the byte before plus this number. */
constexpr unsigned char STEP{167};

void MakeAndUse(unsigned char* secret)
{
    for (size_t i{0}; i < SECRET_SIZE; ++i) secret[i] = static_cast<unsigned char>(i * STEP);
    // The secret is used: the compiler must write it to memory here.
    __asm__ volatile(""
                     :
                     : "r"(secret)
                     : "memory");
}

void* WipeWithCleanse(void*)
{
    unsigned char secret[SECRET_SIZE];
    MakeAndUse(secret);
    memory_cleanse(secret, sizeof(secret));
    return nullptr;
}

void* WipeWithMemset(void*)
{
    unsigned char secret[SECRET_SIZE];
    MakeAndUse(secret);
    std::memset(secret, 0, sizeof(secret));
    return nullptr;
}

/** The length of the longest part of the secret in the region. */
size_t LongestTrace(const unsigned char* region, size_t size)
{
    size_t longest{0};
    size_t length{1};
    for (size_t i{1}; i < size; ++i) {
        length = static_cast<unsigned char>(region[i] - region[i - 1]) == STEP ? length + 1 : 1;
        if (length > longest) longest = length;
    }
    return longest;
}

} // namespace

int main(int argc, char** argv)
{
    const bool control{argc > 1 && std::strcmp(argv[1], "memset") == 0};
    void* const stack{mmap(nullptr, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)};
    if (stack == MAP_FAILED) return 2;

    pthread_attr_t attributes;
    pthread_t thread;
    if (pthread_attr_init(&attributes) != 0 || pthread_attr_setstack(&attributes, stack, STACK_SIZE) != 0 ||
        pthread_create(&thread, &attributes, control ? &WipeWithMemset : &WipeWithCleanse, nullptr) != 0 ||
        pthread_join(thread, nullptr) != 0) {
        return 2;
    }

    const size_t trace{LongestTrace(static_cast<const unsigned char*>(stack), STACK_SIZE)};
    std::printf("%zu of %zu bytes of the secret are left in a row\n", trace, SECRET_SIZE);
    // The end of a thread overwrites a part of its stack. The dynamic linker saves registers there when it
    // resolves memory_cleanse, and one of them may have a piece of the secret.
    constexpr size_t LARGEST_REGISTER{64};
    if (control) return trace > SECRET_SIZE / 2 ? 0 : 1;
    return trace <= LARGEST_REGISTER ? 0 : 1;
}
