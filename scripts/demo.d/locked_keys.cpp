// Bitcoin Core's own keys, in our locked pool, seen from three sides.
//
// Linked against Core's static libraries, as bitcoind is. Core's CKey and its
// random number generator allocate as they always do; this program compares the
// process-wide pool's statistics with what the kernel says about the process.
// Exits with 1 when one of them does not hold.

#include <bitcoin_support.h>
#include <key.h>
#include <pubkey.h>
#include <random.h>
#include <uint256.h>
#include <util/translation.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

// Every program of Core's says how it translates; some versions' libraries ask.
__attribute__((weak)) extern const decltype(G_TRANSLATION_FUN) G_TRANSLATION_FUN{nullptr};

namespace {

/** Statistics of a pool. */
bitcoin_support_locked_pool_stats StatsOf(const bitcoin_support_locked_pool* pool)
{
    bitcoin_support_locked_pool_stats stats{};
    bitcoin_support_locked_pool_get_stats(pool, &stats, sizeof(stats));
    return stats;
}

constexpr size_t KEYS{1000};

bool g_all_hold{true};

void Expect(bool holds, const std::string& what)
{
    std::cout << (holds ? "  ok   " : "  FAIL ") << what << '\n';
    g_all_hold = g_all_hold && holds;
}

/** A field of /proc/self/status, in kB. */
size_t StatusKb(const std::string& field)
{
    std::ifstream status{"/proc/self/status"};
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with(field + ":")) return std::strtoul(line.c_str() + field.size() + 1, nullptr, 10);
    }
    return 0;
}

/** One entry of /proc/self/smaps. */
struct Mapping {
    uintptr_t begin{0}, end{0};
    std::string permissions;
    size_t resident_kb{0};
    size_t locked_kb{0};
    std::string flags;

    bool HasFlag(const std::string& flag) const { return (" " + flags + " ").find(" " + flag + " ") != std::string::npos; }
};

std::vector<Mapping> Mappings()
{
    std::vector<Mapping> mappings;
    std::ifstream smaps{"/proc/self/smaps"};
    for (std::string line; std::getline(smaps, line);) {
        unsigned long begin, end;
        char permissions[5];
        if (std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, permissions) == 3) {
            mappings.push_back({begin, end, permissions, 0, 0, ""});
        } else if (line.starts_with("Rss:")) {
            mappings.back().resident_kb = std::strtoul(line.c_str() + 4, nullptr, 10);
        } else if (line.starts_with("Locked:")) {
            mappings.back().locked_kb = std::strtoul(line.c_str() + 7, nullptr, 10);
        } else if (line.starts_with("VmFlags:")) {
            mappings.back().flags = line.substr(8);
        }
    }
    return mappings;
}

void CheckMapping(const void* secret)
{
    const auto address = reinterpret_cast<uintptr_t>(secret);
    const std::vector<Mapping> mappings{Mappings()};
    for (size_t i{1}; i + 1 < mappings.size(); ++i) {
        const Mapping& m{mappings[i]};
        if (address < m.begin || address >= m.end) continue;
        const Mapping &below{mappings[i - 1]}, &above{mappings[i + 1]};
        std::ostringstream text;
        text << "a key's mapping: " << (m.end - m.begin) / 1024 << " kB, " << m.resident_kb << " kB in memory so far, of those " << m.locked_kb << " kB locked, flags" << m.flags;
        std::cout << "  " << text.str() << '\n';
        Expect(m.HasFlag("lo") && m.resident_kb > 0 && m.locked_kb == m.resident_kb, "locked, all of it (lo)");
        Expect(m.HasFlag("dd"), "left out of core dumps (dd)");
        Expect(below.end == m.begin && below.permissions == "---p" && above.begin == m.end && above.permissions == "---p",
               "between two inaccessible guard pages");
        return;
    }
    Expect(false, "a key's address is in /proc/self/smaps");
}

bitcoin_support_locked_pool_stats PrintPool(const std::string& when)
{
    const auto stats{StatsOf(bitcoin_support_locked_pool_instance())};
    std::cout << "  " << when << ": used " << stats.used << " (peak " << stats.peak_used << "), free " << stats.free
              << ", total " << stats.total << ", locked " << stats.locked << " bytes in " << stats.arenas << " arenas, "
              << stats.chunks_used << " chunks, " << stats.lock_failures << " lock failures; VmLck " << StatusKb("VmLck") << " kB\n";
    Expect(stats.used + stats.free == stats.total, "used + free = total");
    Expect(stats.locked == StatusKb("VmLck") * 1024, "the kernel counts the same bytes locked as the pool");
    return stats;
}

} // namespace

int main()
{
    ECC_Context ecc;
    GetRandHash(); // the generator's state is a secret as well

    const auto before{PrintPool("Core's random state")};
    Expect(before.used > 0, "Core's random state is in the pool");

    const volatile unsigned char* wiped;
    {
        std::vector<CKey> keys(KEYS);
        for (CKey& key : keys) key.MakeNewKey(/*fCompressed=*/true);

        const auto during{PrintPool(std::to_string(KEYS) + " of Core's keys")};
        Expect(during.chunks_used >= before.chunks_used + KEYS && during.used >= before.used + 32 * KEYS, "every key is in the pool");

        std::vector<unsigned char> signature;
        const uint256 hash{GetRandHash()};
        Expect(keys.back().Sign(hash, signature) && keys.back().GetPubKey().Verify(hash, signature), "a key signs and its signature verifies");

        CheckMapping(keys.back().data());
        wiped = reinterpret_cast<const volatile unsigned char*>(keys.back().data());
    }

    const auto after{PrintPool("keys destroyed")};
    Expect(after.used == before.used, "they left nothing behind");
    unsigned char left{0};
    for (size_t i{0}; i < 32; ++i) left |= wiped[i];
    Expect(left == 0, "and where a key was there are zeroes");

    return g_all_hold ? EXIT_SUCCESS : EXIT_FAILURE;
}
