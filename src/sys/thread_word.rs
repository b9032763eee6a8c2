//! One word for each thread, read in two instructions, also from a shared library.
//!
//! A `thread_local!` in a shared library costs a call to the dynamic linker's `__tls_get_addr` at
//! every access, as the compiler must assume that the library is loaded late. glibc's dynamic
//! linker keeps some room for libraries that are loaded late, and one word fits into it (the
//! *initial-exec* model; U. Drepper, "ELF Handling For Thread-Local Storage", 2013, section 4.3.6).
//! Stable Rust cannot ask for that model; hence the assembly.
//!
//! On Windows, Rust for the GNU toolchain has its thread-local variables in memory from the heap,
//! which is freed when the thread ends, and the word is used later than that. So there is assembly
//! for it too, for what compilers of C make of `__declspec(thread)`: the word's offset in the block
//! of this module, whose address is in a table that the thread has.
//!
//! On other systems a `thread_local!` is used.

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    target_arch = "x86_64",
    target_pointer_width = "64"
))]
mod word {
    use core::arch::{asm, global_asm};

    global_asm!(
        ".pushsection .tbss.bitcoin_support_thread_word,\"awT\",@nobits",
        ".globl bitcoin_support_thread_word",
        ".hidden bitcoin_support_thread_word",
        ".type bitcoin_support_thread_word,@object",
        ".size bitcoin_support_thread_word,8",
        ".p2align 3",
        "bitcoin_support_thread_word:",
        ".zero 8",
        ".popsection",
    );

    #[inline]
    pub(in crate::sys) fn get() -> usize {
        let word: usize;
        // SAFETY: reads the calling thread's own word, defined above; nothing is written.
        unsafe {
            asm!(
                "mov {word}, qword ptr [rip + bitcoin_support_thread_word@GOTTPOFF]",
                "mov {word}, qword ptr fs:[{word}]",
                word = out(reg) word,
                options(nostack, preserves_flags, readonly),
            );
        }
        word
    }

    pub(in crate::sys) fn set(word: usize) {
        // SAFETY: writes the calling thread's own word, defined above, which no Rust reference
        // points to.
        unsafe {
            asm!(
                "mov {offset}, qword ptr [rip + bitcoin_support_thread_word@GOTTPOFF]",
                "mov qword ptr fs:[{offset}], {word}",
                offset = out(reg) _,
                word = in(reg) word,
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(all(windows, target_env = "gnu", target_arch = "x86_64"))]
mod word {
    use core::arch::{asm, global_asm};

    global_asm!(
        ".section .tls$,\"dw\"",
        ".globl bitcoin_support_thread_word",
        ".p2align 3",
        "bitcoin_support_thread_word:",
        ".quad 0",
        ".text",
    );

    /// The address of the calling thread's own word.
    #[inline(always)]
    fn address() -> *mut usize {
        let word: *mut usize;
        // SAFETY: reads where the system keeps the addresses of the thread's blocks, and this
        // module's index among them; nothing is written.
        unsafe {
            asm!(
                "mov {word}, qword ptr gs:[0x58]",
                "mov {index:e}, dword ptr [rip + _tls_index]",
                "mov {word}, qword ptr [{word} + 8 * {index}]",
                "lea {word}, [{word} + bitcoin_support_thread_word@SECREL32]",
                word = out(reg) word,
                index = out(reg) _,
                options(nostack, preserves_flags, readonly),
            );
        }
        word
    }

    #[inline]
    pub(in crate::sys) fn get() -> usize {
        // SAFETY: the calling thread's own word, which lives as long as the thread.
        unsafe { address().read() }
    }

    pub(in crate::sys) fn set(word: usize) {
        // SAFETY: the calling thread's own word, to which no Rust reference points.
        unsafe { address().write(word) }
    }
}

#[cfg(not(any(
    all(
        target_os = "linux",
        target_env = "gnu",
        target_arch = "x86_64",
        target_pointer_width = "64"
    ),
    all(windows, target_env = "gnu", target_arch = "x86_64")
)))]
mod word {
    use core::cell::Cell;

    std::thread_local! {
        // Without a destructor: can be used however late in a thread's life.
        static WORD: Cell<usize> = const { Cell::new(0) };
    }

    #[inline]
    pub(in crate::sys) fn get() -> usize {
        WORD.get()
    }

    pub(in crate::sys) fn set(word: usize) {
        WORD.set(word);
    }
}

pub(super) use word::{get, set};

#[cfg(test)]
mod tests {
    #[test]
    fn each_thread_has_its_own() {
        let threads: Vec<_> = (1..5)
            .map(|number| {
                std::thread::spawn(move || {
                    assert_eq!(super::get(), 0);
                    super::set(number);
                    std::thread::yield_now();
                    assert_eq!(super::get(), number);
                    super::set(0);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
