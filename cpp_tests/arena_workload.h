// The workload of Bitcoin Core's arena benchmark, for any class with the arena's interface.
//
// There are 2048 slots; each is empty or holds a chunk. A 32-bit shift register supplies a number for each
// turn. The low bits of the number choose a slot. If the top bit is set, the slot's chunk is freed. Otherwise,
// if the slot is empty, it gets a chunk of up to 2047 bytes, whose size the bits from the 16th on give.

#ifndef BITCOIN_SUPPORT_CPP_TESTS_ARENA_WORKLOAD_H
#define BITCOIN_SUPPORT_CPP_TESTS_ARENA_WORKLOAD_H

#include <cstddef>
#include <cstdint>
#include <vector>

class ArenaWorkload
{
public:
    static constexpr size_t SLOTS{2048};
    static constexpr uint32_t LARGEST{2047};

    /** Continues where the last run ended. Calls note(chunk) for every allocated chunk. */
    template <typename AnyArena, typename Note>
    void Run(AnyArena& arena, size_t turns, Note note)
    {
        for (; turns > 0; --turns) {
            void*& slot{slots[state & (SLOTS - 1)]};
            if (state >> 31) {
                arena.free(slot);
                slot = nullptr;
            } else if (slot == nullptr) {
                slot = arena.alloc((state >> 16) & LARGEST);
                note(slot);
            }
            state = (state >> 1) ^ (state & 1 ? TAPS : 0);
        }
    }
    template <typename AnyArena>
    void Run(AnyArena& arena, size_t turns)
    {
        Run(arena, turns, [](void*) {});
    }

    /** The chunk in each slot, or nullptr. */
    const std::vector<void*>& Slots() const { return slots; }

private:
    static constexpr uint32_t TAPS{0xf00f00f0};

    std::vector<void*> slots = std::vector<void*>(SLOTS, nullptr);
    uint32_t state{0x12345678};
};

#endif // BITCOIN_SUPPORT_CPP_TESTS_ARENA_WORKLOAD_H
