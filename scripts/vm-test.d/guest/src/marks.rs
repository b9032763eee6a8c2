//! Marks: secrets that can be told from all other bytes, each with its kind and its number. A mark
//! is put together at run time, so that no program has it in its image.

use bitcoin_support::memory_cleanse;
use memchr::memmem;
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How many of each kind there are.
pub(crate) const MARKS: usize = 2000;
/// The bytes of a mark.
pub(crate) const LEN: usize = 48;
const DIGITS: usize = 6;

/// Writes a mark to its place.
fn write_mark(place: &mut [u8], kind: &str, number: usize) {
    place.fill(b'z');
    let name = ["GUEST", "MARK"];
    let mut rest = place;
    write!(rest, "{kind}-{}{}-{number:0DIGITS$}-", name[0], name[1]).expect("there is room");
}

/// Calls `use_mark` with each mark of a kind, whose place is wiped afterwards.
pub(crate) fn with_marks(kind: &str, mut use_mark: impl FnMut(usize, &[u8])) {
    let mut mark = [0_u8; LEN];
    for number in 0..MARKS {
        write_mark(&mut mark, kind, number);
        use_mark(number, &mark);
    }
    // SAFETY: the array's bytes.
    unsafe { memory_cleanse(mark.as_mut_ptr(), LEN) };
}

/// How many different marks of a kind a file or device has. It is read past the page cache where
/// that can be done.
pub(crate) fn count(path: &Path, kind: &str) -> usize {
    /// The alignment that `O_DIRECT` requires of a buffer.
    #[repr(align(4096))]
    struct Block([u8; 1 << 16]);
    let direct = File::options().read(true).custom_flags(libc::O_DIRECT).open(path);
    let mut file = direct.or_else(|_| File::open(path)).expect("it can be read");
    let mut mark = [0; LEN];
    write_mark(&mut mark, kind, 0);
    let begin = &mark[..mark.iter().rposition(|&byte| byte == b'-').unwrap() - DIGITS];
    let mut block = Box::new(Block([0; 1 << 16]));
    let mut found = HashSet::new();
    loop {
        let read = file.read(&mut block.0).expect("it can be read");
        if read == 0 {
            return found.len();
        }
        // (A mark across the border of two blocks does not count.)
        for at in memmem::find_iter(&block.0[..read], begin) {
            let digits = block.0[..read].get(at + begin.len()..at + begin.len() + DIGITS);
            if digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_digit)) {
                found.extend(digits.map(<[u8]>::to_vec));
            }
        }
    }
}
