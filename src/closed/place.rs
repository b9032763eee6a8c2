//! The pages of one closed secret.

use crate::pages::{LockedPages, Use, page_size};
use crate::pool::LockedPoolManager;
use crate::secure::{LockedAllocator, OutOfLockedMemory, SecureAllocator};
use core::alloc::Layout;
use core::ptr::NonNull;

/// Pages for a value, full of zeros, and its place in them: as near to the guard page behind them
/// as the alignment lets it.
pub(super) fn pages_for(layout: Layout) -> Result<(LockedPages, NonNull<u8>), OutOfLockedMemory> {
    let size = layout.size().max(1);
    let refused = || SecureAllocator.refusal(layout.size(), layout.align());
    if layout.align() > page_size() {
        return Err(refused());
    }
    let pages = LockedPoolManager::locked_pages(size).ok_or_else(refused)?;
    let offset = (pages.len() - size) & !(layout.align() - 1);
    // SAFETY: the pages have `size` bytes from there on.
    let place = unsafe { pages.as_ptr().add(offset) };
    Ok((pages, place))
}

/// Wipes pages and gives them back. Where the system refuses to open them for writing, and no
/// protection key does, it gets them as they are.
pub(super) fn give_up(pages: LockedPages) {
    if !pages.is_absent() && pages.begin_use(Use::Write).is_err() {
        return pages.give_up_closed();
    }
    drop(pages);
}
