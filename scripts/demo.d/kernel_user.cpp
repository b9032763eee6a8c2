// A program on Core's C++ wrapper of libbitcoinkernel.so, with secrets of its own beside the kernel's.
//
//   kernel_user <empty folder>
//
// Both have the library in them, or share it. The kernel's random state and the program's strings are in one pool,
// which /proc says is locked; strings grow and are freed by whichever of the two the dynamic linker has chosen.

#include <kernel/bitcoinkernel_wrapper.h>

#include <support/allocators/secure.h>
#include <support/lockedpool.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

namespace {
size_t Used() { return LockedPoolManager::Instance().stats().used; }

size_t LockedByKernel()
{
    std::ifstream status{"/proc/self/status"};
    for (std::string line; std::getline(status, line);) {
        if (line.rfind("VmLck:", 0) == 0) return std::stoul(line.substr(6)) * 1024;
    }
    return 0;
}

int g_failures;

void Observe(bool holds, const char* what)
{
    std::printf("  %s %s\n", holds ? "ok  " : "FAIL", what);
    if (!holds) ++g_failures;
}
} // namespace

int main(int argc, char** argv)
{
    if (argc != 2) return 2;
    const std::string folder{argv[1]};

    {
        btck::logging_disable();
        btck::ContextOptions options;
        btck::ChainParams parameters{btck::ChainType::REGTEST};
        options.SetChainParams(parameters);
        btck::Context context{options};
        btck::ChainstateManagerOptions chainman_options{context, folder, folder + "/blocks"};
        btck::ChainMan chainman{context, chainman_options};
        const size_t kernels{Used()};
        Observe(kernels > 0, "the kernel's random state is in the program's pool, which the program has not used yet");

        SecureString passphrase{"a passphrase that is longer than the string object"};
        for (int i{0}; i < 100; ++i) passphrase += " and longer";
        SecureString copy{passphrase};
        copy.insert(10, passphrase);
        std::vector<unsigned char, secure_allocator<unsigned char>> key(passphrase.begin(), passphrase.end());
        for (int i{0}; i < 100; ++i) key.push_back(static_cast<unsigned char>(i));
        Observe(Used() >= kernels + passphrase.size() + copy.size() + key.size(), "so are the program's secrets");
        Observe(chainman.ImportBlocks({}), "the kernel works");
        Observe(LockedByKernel() > 0, "the pool is locked, as /proc says");
    }
    std::printf("       %zu bytes are left: the kernel's\n", Used());
    return g_failures != 0;
}
