// Bitcoin Core's arena benchmark, on Core's arena and on this library's. One program runs both in turn, so
// that both meet the same conditions. The library is called as C++ programs call it: through the header's
// class and the shared library.
//
//   arena_bench [rounds] [file.csv]
//
// Prints the median time for one turn of the loop, the time of the loop alone, and the ratios. Both arenas
// must have handed out the same chunks at the end, which shows that both did the work (exit status 1 if not).

#include "arena_workload.h"
#include "core_reference.h"

#include <support/lockedpool.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr size_t TURNS{1'000'000};
constexpr size_t REGION_SIZE{1 << 20};
void* const REGION{reinterpret_cast<void*>(0x08000000)};

/** Makes the optimizer believe that the value is used. */
template <typename T>
void Use(T value)
{
    __asm__ volatile(""
                     :
                     : "r"(value));
}

/** Replaces the arena, to time the loop alone. It returns a chunk as often as an arena. */
struct NoArena {
    void* alloc(size_t size)
    {
        Use(size);
        return REGION;
    }
    void free(void* ptr) { Use(ptr); }
};

template <typename Run>
double NanosecondsPerTurn(Run run)
{
    const auto start{std::chrono::steady_clock::now()};
    run();
    const std::chrono::duration<double, std::nano> elapsed{std::chrono::steady_clock::now() - start};
    return elapsed.count() / double{TURNS};
}

double Median(std::vector<double> values)
{
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

} // namespace

int main(int argc, char** argv)
{
    const size_t rounds{argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 25};
    if (rounds == 0) return 2;

    core_reference::ArenaReference core_arena{REGION, REGION_SIZE, 16};
    Arena our_arena{REGION, REGION_SIZE, 16};
    NoArena no_arena;
    ArenaWorkload core_work, our_work, no_work;
    std::vector<double> core_times, our_times, no_times;
    for (size_t round{0}; round < rounds; ++round) {
        core_times.push_back(NanosecondsPerTurn([&] { core_arena.Run(core_work, TURNS); }));
        our_times.push_back(NanosecondsPerTurn([&] { our_work.Run(our_arena, TURNS); }));
        no_times.push_back(NanosecondsPerTurn([&] { no_work.Run(no_arena, TURNS); }));
        if (core_work.Slots() != our_work.Slots()) {
            std::printf("the arenas differ after %zu turns\n", (round + 1) * TURNS);
            return EXIT_FAILURE;
        }
    }

    // Another run over the same operations, for a checksum of every address: 64-bit FNV-1a.
    uint64_t checksum{0xcbf29ce484222325};
    size_t chunks{0};
    Arena again{REGION, REGION_SIZE, 16};
    ArenaWorkload again_work;
    again_work.Run(again, rounds * TURNS, [&](void* chunk) {
        checksum = (checksum ^ reinterpret_cast<uintptr_t>(chunk)) * 0x100000001b3;
        ++chunks;
    });

    const double core{Median(core_times)}, ours{Median(our_times)}, loop{Median(no_times)};
    std::printf("Core's arena benchmark, median of %zu rounds of %zu turns\n", rounds, TURNS);
    std::printf("  Bitcoin Core     %8.2f ns/turn\n", core);
    std::printf("  bitcoin-support  %8.2f ns/turn\n", ours);
    std::printf("  the loop alone   %8.2f ns/turn\n", loop);
    std::printf("  faster by a factor of %.2f, without the loop %.2f\n", core / ours, (core - loop) / (ours - loop));
    std::printf("  same chunks in every slot after each round; %zu allocations, checksum of addresses %016llx\n", chunks,
                static_cast<unsigned long long>(checksum));
    if (argc > 2) {
        // In pool_bench's format, for the same reader.
        std::FILE* const csv{std::fopen(argv[2], "w")};
        if (!csv) return EXIT_FAILURE;
        std::fprintf(csv, "# rounds: %zu\ntable,workload,unit,peer,median,lowest,highest,ratio,rounds,why_not\n", rounds);
        const auto line{[&](const char* peer, std::vector<double> times) {
            const auto [lowest, highest]{std::minmax_element(times.begin(), times.end())};
            std::fprintf(csv, "arena,Core's benchmark loop,ns for a turn,%s,%.4g,%.4g,%.4g,%.4g,%zu,\n", peer, Median(times), *lowest,
                         *highest, ours / Median(times), times.size());
        }};
        line("bitcoin-support", our_times);
        line("Bitcoin Core", core_times);
        line("the loop alone", no_times);
        std::fclose(csv);
    }
    return again_work.Slots() == our_work.Slots() ? EXIT_SUCCESS : EXIT_FAILURE;
}
