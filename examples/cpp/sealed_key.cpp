// Derives a key on a stack that is wiped, and keeps it sealed: encrypted while it is not in use.

#include <support/allocators/sealed.h>
#include <support/allocators/secure.h>
#include <support/secret_stack.h>

#include <array>
#include <cstddef>
#include <exception>
#include <iostream>

using Key = std::array<unsigned char, 32>;

// A stand-in for the derivation of a real program. Its variables and what it calls leave copies on the stack.
static void Derive(const Key& parent, unsigned char number, Key& child)
{
    for (std::size_t i{0}; i < child.size(); ++i) child[i] = static_cast<unsigned char>(parent[i] * 3 + number);
}

int main()
{
    try {
        const auto parent{make_secure_unique<Key>()};
        parent->fill(0x0f);
        const auto child{make_secure_unique<Key>()};
        on_secret_stack([&] { Derive(*parent, 1, *child); }); // what it left on its stack and in registers is gone

        secure_sealed<Key> sealed{*child};
        sealed.change([](Key& key) { key[0] = 7; }); // opened, changed and sealed again
        const auto opened{sealed.open()};            // in locked memory; wiped with the pointer
        std::cout << "sealed, changed and opened: " << int{(*opened)[0]} << ' ' << ((*opened)[1] == (*child)[1] ? "as before" : "lost") << '\n';
        return (*opened)[0] == 7 ? 0 : 1;
    } catch (const std::exception& failure) {
        std::cerr << "no secret stack, or no locked memory: " << failure.what() << '\n';
        return 1;
    }
}
