//! Values that live as long as the process.

/// Moves a value to the heap for good; `None` when there is no memory for it.
pub(crate) fn leak<T: 'static>(value: T) -> Option<&'static T> {
    let mut place = Vec::new();
    place.try_reserve_exact(1).ok()?;
    place.push(value);
    place.leak().first()
}
