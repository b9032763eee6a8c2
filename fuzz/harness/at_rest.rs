//! Any operations on sealed secrets, and on secret stacks, beside plain values. What is opened must
//! be what was sealed or last written, whichever keys have been made since. A function on a secret
//! stack must run as elsewhere, also within others, with its result or its panic, and leave zeros.
//!
//! Depends on `fault`, `input` and the crate's public interface, with the feature `sealed`. No
//! other code may use the process-wide pool or sealing keys meanwhile.

use crate::fault::faults;
use crate::input::{Input, address};
use bitcoin_support::{
    LockedPoolManager, SealedBox, SealedError, SealedVec, SecretStack, SecureBox, SecureVec,
    rotate_sealing_key,
};
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

faults! {
    /// A byte of an opened secret is another one.
    ChangesContents,
    /// What is written through a guard is not sealed.
    ForgetsChanges,
    /// What a guard has discarded is sealed.
    KeepsDiscarded,
    /// A function's result is another one.
    ChangesResult,
    /// A function's panic does not come back.
    SwallowsPanic,
    /// A byte of what a function left on its stack is there afterwards.
    LeavesStack,
}

/// Without panics: AddressSanitizer would take what they leave on a secret stack for frames that
/// are in use, and the wipe for a bad access.
pub(crate) fn run(data: &[u8]) {
    run_all(data, Fault::None, false);
}

pub(crate) fn run_with(data: &[u8], fault: Fault) {
    run_all(data, fault, true);
}

/// The most operations of one input.
const MOST_STEPS: usize = 30;

/// The longest secret in bytes.
const LONGEST: usize = 5000;

type Array = [u64; 5];

struct Run {
    bytes: (SealedVec, Vec<u8>),
    arrays: [(SealedBox<Array>, Array); 2],
    fault: Fault,
    panics: bool,
}

fn run_all(data: &[u8], fault: Fault, panics: bool) {
    let mut input = Input::new(data);
    let before = LockedPoolManager::instance().stats().chunks_used;
    let array = |number| (SealedBox::seal_copy(&[number; 5]).expect("memory"), [number; 5]);
    let mut run = Run {
        bytes: (SealedVec::seal_copy(&[]).expect("memory"), Vec::new()),
        arrays: [array(1), array(2)],
        fault,
        panics,
    };
    // (To seal and to open take time: each hashes 16 KiB.)
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        run.step(&mut input, 0);
        assert!(SecretStack::lock_state().is_none(), "it is on a secret stack still");
    }
    drop(run);
    // The current key, which may have been made by this run.
    let after = LockedPoolManager::instance().stats().chunks_used;
    assert!(after <= before.max(1), "keys that no secret needs are kept");
}

/// Some bytes.
fn some_bytes(input: &mut Input<'_>) -> Vec<u8> {
    let len = if input.byte() < 200 { input.below(60) } else { input.below(LONGEST) };
    let first = input.byte();
    (0..len).map(|i| first.wrapping_add((i * 7) as u8)).collect()
}

/// Makes a new key. There is none where secrets need all that there may be.
fn rotate() {
    match rotate_sealing_key() {
        Ok(()) | Err(SealedError::KeysInUse) => {}
        Err(error) => panic!("{error}"),
    }
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>, depth: usize) {
        match input.byte() % 8 {
            0..=2 => self.bytes(input),
            3 => self.arrays(input),
            4 => rotate(),
            5 if depth < 4 => self.on_a_stack(input, depth),
            6 if self.panics => self.panics(input),
            _ => self.leaves(input),
        }
    }

    fn bytes(&mut self, input: &mut Input<'_>) {
        let (sealed, plain) = &mut self.bytes;
        match input.byte() % 6 {
            0 => {
                *plain = some_bytes(input);
                *sealed = SealedVec::seal(SecureVec::from_slice(plain)).expect("memory");
            }
            1 => {
                *plain = some_bytes(input);
                *sealed = SealedVec::seal_copy(plain).expect("memory");
            }
            2 => sealed.reseal().expect("its key is there"),
            number => {
                let mut opened = sealed.open_mut().expect("its key is there");
                assert!(opened.expose_secret() == plain.as_slice());
                let Some(at) = input.index(plain.len()) else { return };
                let byte = input.byte();
                opened.expose_secret_mut()[at] = byte;
                assert!(opened.expose_secret()[at] == byte);
                let discards = number == 3;
                if discards != matches!(self.fault, Fault::ForgetsChanges | Fault::KeepsDiscarded) {
                    opened.discard();
                } else {
                    drop(opened);
                }
                if !discards {
                    plain[at] = byte;
                }
            }
        }
        assert!(sealed.len() == plain.len() && sealed.is_empty() == plain.is_empty());
        let mut opened = sealed.open().expect("its key is there");
        if let (Fault::ChangesContents, [.., last]) = (self.fault, opened.expose_secret_mut()) {
            *last ^= 1;
        }
        assert!(opened.expose_secret() == plain.as_slice());
    }

    fn arrays(&mut self, input: &mut Input<'_>) {
        let number = input.below(2);
        match input.byte() % 5 {
            // Sealed objects can be moved.
            0 => self.arrays.swap(0, 1),
            1 => {
                let array = [input.short() as u64; 5];
                let sealed = SealedBox::seal(SecureBox::new(array)).expect("memory");
                self.arrays[number] = (sealed, array);
            }
            2 => {
                let (sealed, plain) = &mut self.arrays[number];
                plain[input.below(5)] ^= 0x100;
                *sealed.open_mut().expect("its key is there").expose_secret_mut() = *plain;
            }
            3 => self.arrays[number].0.reseal().expect("its key is there"),
            _ => rotate(),
        }
        for (sealed, plain) in &self.arrays {
            assert!(sealed.open().expect("its key is there").expose_secret() == plain);
        }
    }

    /// Some operations on a secret stack.
    fn on_a_stack(&mut self, input: &mut Input<'_>, depth: usize) {
        let (is_too_large, count) = (input.byte() > 250, input.below(4));
        let size = if is_too_large { input.too_many() } else { (64 + input.below(500)) << 10 };
        let result = SecretStack::new().size(size).run(|| {
            assert!(!is_too_large && SecretStack::lock_state().is_some());
            for _ in 0..count {
                self.step(input, depth + 1);
            }
            count * 2 + usize::from(self.fault == Fault::ChangesResult)
        });
        match result {
            Ok(result) => assert_eq!(result, count * 2),
            Err(error) => assert!(is_too_large, "{error}"),
        }
    }

    fn panics(&mut self, input: &mut Input<'_>) {
        let number = input.byte();
        let run = || SecretStack::new().run(|| resume_unwind(Box::new(number)));
        let outcome: Result<(), _> = catch_unwind(AssertUnwindSafe(|| {
            if self.fault == Fault::SwallowsPanic { Ok(()) } else { run() }.expect("memory");
        }));
        let panic = outcome.expect_err("it has panicked");
        assert_eq!(panic.downcast_ref(), Some(&number));
    }

    /// A function that leaves a mark on its stack.
    fn leaves(&mut self, input: &mut Input<'_>) {
        #[inline(never)]
        fn leave(kib: usize) -> usize {
            let mark = [0xa7_u8; 1024];
            if kib == 0 { black_box(&mark).as_ptr().addr() } else { leave(black_box(kib - 1)) }
        }
        let size = 64 + input.below(193); // up to the size that is kept
        let kib = input.below(16);
        let mark = SecretStack::new().size(size << 10).run(|| leave(kib)).expect("memory");
        // SAFETY: the mark lay on the stack that this thread has used last and keeps, and no
        // reference to it is left.
        let mark = unsafe { std::slice::from_raw_parts_mut(address(mark), 1024) };
        if self.fault == Fault::LeavesStack {
            mark[input.below(1024)] = 1;
        }
        let is_wiped = mark.iter().all(|&byte| byte == 0);
        mark.fill(0);
        assert!(is_wiped, "something is left on the stack");
    }
}
