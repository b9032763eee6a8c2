//! How far down a stack has been written to.

/// Bytes that are looked at in one step.
const PIECE: usize = 256;
type Piece = [u64; PIECE / size_of::<u64>()];

/// The offset of the lowest piece that is not all zeros, in a stack of whole pages; its length if
/// there is none.
///
/// A function may leave gaps of any length between the bytes that it writes: so the bytes are
/// looked at from the bottom up, and all of them.
pub(super) fn clean_below(stack: &[u8]) -> usize {
    let pieces: &[Piece] = bytemuck::cast_slice(stack);
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { zeros_by_avx2(pieces) } * PIECE;
    }
    zeros(pieces) * PIECE
}

/// How many pieces of zeros there are before the first other one.
#[inline(always)]
fn zeros(pieces: &[Piece]) -> usize {
    let is_zero = |piece: &Piece| piece.iter().fold(0, |all, word| all | word) == 0;
    pieces.iter().position(|piece| !is_zero(piece)).unwrap_or(pieces.len())
}

/// [`zeros`], compiled for registers that are twice as wide: most of the stack is in the second
/// level of the cache, which feeds them faster.
///
/// # Safety
/// The processor must have AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn zeros_by_avx2(pieces: &[Piece]) -> usize {
    zeros(pieces)
}

#[cfg(test)]
mod tests {
    use super::{PIECE, clean_below};

    #[test]
    fn every_byte_is_seen() {
        let mut stack = bytemuck::zeroed_slice_box::<u64>(1024);
        let len = 8 * stack.len();
        assert_eq!(clean_below(bytemuck::cast_slice(&stack)), len);
        for at in 0..len {
            bytemuck::cast_slice_mut(&mut stack)[at] = 1_u8;
            assert_eq!(clean_below(bytemuck::cast_slice(&stack)), at / PIECE * PIECE);
            bytemuck::cast_slice_mut(&mut stack)[at] = 0_u8;
        }
    }
}
