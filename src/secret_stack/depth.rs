//! How far down a stack has been written to.

/// Bytes that are looked at in one step.
const PIECE: usize = 256;
type Piece = [u64; PIECE / size_of::<u64>()];

/// Pieces that are looked at from the bottom up, whatever the order of the blocks is. The processor
/// fetches ahead in that direction.
const BLOCK: usize = 16;

/// The order in which the blocks of a stack are looked at.
///
/// A stack of the default size does not fit into the first level of many caches. Read in the same
/// order again and again, it would be fetched from the second level as a whole each time: what is
/// read first would have been replaced by what was read last. In the opposite order, the first part
/// is there still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Upwards,
    Downwards,
}

/// The offset of the lowest piece that is not all zeros, in a stack of whole pages; its length if
/// there is none. The answer does not depend on the order.
///
/// A function may leave gaps of any length between the bytes that it writes: so all bytes below
/// that piece are looked at.
pub(super) fn clean_below(stack: &[u8], order: Order) -> usize {
    let pieces: &[Piece] = bytemuck::cast_slice(stack);
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { zeros_by_avx2(pieces, order) } * PIECE;
    }
    zeros(pieces, order) * PIECE
}

/// How many pieces of zeros there are before the first other one.
///
/// All in one function, so that all of it is compiled for the registers of its caller.
#[inline(always)]
fn zeros(pieces: &[Piece], order: Order) -> usize {
    let blocks = pieces.len().div_ceil(BLOCK);
    let mut first = pieces.len();
    for number in 0..blocks {
        let block = match order {
            Order::Upwards => number,
            Order::Downwards => blocks - 1 - number,
        };
        let (from, to) = (block * BLOCK, pieces.len().min((block + 1) * BLOCK));
        for (at, piece) in (from..to).zip(&pieces[from..to]) {
            if piece.iter().fold(0, |all, word| all | word) != 0 {
                first = at;
                break;
            }
        }
        if first != pieces.len() && order == Order::Upwards {
            break;
        }
    }
    first
}

/// [`zeros`], compiled for registers that are twice as wide: most of the stack is in the second
/// level of the cache, which feeds them faster.
///
/// # Safety
/// The processor must have AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn zeros_by_avx2(pieces: &[Piece], order: Order) -> usize {
    zeros(pieces, order)
}

#[cfg(test)]
mod tests {
    use super::{Order, PIECE, clean_below};

    /// What both orders say.
    fn both_orders(stack: &[u64]) -> usize {
        let stack = bytemuck::cast_slice(stack);
        let offset = clean_below(stack, Order::Upwards);
        assert_eq!(clean_below(stack, Order::Downwards), offset);
        offset
    }

    #[test]
    fn every_byte_is_seen() {
        let mut stack = bytemuck::zeroed_slice_box::<u64>(1024);
        let len = 8 * stack.len();
        assert_eq!(both_orders(&stack), len);
        for at in 0..len {
            bytemuck::cast_slice_mut(&mut stack)[at] = 1_u8;
            assert_eq!(both_orders(&stack), at / PIECE * PIECE);
            bytemuck::cast_slice_mut(&mut stack)[at] = 0_u8;
        }
    }

    #[test]
    fn the_lowest_of_several_counts() {
        const PIECES: usize = 40;
        for (low, high) in (0..PIECES).flat_map(|low| (low..PIECES).map(move |high| (low, high))) {
            let mut stack = bytemuck::zeroed_slice_box::<u64>(PIECES * PIECE / 8);
            stack[low * PIECE / 8] = 1;
            stack[high * PIECE / 8] = 1;
            assert_eq!(both_orders(&stack), low * PIECE, "{low} and {high}");
        }
    }
}
