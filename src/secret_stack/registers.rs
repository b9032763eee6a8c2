//! Clears the registers that a function may have left secrets in.
//!
//! Which registers those are is the calling convention's choice. A function gives the registers
//! that it has to preserve their old values back before it returns, so nothing of it is left there.
//! All others are cleared, to the width that the processor has.
//!
//! The assembly stands in this file alone. Every block says which registers it takes to be its own:
//! `clobber_abi` names all that a function of the C calling convention need not preserve.

/// Clears all registers that the calling convention lets a function change: general, vector and
/// mask registers, those of the floating-point unit, and the flags. Control bits, such as rounding
/// modes, stay. Some tens of nanoseconds.
///
/// Not inlined: in the caller's place, the compiler could have a value in a register on its way
/// through here.
#[inline(never)]
pub(super) fn clear() {
    #[cfg(target_arch = "x86_64")]
    x86_64::clear();
    #[cfg(target_arch = "aarch64")]
    aarch64::clear();
}

/// x86-64, in the convention of System V ("System V Application Binary Interface, AMD64
/// Architecture Processor Supplement", section 3.2.1): `rbx`, `rbp`, `rsp` and `r12` to `r15` are
/// preserved, and so are the control bits of `mxcsr` and of the x87 unit.
#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use core::arch::asm;

    #[inline(always)]
    pub(super) fn clear() {
        let has_avx = std::arch::is_x86_feature_detected!("avx");
        let has_avx512 = std::arch::is_x86_feature_detected!("avx512f");
        // The eight registers of the x87 unit, which MMX shares. Between functions all eight are
        // marked as empty, and keep what was in them. `emms` marks them so, should the function
        // have left some in use. The eight loads push a zero into each, and as there are eight, the
        // top of the stack is where it was. The last `emms` marks them as empty again.
        //
        // SAFETY: all x87 and MMX registers are declared as changed.
        unsafe {
            asm!(
                "emms",
                "fldz",
                "fldz",
                "fldz",
                "fldz",
                "fldz",
                "fldz",
                "fldz",
                "fldz",
                "emms",
                clobber_abi("sysv64"),
                options(nomem, nostack, preserves_flags),
            );
        }
        if has_avx512 {
            // The upper sixteen of the 32 vector registers. Each instruction writes the whole
            // register. The eight mask registers: an instruction for 16 bits zeroes the other 48.
            //
            // SAFETY: the processor has AVX-512F, and all its registers are declared as changed.
            unsafe {
                asm!(
                    "vpxord zmm16, zmm16, zmm16",
                    "vpxord zmm17, zmm17, zmm17",
                    "vpxord zmm18, zmm18, zmm18",
                    "vpxord zmm19, zmm19, zmm19",
                    "vpxord zmm20, zmm20, zmm20",
                    "vpxord zmm21, zmm21, zmm21",
                    "vpxord zmm22, zmm22, zmm22",
                    "vpxord zmm23, zmm23, zmm23",
                    "vpxord zmm24, zmm24, zmm24",
                    "vpxord zmm25, zmm25, zmm25",
                    "vpxord zmm26, zmm26, zmm26",
                    "vpxord zmm27, zmm27, zmm27",
                    "vpxord zmm28, zmm28, zmm28",
                    "vpxord zmm29, zmm29, zmm29",
                    "vpxord zmm30, zmm30, zmm30",
                    "vpxord zmm31, zmm31, zmm31",
                    "kxorw k0, k0, k0",
                    "kxorw k1, k1, k1",
                    "kxorw k2, k2, k2",
                    "kxorw k3, k3, k3",
                    "kxorw k4, k4, k4",
                    "kxorw k5, k5, k5",
                    "kxorw k6, k6, k6",
                    "kxorw k7, k7, k7",
                    clobber_abi("sysv64"),
                    options(nomem, nostack, preserves_flags),
                );
            }
        }
        if has_avx {
            // The first sixteen vector registers, whole: also the parts that AVX-512 adds to them.
            //
            // SAFETY: the processor has AVX, and all its registers are declared as changed.
            unsafe {
                asm!("vzeroall", clobber_abi("sysv64"), options(nomem, nostack, preserves_flags),);
            }
        } else {
            // SAFETY: every x86-64 processor has SSE, and all its registers are declared as
            // changed.
            unsafe {
                asm!(
                    "xorps xmm0, xmm0",
                    "xorps xmm1, xmm1",
                    "xorps xmm2, xmm2",
                    "xorps xmm3, xmm3",
                    "xorps xmm4, xmm4",
                    "xorps xmm5, xmm5",
                    "xorps xmm6, xmm6",
                    "xorps xmm7, xmm7",
                    "xorps xmm8, xmm8",
                    "xorps xmm9, xmm9",
                    "xorps xmm10, xmm10",
                    "xorps xmm11, xmm11",
                    "xorps xmm12, xmm12",
                    "xorps xmm13, xmm13",
                    "xorps xmm14, xmm14",
                    "xorps xmm15, xmm15",
                    clobber_abi("sysv64"),
                    options(nomem, nostack, preserves_flags),
                );
            }
        }
        // The nine general registers that are not preserved. The flags are those of a zero
        // afterwards.
        //
        // SAFETY: all nine and the flags are declared as changed.
        unsafe {
            asm!(
                "xor eax, eax",
                "xor ecx, ecx",
                "xor edx, edx",
                "xor esi, esi",
                "xor edi, edi",
                "xor r8d, r8d",
                "xor r9d, r9d",
                "xor r10d, r10d",
                "xor r11d, r11d",
                clobber_abi("sysv64"),
                options(nomem, nostack),
            );
        }
    }
}

/// 64-bit ARM ("Procedure Call Standard for the Arm 64-bit Architecture", section 6.1): `x19` to
/// `x29`, `sp` and the lower halves of `v8` to `v15` are preserved. `x18` belongs to the system.
#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use core::arch::asm;

    #[inline(always)]
    pub(super) fn clear() {
        if std::arch::is_aarch64_feature_detected!("sve") {
            // The sixteen predicate registers of SVE (`pfalse`), and its first-fault register
            // (`setffr`, which is how it begins). As numbers, because the assembler knows the names
            // only where all of the program is built for processors with SVE. The vector registers
            // of SVE are the longer form of those below: to write one of those zeroes the rest.
            //
            // SAFETY: the processor has SVE, and its registers are declared as changed.
            unsafe {
                asm!(
                    ".inst 0x2518e400",
                    ".inst 0x2518e401",
                    ".inst 0x2518e402",
                    ".inst 0x2518e403",
                    ".inst 0x2518e404",
                    ".inst 0x2518e405",
                    ".inst 0x2518e406",
                    ".inst 0x2518e407",
                    ".inst 0x2518e408",
                    ".inst 0x2518e409",
                    ".inst 0x2518e40a",
                    ".inst 0x2518e40b",
                    ".inst 0x2518e40c",
                    ".inst 0x2518e40d",
                    ".inst 0x2518e40e",
                    ".inst 0x2518e40f",
                    ".inst 0x252c9000",
                    clobber_abi("C"),
                    options(nomem, nostack, preserves_flags),
                );
            }
        }
        // The vector registers that are not preserved at all. Of the other eight, the lower half is
        // the caller's: it is kept, and moving it onto itself zeroes the upper half.
        //
        // SAFETY: all that is changed is declared as changed; the lower halves of the eight keep
        // their values, and nothing else of them is preserved by any function.
        unsafe {
            asm!(
                "movi v0.2d, #0",
                "movi v1.2d, #0",
                "movi v2.2d, #0",
                "movi v3.2d, #0",
                "movi v4.2d, #0",
                "movi v5.2d, #0",
                "movi v6.2d, #0",
                "movi v7.2d, #0",
                "fmov d8, d8",
                "fmov d9, d9",
                "fmov d10, d10",
                "fmov d11, d11",
                "fmov d12, d12",
                "fmov d13, d13",
                "fmov d14, d14",
                "fmov d15, d15",
                "movi v16.2d, #0",
                "movi v17.2d, #0",
                "movi v18.2d, #0",
                "movi v19.2d, #0",
                "movi v20.2d, #0",
                "movi v21.2d, #0",
                "movi v22.2d, #0",
                "movi v23.2d, #0",
                "movi v24.2d, #0",
                "movi v25.2d, #0",
                "movi v26.2d, #0",
                "movi v27.2d, #0",
                "movi v28.2d, #0",
                "movi v29.2d, #0",
                "movi v30.2d, #0",
                "movi v31.2d, #0",
                clobber_abi("C"),
                options(nomem, nostack, preserves_flags),
            );
        }
        // The general registers that are not preserved, and the flags.
        //
        // SAFETY: all of them are declared as changed.
        unsafe {
            asm!(
                "mov x0, xzr",
                "mov x1, xzr",
                "mov x2, xzr",
                "mov x3, xzr",
                "mov x4, xzr",
                "mov x5, xzr",
                "mov x6, xzr",
                "mov x7, xzr",
                "mov x8, xzr",
                "mov x9, xzr",
                "mov x10, xzr",
                "mov x11, xzr",
                "mov x12, xzr",
                "mov x13, xzr",
                "mov x14, xzr",
                "mov x15, xzr",
                "mov x16, xzr",
                "mov x17, xzr",
                "msr nzcv, xzr",
                clobber_abi("C"),
                options(nomem, nostack),
            );
        }
    }
}
