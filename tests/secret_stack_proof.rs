//! A key derivation by crates that know nothing of this library leaves nothing behind on a secret
//! stack.
//!
//! A process gets a passphrase, derives a key from it by PBKDF2 with HMAC-SHA512, wipes both, and
//! stops. This process then searches all its memory, every readable mapping, and its registers, as
//! `ptrace` reads them, for the passphrase, the key, the two padded keys of HMAC, the states of
//! SHA-512 behind them, and the results of the rounds. This process computes those by itself. The
//! control: the same derivation on the ordinary stack leaves some of them.
//!
//! A second pair of tests fills all registers that a function may change, and looks at them alone.

#![cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]

#[path = "common/other_process.rs"]
mod other_process;
#[path = "common/this_program.rs"]
mod this_program;

use bitcoin_support::{SecureBox, SecureVec, on_secret_stack};
use other_process::{Traced, parts_in};
use sha2::Sha512;
use sha2::digest::generic_array::GenericArray;
use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Stdio};
use this_program::this_program;

const CHILD: &str = "BITCOIN_SUPPORT_TEST_SECRET_STACK";
const LEN: usize = 96;
const SALT: &[u8] = b"mnemonic";
const ROUNDS: u32 = 3;

/// Stops this process, until another one continues it: in as few instructions as possible, which
/// leave the other registers as they are.
#[inline(always)]
fn stop(process: libc::pid_t) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the system call takes numbers, and changes the registers that are named.
    unsafe {
        std::arch::asm!(
            "syscall",
            inout("rax") libc::SYS_kill => _, in("rdi") process, in("rsi") libc::SIGSTOP,
            out("rcx") _, out("r11") _, options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the system call takes numbers, and changes the register that is named.
    unsafe {
        std::arch::asm!(
            "svc #0",
            in("x8") libc::SYS_kill, inout("x0") process as u64 => _, in("x1") libc::SIGSTOP,
            options(nostack),
        );
    }
}

/// Starts this test in another process, gives it `input`, and waits until it has stopped.
fn started(test: &str, input: &[u8]) -> Stopped {
    let mut child = this_program()
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    unsafe { libc::waitpid(child.id() as libc::pid_t, &mut status, libc::WUNTRACED) };
    assert!(libc::WIFSTOPPED(status), "{test}: {status:#x}");
    Stopped(child)
}

/// A process that has stopped. Ends with this value.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Traces the process, or says why that is not possible.
fn traced(stopped: &Stopped) -> Option<Traced> {
    match Traced::new(stopped.0.id()) {
        Ok(traced) => Some(traced),
        Err(error) => {
            println!("skipped: no process can be traced here: {error}");
            None
        }
    }
}

// ---- What there is to be found -----------------------------------------------------

/// SHA-512's first state (FIPS 180-4, section 5.3.5).
const FIRST: [u64; 8] = [
    0x6a09e667f3bcc908,
    0xbb67ae8584caa73b,
    0x3c6ef372fe94f82b,
    0xa54ff53a5f1d36f1,
    0x510e527fade682d1,
    0x9b05688c2b3e6c1f,
    0x1f83d9abfb41bd6b,
    0x5be0cd19137e2179,
];

/// The state after one more block of 128 bytes.
fn after(mut state: [u64; 8], block: &[u8; 128]) -> [u64; 8] {
    sha2::compress512(&mut state, &[*GenericArray::from_slice(block)]);
    state
}

/// The last block of a message of so many bytes behind one whole block.
fn last_block(message: &[u8]) -> [u8; 128] {
    let mut block = [0; 128];
    block[..message.len()].copy_from_slice(message);
    block[message.len()] = 0x80;
    block[120..].copy_from_slice(&(8 * (128 + message.len() as u64)).to_be_bytes());
    block
}

fn big_endian(state: [u64; 8]) -> Vec<u8> {
    state.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Bytes as the words that SHA-512 reads them as, in the order of bytes of this machine.
fn as_words(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks_exact(8).flat_map(|word| word.iter().rev().copied()).collect()
}

/// Everything that a derivation has in hand, by its name.
fn everything(passphrase: &[u8; LEN]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut add = |name: &str, bytes: &[u8]| {
        found.push((name.to_owned(), bytes.to_vec()));
        found.push((format!("{name}, as words"), as_words(bytes)));
    };
    add("the passphrase", passphrase);
    let padded = |with: u8| {
        let mut block = [with; 128];
        block.iter_mut().zip(passphrase).for_each(|(byte, of)| *byte ^= of);
        block
    };
    let (inner, outer) = (padded(0x36), padded(0x5c));
    add("the inner padded key", &inner[..LEN]);
    add("the outer padded key", &outer[..LEN]);
    let (inner, outer) = (after(FIRST, &inner), after(FIRST, &outer));
    add("the inner state", &big_endian(inner));
    add("the outer state", &big_endian(outer));
    let mut message = [SALT, &1_u32.to_be_bytes()].concat();
    let mut key = [0_u8; 64];
    for round in 1..=ROUNDS {
        let hash = big_endian(after(inner, &last_block(&message)));
        add(&format!("the inner hash of round {round}"), &hash);
        message = big_endian(after(outer, &last_block(&hash)));
        add(&format!("the result of round {round}"), &message);
        key.iter_mut().zip(&message).for_each(|(byte, of)| *byte ^= of);
    }
    add("the key", &key);
    // These are the values that the crates compute.
    let mut theirs = [0; 64];
    pbkdf2::pbkdf2_hmac::<Sha512>(passphrase, SALT, ROUNDS, &mut theirs);
    assert_eq!(theirs, key);
    found
}

// ---- A key -------------------------------------------------------------------------

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

/// Derives a key from what comes from the standard input, wipes both, and stops.
fn derive(around: impl FnOnce(&mut dyn FnMut())) {
    let process = std::process::id() as libc::pid_t;
    let stdin = File::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
    let passphrase = SecureVec::read_exact(stdin, LEN).unwrap();
    let mut key = SecureBox::<[u8; 64]>::zeroed();
    around(&mut || {
        let key = key.expose_secret_mut();
        pbkdf2::pbkdf2_hmac::<Sha512>(passphrase.expose_secret(), SALT, ROUNDS, key);
    });
    assert_ne!(key.expose_secret(), &[0; 64]);
    drop((passphrase, key));
    stop(process);
}

/// What is left of a derivation, and where.
fn left(test: &str) -> Option<Vec<String>> {
    let passphrase = random();
    let stopped = started(test, &passphrase);
    let traced = traced(&stopped)?;
    let everything = everything(&passphrase);
    let mut left = Vec::new();
    let mut look = |place: &str, bytes: &[u8]| {
        for (name, sought) in &everything {
            let count = parts_in(bytes, sought);
            if count != 0 {
                left.push(format!("{count} parts of {name} in {place}"));
            }
        }
    };
    look("the registers", &traced.registers());
    traced.memory(look);
    Some(left)
}

#[test]
fn a_key_derived_on_a_secret_stack_is_nowhere() {
    if env::var_os(CHILD).is_some() {
        return derive(|derive| on_secret_stack(derive));
    }
    if let Some(left) = left("a_key_derived_on_a_secret_stack_is_nowhere") {
        assert!(left.is_empty(), "{left:#?}");
    }
}

#[test]
fn control_a_key_derived_on_the_ordinary_stack_is_found() {
    if env::var_os(CHILD).is_some() {
        return derive(|derive| derive());
    }
    if let Some(left) = left("control_a_key_derived_on_the_ordinary_stack_is_found") {
        println!("{left:#?}");
        assert!(!left.is_empty());
    }
}

// ---- Registers ---------------------------------------------------------------------

/// Fills all registers that a function may change with what `words` has.
#[inline(never)]
fn fill_registers(words: &[u8; 64]) {
    #[cfg(target_arch = "x86_64")]
    {
        let at = words.as_ptr();
        macro_rules! fill {
            ($($instruction:literal,)*) => {
                // SAFETY: reads the eight words, and changes registers that a function may change.
                unsafe {
                    std::arch::asm!($($instruction,)* in("rax") at, clobber_abi("sysv64"),
                                    options(nostack, readonly))
                }
            };
        }
        fill!(
            "movq mm0, [rax]",
            "movq mm1, [rax]",
            "movq mm2, [rax]",
            "movq mm3, [rax]",
            "movq mm4, [rax]",
            "movq mm5, [rax]",
            "movq mm6, [rax]",
            "movq mm7, [rax]",
            "emms",
            "movups xmm0, [rax]",
            "movups xmm1, [rax]",
            "movups xmm2, [rax]",
            "movups xmm3, [rax]",
            "movups xmm4, [rax]",
            "movups xmm5, [rax]",
            "movups xmm6, [rax]",
            "movups xmm7, [rax]",
            "movups xmm8, [rax]",
            "movups xmm9, [rax]",
            "movups xmm10, [rax]",
            "movups xmm11, [rax]",
            "movups xmm12, [rax]",
            "movups xmm13, [rax]",
            "movups xmm14, [rax]",
            "movups xmm15, [rax]",
        );
        if is_x86_feature_detected!("avx") {
            fill!(
                "vmovups ymm0, [rax]",
                "vmovups ymm1, [rax]",
                "vmovups ymm2, [rax]",
                "vmovups ymm3, [rax]",
                "vmovups ymm4, [rax]",
                "vmovups ymm5, [rax]",
                "vmovups ymm6, [rax]",
                "vmovups ymm7, [rax]",
                "vmovups ymm8, [rax]",
                "vmovups ymm9, [rax]",
                "vmovups ymm10, [rax]",
                "vmovups ymm11, [rax]",
                "vmovups ymm12, [rax]",
                "vmovups ymm13, [rax]",
                "vmovups ymm14, [rax]",
                "vmovups ymm15, [rax]",
            );
        }
        if is_x86_feature_detected!("avx512f") {
            fill!(
                "vmovups zmm1, [rax]",
                "vmovups zmm15, [rax]",
                "vmovups zmm16, [rax]",
                "vmovups zmm17, [rax]",
                "vmovups zmm18, [rax]",
                "vmovups zmm19, [rax]",
                "vmovups zmm20, [rax]",
                "vmovups zmm21, [rax]",
                "vmovups zmm22, [rax]",
                "vmovups zmm23, [rax]",
                "vmovups zmm24, [rax]",
                "vmovups zmm25, [rax]",
                "vmovups zmm26, [rax]",
                "vmovups zmm27, [rax]",
                "vmovups zmm28, [rax]",
                "vmovups zmm29, [rax]",
                "vmovups zmm30, [rax]",
                "vmovups zmm31, [rax]",
                "kmovw k1, [rax]",
                "kmovw k2, [rax]",
                "kmovw k3, [rax]",
                "kmovw k4, [rax]",
                "kmovw k5, [rax]",
                "kmovw k6, [rax]",
                "kmovw k7, [rax]",
            );
        }
        fill!(
            "mov rdx, [rax]",
            "mov rsi, [rax]",
            "mov rdi, [rax]",
            "mov r8, [rax]",
            "mov r9, [rax]",
            "mov r10, [rax]",
            "mov r11, [rax]",
            "mov rcx, [rax]",
            "mov rax, [rax]",
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads the eight words, and changes registers that a function may change.
    unsafe {
        std::arch::asm!(
            "ldr q0, [x0]", "ldr q1, [x0]", "ldr q2, [x0]", "ldr q3, [x0]", "ldr q4, [x0]",
            "ldr q5, [x0]", "ldr q6, [x0]", "ldr q7, [x0]", "ldr q16, [x0]", "ldr q17, [x0]",
            "ldr q18, [x0]", "ldr q19, [x0]", "ldr q20, [x0]", "ldr q21, [x0]", "ldr q22, [x0]",
            "ldr q23, [x0]", "ldr q24, [x0]", "ldr q25, [x0]", "ldr q26, [x0]", "ldr q27, [x0]",
            "ldr q28, [x0]", "ldr q29, [x0]", "ldr q30, [x0]", "ldr q31, [x0]",
            "ldr x1, [x0]", "ldr x2, [x0]", "ldr x3, [x0]", "ldr x4, [x0]", "ldr x5, [x0]",
            "ldr x6, [x0]", "ldr x7, [x0]", "ldr x8, [x0]", "ldr x9, [x0]", "ldr x10, [x0]",
            "ldr x11, [x0]", "ldr x12, [x0]", "ldr x13, [x0]", "ldr x14, [x0]", "ldr x15, [x0]",
            "ldr x16, [x0]", "ldr x17, [x0]", "ldr x0, [x0]",
            in("x0") words.as_ptr(), clobber_abi("C"), options(nostack, readonly),
        );
    }
}

/// Fills the registers with what comes from the standard input, and stops.
fn fill(around: impl FnOnce(&dyn Fn())) {
    let process = std::process::id() as libc::pid_t;
    let stdin = File::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
    let words = SecureBox::<[u8; 64]>::read_exact(stdin).unwrap();
    around(&|| fill_registers(words.expose_secret()));
    stop(process);
}

/// How many registers have what was put there.
fn filled(test: &str) -> Option<usize> {
    let bytes: [u8; 64] = random();
    let stopped = started(test, &bytes);
    let registers = traced(&stopped)?.registers();
    Some(
        registers
            .chunks_exact(8)
            .filter(|word| bytes.chunks_exact(8).any(|it| it == *word))
            .count(),
    )
}

#[test]
fn no_register_keeps_anything() {
    if env::var_os(CHILD).is_some() {
        return fill(|fill| on_secret_stack(fill));
    }
    if let Some(filled) = filled("no_register_keeps_anything") {
        assert_eq!(filled, 0);
    }
}

#[test]
fn control_registers_keep_what_a_function_leaves() {
    if env::var_os(CHILD).is_some() {
        return fill(|fill| fill());
    }
    if let Some(filled) = filled("control_registers_keep_what_a_function_leaves") {
        println!("{filled} words");
        // 16 vector registers of two words, and some general registers. Kernels that show the upper
        // halves of the vector registers too show all of these twice, and some do so at times only.
        assert!(filled > 32, "{filled}");
    }
}
