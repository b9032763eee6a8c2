//! The bounds on types where not every type will do, with the compiler's message for the others.

use crate::zeroizing::ct_eq;
use bytemuck::{NoUninit, Zeroable};
use subtle::Choice;

/// A type that has a value whose bytes are all zero: any type that is [`Zeroable`]. For
/// constructors that make such a value in its place.
///
/// ```compile_fail,E0277
/// // A secret key of zeros is no secret key. `SecureBox::new` takes a key of any type.
/// struct SecretKey([u8; 32]);
/// bitcoin_support::SecureBox::<SecretKey>::try_zeroed();
/// ```
#[diagnostic::on_unimplemented(
    message = "zeros are not known to be a value of `{Self}`",
    label = "needs a type that is `Zeroable`",
    note = "`SecureBox::new` and `SecureVec::push` take a value of any type",
    note = "of plain data, derive `bytemuck::Zeroable` (this crate's feature `derive`)"
)]
pub trait Zeroed: Zeroable {}

#[diagnostic::do_not_recommend]
impl<T: Zeroable> Zeroed for T {}

/// A type whose values are equal if their bytes are: any type that is [`NoUninit`], and slices of
/// it. For comparisons in constant time.
///
/// ```compile_fail,E0369
/// use bitcoin_support::SecureBox;
///
/// // Between `depth` and `index` are three bytes of padding, which may differ.
/// struct Path { depth: u8, index: u32 }
/// let path = SecureBox::new(Path { depth: 1, index: 2 });
/// path == path;
/// ```
#[diagnostic::on_unimplemented(
    message = "values of `{Self}` cannot be compared in constant time",
    label = "needs a type without padding that is `NoUninit`",
    note = "compare parts of what `expose_secret` returns, by `subtle::ConstantTimeEq`"
)]
pub trait Bytes {
    #[doc(hidden)]
    fn bytes_eq(&self, other: &Self) -> Choice;
}

#[diagnostic::do_not_recommend]
impl<T: NoUninit> Bytes for T {
    fn bytes_eq(&self, other: &Self) -> Choice {
        ct_eq(core::slice::from_ref(self), core::slice::from_ref(other))
    }
}

#[diagnostic::do_not_recommend]
impl<T: NoUninit> Bytes for [T] {
    fn bytes_eq(&self, other: &Self) -> Choice {
        ct_eq(self, other)
    }
}
