// Derives a key on a stack that is wiped, and keeps it sealed: encrypted while it is not in use. The key that it is
// derived from lies on a page to which there is no access while it is not in use.

#include <bitcoin_support.h>
#include <support/allocators/sealed.h>
#include <support/allocators/secure.h>
#include <support/secret_stack.h>

#include <array>
#include <cstddef>
#include <exception>
#include <iostream>
#include <memory>
#include <new>
#include <stdexcept>

using Key = std::array<unsigned char, 32>;

// A stand-in for the derivation of a real program. Its variables and what it calls leave copies on the stack.
static void Derive(const Key& parent, unsigned char number, Key& child)
{
    for (std::size_t i{0}; i < child.size(); ++i) child[i] = static_cast<unsigned char>(parent[i] * 3 + number);
}

// An owner of a closed secret.
struct FreeClosed {
    void operator()(Key* key) const { bitcoin_support_closed_free(key); } // wiped
};

// Opens a closed secret for as long as it lives, to all threads of the process.
class Opened
{
public:
    explicit Opened(Key* key) : m_key{key}
    {
        if (bitcoin_support_closed_open(m_key, true) != BITCOIN_SUPPORT_OK) throw std::runtime_error{"it cannot be opened"};
    }
    ~Opened() { bitcoin_support_closed_close(m_key, true); }
    Opened(const Opened&) = delete;
    Opened& operator=(const Opened&) = delete;
    Key& operator*() const { return *m_key; }

private:
    Key* const m_key;
};

int main()
{
    // From now on there are no core files of this process. What the system refuses is told.
    bitcoin_support_harden_result no_core_file;
    bitcoin_support_harden_process(BITCOIN_SUPPORT_HARDEN_NO_CORE_FILE, &no_core_file, 1);
    std::cout << bitcoin_support_harden_step_name(no_core_file.step) << ": " << (no_core_file.status == BITCOIN_SUPPORT_OK ? "done" : "refused") << '\n';
    try {
        const std::unique_ptr<Key, FreeClosed> parent{static_cast<Key*>(bitcoin_support_closed_alloc(sizeof(Key)))};
        if (!parent) throw std::bad_alloc{};
        (*Opened{parent.get()}).fill(0x0f);
        const auto child{make_secure_unique<Key>()};
        {
            const Opened opened{parent.get()};
            on_secret_stack([&] { Derive(*opened, 1, *child); }); // what it left on its stack and in registers is gone
        }                                                         // an access to the parent is a SIGSEGV again

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
