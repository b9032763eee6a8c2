// A key that is derived on a secret stack is nowhere in the process afterwards, and in no register.
//
// A child process gets a passphrase, derives a key from it by PBKDF2 with HMAC-SHA256, on a secret stack or on the
// ordinary one, frees both, and stops. This process searches all memory of the child and its registers for the
// passphrase, the key, the padded keys of HMAC, the states of SHA-256 behind them, and the results of the rounds,
// which it computes by itself.
//
//   secret_stack_proof inside|outside|throws
//
// Ends with 0 if nothing was found, with 1 if something was, with 77 if no process can be traced here, and with 2 if
// something else failed. secret_stack_proof.cmake compiles it by several compilers, with and without optimization.

#include <support/secret_stack.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <fstream>
#include <stdexcept>
#include <string>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

[[noreturn]] void Fail(const char* what)
{
    std::perror(what);
    _exit(2);
}

// ---- PBKDF2, HMAC and SHA-256 (RFC 8018, RFC 2104, FIPS 180-4) -------------------------------------------------

using State = std::array<uint32_t, 8>;
using Block = std::array<unsigned char, 64>;
using Hash = std::array<unsigned char, 32>;

constexpr State FIRST{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
constexpr size_t PASSPHRASE_SIZE{48};
constexpr int ROUNDS{3};
constexpr unsigned char SALT[]{'s', 'a', 'l', 't', 0, 0, 0, 1};

uint32_t constants[64];

/** The first 32 bits behind the point of the cube roots of the first 64 primes. */
void ComputeConstants()
{
    int count{0};
    for (int number{2}; count < 64; ++number) {
        bool prime{true};
        for (int divisor{2}; divisor * divisor <= number; ++divisor) prime = prime && number % divisor != 0;
        if (!prime) continue;
        const long double root{std::cbrt(static_cast<long double>(number))};
        constants[count++] = static_cast<uint32_t>((root - std::floor(root)) * 4294967296.0L);
    }
}

uint32_t Rotated(uint32_t word, int by) { return word >> by | word << (32 - by); }

State After(State state, const Block& block)
{
    uint32_t w[64];
    for (int i{0}; i < 16; ++i) {
        w[i] = uint32_t{block[4 * i]} << 24 | uint32_t{block[4 * i + 1]} << 16 | uint32_t{block[4 * i + 2]} << 8 |
               block[4 * i + 3];
    }
    for (int i{16}; i < 64; ++i) {
        const uint32_t s0{Rotated(w[i - 15], 7) ^ Rotated(w[i - 15], 18) ^ w[i - 15] >> 3};
        const uint32_t s1{Rotated(w[i - 2], 17) ^ Rotated(w[i - 2], 19) ^ w[i - 2] >> 10};
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, h]{state};
    for (int i{0}; i < 64; ++i) {
        const uint32_t s1{Rotated(e, 6) ^ Rotated(e, 11) ^ Rotated(e, 25)};
        const uint32_t first{h + s1 + ((e & f) ^ (~e & g)) + constants[i] + w[i]};
        const uint32_t s0{Rotated(a, 2) ^ Rotated(a, 13) ^ Rotated(a, 22)};
        const uint32_t second{s0 + ((a & b) ^ (a & c) ^ (b & c))};
        h = g, g = f, f = e, e = d + first;
        d = c, c = b, b = a, a = first + second;
    }
    const State added{a, b, c, d, e, f, g, h};
    for (size_t i{0}; i < state.size(); ++i) state[i] += added[i];
    return state;
}

/** The last block of a message of size bytes, of which `before` are in blocks before it. */
Block LastBlock(const unsigned char* data, size_t size, size_t before)
{
    Block block{};
    std::copy(data, data + size, block.begin());
    block[size] = 0x80;
    const size_t bits{8 * (before + size)};
    block[62] = static_cast<unsigned char>(bits >> 8);
    block[63] = static_cast<unsigned char>(bits);
    return block;
}

Hash Bytes(const State& state)
{
    Hash hash;
    for (size_t i{0}; i < hash.size(); ++i) hash[i] = static_cast<unsigned char>(state[i / 4] >> (24 - i % 4 * 8));
    return hash;
}

Block Padded(const unsigned char* passphrase, unsigned char with)
{
    Block block;
    block.fill(with);
    for (size_t i{0}; i < PASSPHRASE_SIZE; ++i) block[i] ^= passphrase[i];
    return block;
}

Hash Hmac(const unsigned char* passphrase, const unsigned char* data, size_t size)
{
    const State inner{After(FIRST, Padded(passphrase, 0x36))};
    const State outer{After(FIRST, Padded(passphrase, 0x5c))};
    const Hash hash{Bytes(After(inner, LastBlock(data, size, 64)))};
    return Bytes(After(outer, LastBlock(hash.data(), hash.size(), 64)));
}

void DeriveKey(const unsigned char* passphrase, unsigned char* key)
{
    Hash result{Hmac(passphrase, SALT, sizeof(SALT))};
    std::copy(result.begin(), result.end(), key);
    for (int round{2}; round <= ROUNDS; ++round) {
        result = Hmac(passphrase, result.data(), result.size());
        for (size_t i{0}; i < result.size(); ++i) key[i] = static_cast<unsigned char>(key[i] ^ result[i]);
    }
}

bool IsSha256()
{
    constexpr unsigned char TEXT[]{'a', 'b', 'c'};
    const State expected{0xba7816bf, 0x8f01cfea, 0x414140de, 0x5dae2223, 0xb00361a3, 0x96177a9c, 0xb410ff61, 0xf20015ad};
    return After(FIRST, LastBlock(TEXT, sizeof(TEXT), 0)) == expected;
}

// ---- The child --------------------------------------------------------------------------------------------

[[noreturn]] void Child(int input, const std::string& where)
{
    auto* const passphrase{static_cast<unsigned char*>(bitcoin_support_alloc(PASSPHRASE_SIZE))};
    auto* const key{static_cast<unsigned char*>(bitcoin_support_alloc(sizeof(Hash)))};
    if (!passphrase || !key || read(input, passphrase, PASSPHRASE_SIZE) != PASSPHRASE_SIZE) Fail("the passphrase");
    const auto derive{[&] { DeriveKey(passphrase, key); }};
    if (where == "inside") {
        on_secret_stack(derive);
    } else if (where == "throws") {
        try {
            on_secret_stack([&] {
                derive();
                throw std::runtime_error("on the way");
            });
            _exit(3);
        } catch (const std::runtime_error& error) {
            if (std::strcmp(error.what(), "on the way") != 0) _exit(4);
        }
    } else {
        derive();
    }
    bitcoin_support_free(passphrase);
    bitcoin_support_free(key);
    kill(getpid(), SIGSTOP);
    _exit(5);
}

// ---- The search -------------------------------------------------------------------------------------------

struct Sought {
    std::string name;
    std::vector<unsigned char> bytes;
};

std::vector<Sought> Everything(const unsigned char* passphrase)
{
    std::vector<Sought> sought;
    const auto add{[&](const std::string& name, const unsigned char* bytes, size_t size) {
        sought.push_back({name, {bytes, bytes + size}});
        // As the words that SHA-256 makes of them, on a processor that has the low bytes first.
        std::vector<unsigned char> words(size);
        for (size_t i{0}; i < size; ++i) words[i] = bytes[i / 4 * 4 + 3 - i % 4];
        sought.push_back({name + ", as words", words});
    }};
    add("the passphrase", passphrase, PASSPHRASE_SIZE);
    const Block inner{Padded(passphrase, 0x36)}, outer{Padded(passphrase, 0x5c)};
    add("the inner padded key", inner.data(), PASSPHRASE_SIZE);
    add("the outer padded key", outer.data(), PASSPHRASE_SIZE);
    add("the inner state", Bytes(After(FIRST, inner)).data(), sizeof(Hash));
    add("the outer state", Bytes(After(FIRST, outer)).data(), sizeof(Hash));
    Hash result{Hmac(passphrase, SALT, sizeof(SALT))};
    for (int round{1}; round <= ROUNDS; ++round) {
        add("the result of round " + std::to_string(round), result.data(), result.size());
        result = Hmac(passphrase, result.data(), result.size());
    }
    Hash key;
    DeriveKey(passphrase, key.data());
    add("the key", key.data(), key.size());
    return sought;
}

constexpr size_t PART{16};

size_t PartsIn(const std::vector<unsigned char>& bytes, const std::vector<unsigned char>& sought)
{
    size_t count{0};
    for (size_t at{0}; at + PART <= sought.size(); at += PART) {
        const unsigned char* from{bytes.data()};
        const unsigned char* const to{from + bytes.size()};
        while (const void* const place{memmem(from, static_cast<size_t>(to - from), &sought[at], PART)}) {
            ++count;
            from = static_cast<const unsigned char*>(place) + 1;
        }
    }
    return count;
}

std::vector<unsigned char> Registers(pid_t process)
{
    std::vector<unsigned char> all;
#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif
    for (const unsigned long set : {static_cast<unsigned long>(NT_PRSTATUS), static_cast<unsigned long>(NT_FPREGSET),
                                    static_cast<unsigned long>(NT_X86_XSTATE)}) {
        std::vector<unsigned char> bytes(1 << 16);
        iovec place{bytes.data(), bytes.size()};
        if (ptrace(PTRACE_GETREGSET, process, set, &place) == 0) all.insert(all.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(place.iov_len));
    }
    if (all.size() < 500) Fail("the registers");
    return all;
}

} // namespace

int main(int argc, char** argv)
{
    const std::string where{argc > 1 ? argv[1] : ""};
    if (where != "inside" && where != "outside" && where != "throws") return 2;
    ComputeConstants();
    if (!IsSha256()) return 2;
    int ends[2];
    if (pipe(ends) != 0) Fail("pipe");
    const pid_t child{fork()};
    if (child == 0) Child(ends[0], where);
    // Made here only now, so that the child has none but what it reads.
    unsigned char passphrase[PASSPHRASE_SIZE];
    if (getentropy(passphrase, sizeof(passphrase)) != 0) Fail("getentropy");
    if (write(ends[1], passphrase, sizeof(passphrase)) != sizeof(passphrase)) Fail("write");
    int status{0};
    if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status)) {
        std::printf("the child ended with %#x\n", static_cast<unsigned>(status));
        return 2;
    }
    if (ptrace(PTRACE_SEIZE, child, nullptr, nullptr) != 0) {
        std::perror("skipped: no process can be traced here");
        kill(child, SIGKILL);
        return 77;
    }
    ptrace(PTRACE_INTERRUPT, child, nullptr, nullptr);
    waitpid(child, &status, __WALL);

    const std::vector<Sought> everything{Everything(passphrase)};
    size_t found{0}, seen{0};
    const auto look{[&](const std::string& place, const std::vector<unsigned char>& bytes) {
        for (const Sought& sought : everything) {
            const size_t count{PartsIn(bytes, sought.bytes)};
            if (count != 0) std::printf("%zu parts of %s in %s\n", count, sought.name.c_str(), place.c_str());
            found += count;
        }
        seen += bytes.size();
    }};
    look("the registers", Registers(child));
    const int memory{open(("/proc/" + std::to_string(child) + "/mem").c_str(), O_RDONLY)};
    std::ifstream maps{"/proc/" + std::to_string(child) + "/maps"};
    for (std::string line; std::getline(maps, line);) {
        unsigned long long from{0}, to{0};
        char readable{'-'};
        if (std::sscanf(line.c_str(), "%llx-%llx %c", &from, &to, &readable) != 3 || readable != 'r') continue;
        // Pieces, each with the end of the one before. Some regions of the kernel's cannot be read.
        constexpr size_t PIECE{1 << 20};
        for (size_t at{from}; at < to; at += PIECE - PART) {
            std::vector<unsigned char> bytes(std::min<size_t>(to - at, PIECE));
            const ssize_t size{pread(memory, bytes.data(), bytes.size(), static_cast<off_t>(at))};
            if (size != static_cast<ssize_t>(bytes.size())) break;
            look(line, bytes);
        }
    }
    kill(child, SIGKILL);
    if (seen < 1 << 20) return 2;
    std::printf("%s: %zu parts in %zu KiB\n", where.c_str(), found, seen >> 10);
    return found == 0 ? 0 : 1;
}
