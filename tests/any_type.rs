//! Values of any type in locked memory, from any pool: their destructors run before the wipe, no
//! operation leaves a byte behind, and memory that cannot be had is told with its cause. The tests
//! read memory through `/proc/self/mem`, as another process would see it.

#![cfg(target_os = "linux")]

mod common;

use allocator_api2::alloc::{Allocator, Layout};
use bitcoin_support::{
    Cause, ForkPolicy, LockedAllocator, LockedOnly, LockedPool, LockedPoolManager, PoolOptions,
    PosixLockedPageAllocator, SecureAllocator, SecureArray, SecureBox, SecureString, SecureVec,
    ZeroizingAllocator, page_size, secure_format, unsize_secure_box,
};
use common::{
    alone, alone_with_the_pool, assert_wiped, in_child, limit_locked_memory, locked_by_kernel,
    read_memory,
};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

fn addr_of<T: ?Sized, A: LockedAllocator>(value: &SecureBox<T, A>) -> usize {
    std::ptr::from_ref(value.expose_secret()).cast::<u8>().addr()
}

type Notes = RefCell<Vec<[u8; 24]>>;

/// A value of a type to which zeros are not known to be a value. It notes its secret when it is
/// dropped.
struct Noted<'n> {
    secret: [u8; 24],
    notes: &'n Notes,
    panics: bool,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.notes.borrow_mut().push(self.secret);
        if self.panics {
            resume_unwind(Box::new("from a destructor"));
        }
    }
}

fn noted(number: u8, notes: &Notes) -> Noted<'_> {
    Noted { secret: [number; 24], notes, panics: false }
}

#[test]
fn destructors_see_the_secret_and_the_wipe_comes_afterwards() {
    let _turn = alone_with_the_pool();
    let notes = Notes::default();
    let size = size_of::<Noted<'_>>();
    for panics in [false, true] {
        let mut boxed = SecureBox::new(noted(7, &notes));
        boxed.expose_secret_mut().panics = panics;
        let at = addr_of(&boxed);
        // The control: the kernel sees the secret there.
        assert!(read_memory(at, size).unwrap().windows(24).any(|bytes| bytes == [7; 24]));
        assert_eq!(catch_unwind(AssertUnwindSafe(|| drop(boxed))).is_err(), panics);
        assert_eq!(notes.take(), [[7; 24]]);
        assert_wiped(at, size);
    }

    trait Secret {
        fn secret(&self) -> u8;
    }
    impl Secret for Noted<'_> {
        fn secret(&self) -> u8 {
            self.secret[0]
        }
    }
    let object: SecureBox<dyn Secret + '_> = unsize_secure_box!(SecureBox::new(noted(3, &notes)));
    let at = addr_of(&object);
    assert_eq!(object.expose_secret().secret(), 3);
    drop(object);
    assert_eq!(notes.take(), [[3; 24]]);
    assert_wiped(at, size);

    let mut vec = SecureVec::with_capacity(10);
    vec.extend((0..6).map(|number| noted(number, &notes)));
    vec.expose_secret_mut()[2].panics = true;
    let slice = vec.into_boxed_slice();
    let at = addr_of(&slice);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(slice))).is_err());
    assert_eq!(notes.take().len(), 6, "the others are dropped all the same");
    assert_wiped(at, 6 * size);

    let moved = SecureBox::new(noted(9, &notes));
    let at = addr_of(&moved);
    let inner = moved.into_inner();
    assert_wiped(at, size);
    assert_eq!((notes.take().len(), inner.secret), (0, [9; 24]));
    // A box that is forgotten is never dropped, and its memory stays.
    let forgotten = SecureBox::new(noted(1, &notes));
    let at = addr_of(&forgotten);
    std::mem::forget(forgotten);
    assert!(read_memory(at, size).unwrap().windows(24).any(|bytes| bytes == [1; 24]));
    assert_eq!(notes.take().len(), 0);
}

#[test]
fn all_kinds_of_types() {
    let _turn = alone_with_the_pool();
    #[derive(Debug, PartialEq)]
    enum Key {
        Private([u8; 32]),
        None,
    }
    let mut key = SecureBox::new(Key::Private([5; 32]));
    *key.expose_secret_mut() = Key::None;
    assert_eq!(*key.expose_secret(), Key::None);
    let some = SecureBox::new(Some([6_u8; 32]));
    assert_eq!(some.expose_secret().unwrap()[31], 6);
    let shared = Rc::new(Cell::new(1));
    let counted = SecureBox::new((shared.clone(), "text", String::from("elsewhere")));
    assert_eq!(Rc::strong_count(&shared), 2);
    drop(counted);
    assert_eq!(Rc::strong_count(&shared), 1);

    let mut words = SecureVec::new();
    words.push(SecureString::from("correct"));
    words.push(SecureString::from("horse"));
    assert_eq!(words.iter().map(SecureString::len).sum::<usize>(), 12);
    let any: SecureBox<dyn Any> = unsize_secure_box!(SecureBox::new(words));
    let words = any.expose_secret().downcast_ref::<SecureVec<SecureString>>().unwrap();
    assert!(words.expose_secret()[1] == "horse");

    let bytes: SecureBox<[u8]> = SecureBox::from(SecureBox::new([1_u8, 2, 3]));
    assert!(bytes == SecureVec::from([1_u8, 2, 3]).into_boxed_slice());
    assert!(bytes != SecureVec::from([1_u8, 2]).into_boxed_slice());
    assert_eq!(bytes.expose_secret(), [1, 2, 3]);

    let array = SecureArray::<4>::try_from(&[1_u8, 2, 3, 4][..]).unwrap();
    let error = SecureArray::<4>::try_from(&[1_u8, 2, 3][..]).unwrap_err();
    assert_eq!(error.to_string(), "the secret has 3 bytes, not 4");
    let mut longer = SecureVec::with_capacity(100);
    longer.extend_from_slice(&[1, 2, 3, 4]);
    assert!(SecureArray::<4>::try_from(longer).unwrap() == array);
    assert!(SecureArray::<3>::try_from(SecureVec::from([0_u8; 4])).is_err());
    assert!(SecureBox::<[u8; 3]>::default() == SecureBox::zeroed());
    assert!(secure_format!("{}-{:02}", "a", 7) == "a-07");
}

#[test]
fn values_without_size_and_with_wide_alignment() {
    let _turn = alone_with_the_pool();
    thread_local!(static DROPPED: Cell<usize> = const { Cell::new(0) });
    struct Nothing;
    impl Drop for Nothing {
        fn drop(&mut self) {
            DROPPED.set(DROPPED.get() + 1);
        }
    }
    let used = LockedPoolManager::instance().stats().used;
    drop(SecureBox::new(Nothing));
    let mut many: SecureVec<Nothing> = (0..100).map(|_| Nothing).collect();
    drop(many.split_off(90));
    assert_eq!(DROPPED.get(), 11);
    assert_eq!(many.drain(10..20).count(), 10);
    many.insert(3, Nothing);
    many.append(&mut (0..5).map(|_| Nothing).collect());
    assert_eq!(many.len(), 86);
    let slice: SecureBox<[Nothing]> = many.into_boxed_slice();
    assert_eq!(slice.expose_secret().len(), 86);
    assert!(slice.is_locked());
    drop(slice);
    assert_eq!(DROPPED.get(), 107);
    let mut iterator = (0..7).map(|_| Nothing).collect::<SecureVec<_>>().into_iter();
    drop(iterator.next());
    drop(iterator);
    assert_eq!(DROPPED.get(), 114);
    assert_eq!(SecureBox::new(()).into_inner(), ());
    assert_eq!(LockedPoolManager::instance().stats().used, used);

    #[repr(align(1024))]
    struct Wide([u8; 3]);
    let wide = SecureBox::new(Wide([1, 2, 3]));
    assert_eq!((addr_of(&wide) % 1024, wide.expose_secret().0), (0, [1, 2, 3]));
    let object: SecureBox<dyn Any> = unsize_secure_box!(wide);
    assert_eq!(addr_of(&object) % 1024, 0);
    assert!(object.expose_secret().is::<Wide>());
}

#[test]
fn what_leaves_a_vector_leaves_nothing_there() {
    let _turn = alone_with_the_pool();
    let fresh = || SecureVec::from([1_u32, 2, 3, 4, 5, 6, 7, 8]);
    let at = |vec: &SecureVec<u32>, index: usize| vec.as_ptr().addr() + 4 * index;

    let mut vec = fresh();
    let (place, all) = (at(&vec, 0), vec.capacity() * 4);
    let tail = vec.split_off(5);
    assert_eq!((vec.expose_secret(), tail.expose_secret()), (&[1, 2, 3, 4, 5][..], &[6, 7, 8][..]));
    assert_wiped(place + 20, all - 20);
    assert_eq!(vec.swap_remove(1), 2);
    assert_eq!(vec.expose_secret(), [1, 5, 3, 4]);
    assert_wiped(place + 16, all - 16);
    vec.insert(0, 9);
    assert_eq!(vec.expose_secret(), [9, 1, 5, 3, 4]);
    let drained: Vec<u32> = vec.drain(1..=2).collect();
    assert_eq!((drained, vec.expose_secret()), (vec![1, 5], &[9, 3, 4][..]));
    assert_wiped(place + 12, all - 12);
    // An iterator that is forgotten has taken its elements along.
    std::mem::forget(vec.drain(..2));
    assert_eq!(vec.expose_secret(), [4]);
    assert_wiped(place + 4, all - 4);

    let mut other = fresh();
    let (from, all) = (at(&other, 0), other.capacity() * 4);
    vec.append(&mut other);
    assert_eq!((vec.len(), other.len()), (9, 0));
    assert_wiped(from, all);
    vec.retain_mut(|value| {
        *value += 1;
        *value % 2 == 0
    });
    assert_eq!(vec.expose_secret(), [2, 4, 6, 8]);

    let vec = fresh();
    let (place, all) = (at(&vec, 0), vec.capacity() * 4);
    let mut iterator = vec.into_iter();
    assert_eq!((iterator.next(), iterator.next(), iterator.len()), (Some(1), Some(2), 6));
    assert_wiped(place, 8);
    assert_eq!(iterator.expose_secret(), [3, 4, 5, 6, 7, 8]);
    assert_eq!(read_memory(place + 8, 4).unwrap(), 3_u32.to_ne_bytes(), "the control");
    drop(iterator);
    assert_wiped(place, all);

    let mut text = SecureString::from("  größe 7\n");
    let (place, all) = (text.expose_secret().as_ptr().addr(), text.capacity());
    text.trim_in_place();
    assert!(text == "größe 7");
    assert_wiped(place + text.len(), all - text.len());
    assert_eq!(text.remove(2), 'ö');
    text.retain(|character| character != ' ' && character != 'ß');
    assert!(text == "gre7");
    assert_wiped(place + 4, all - 4);
    text.insert_str(1, "ß");
    text.insert(0, '€');
    assert!(text == "€gßre7");
    // A predicate that panics leaves a text.
    let mut looked = 0;
    let panics = AssertUnwindSafe(|| {
        text.retain(|_| {
            looked += 1;
            if looked == 4 { resume_unwind(Box::new("from a predicate")) } else { looked == 2 }
        });
    });
    assert!(catch_unwind(panics).is_err());
    assert!(text == "gre7");
    for index in [0, 5] {
        let mut text = SecureString::from("€");
        assert!(catch_unwind(AssertUnwindSafe(|| text.insert(index + 1, 'x'))).is_err());
        assert!(text == "€");
    }
}

/// Iterators that lie about their length, panic half-way, or come to the vector's end by surprise.
#[test]
fn iterators_need_not_be_honest() {
    let _turn = alone_with_the_pool();
    struct Liar(u8);
    impl Iterator for Liar {
        type Item = u8;
        fn next(&mut self) -> Option<u8> {
            self.0 = self.0.checked_sub(1)?;
            Some(self.0)
        }
        fn size_hint(&self) -> (usize, Option<usize>) {
            (usize::MAX, Some(0))
        }
    }
    assert_eq!(Liar(5).collect::<SecureVec<u8>>().expose_secret(), [4, 3, 2, 1, 0]);
    let notes = Notes::default();
    let half_way = || -> SecureVec<Noted<'_>> {
        (0..10)
            .map(|number| {
                if number == 6 {
                    resume_unwind(Box::new("from an iterator"));
                }
                noted(number, &notes)
            })
            .collect()
    };
    assert!(catch_unwind(AssertUnwindSafe(half_way)).is_err());
    assert_eq!(notes.take().len(), 6);

    // A destructor that panics in the middle of an iterator.
    let mut vec: SecureVec<_> = (0..6).map(|number| noted(number, &notes)).collect();
    vec.expose_secret_mut()[3].panics = true;
    let (place, all) = (vec.as_ptr().addr(), vec.capacity() * size_of::<Noted<'_>>());
    let mut iterator = vec.into_iter();
    drop(iterator.next());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(iterator))).is_err());
    assert_eq!(notes.take().len(), 6);
    assert_wiped(place, all);
}

#[test]
fn in_a_pool_that_the_program_made() {
    let _turn = alone_with_the_pool();
    let used = LockedPoolManager::instance().stats().used;
    let pool = LockedPool::with_options(&PoolOptions::new().max_size(1 << 20)).unwrap();
    let mut text = SecureString::new_in(&pool);
    for _ in 0..100 {
        text.push_str("0123456789");
    }
    let key = SecureBox::new_in(vec![7; 3], &pool);
    let seed = SecureVec::read_from_in(&[9_u8; 64][..], 64, &pool).unwrap();
    let copy = seed.duplicate();
    let zeros = SecureBox::<[u64; 9]>::try_zeroed_in(&pool).unwrap();
    assert!(copy == seed && *zeros.expose_secret() == [0; 9]);
    assert_eq!((pool.stats().chunks_used, LockedPoolManager::instance().stats().used), (5, used));
    assert_eq!(text.is_locked(), pool.stats().is_fully_locked());
    let mut container = allocator_api2::vec::Vec::new_in(&pool);
    container.extend_from_slice(&[7_u8; 100]);
    let place = container.as_ptr().addr();
    assert_eq!(read_memory(place, 100).unwrap(), [7; 100], "the control");
    drop(container);
    assert_wiped(place, 100);
    drop((text, key, seed, copy, zeros));
    assert_eq!(pool.stats().used, 0);
    fn wipes(_: &impl ZeroizingAllocator) {}
    wipes(&&pool);

    let error = SecureVec::<u8>::try_with_capacity_in(LockedPool::ARENA_SIZE + 1, &pool);
    assert_eq!(error.unwrap_err().cause(), Cause::TooLarge);
    let mut all = Vec::new();
    let error = loop {
        match SecureVec::<u8>::try_with_capacity_in(LockedPool::ARENA_SIZE, &pool) {
            Ok(one) => all.push(one),
            Err(error) => break error,
        }
    };
    assert_eq!((all.len(), error.cause()), (4, Cause::Full));
    assert!(error.to_string().starts_with("no locked memory for 262144 bytes: "), "{error}");
}

/// Safe code cannot place values in memory that may not exist, or that children find changed.
#[test]
fn pools_that_may_not_hold_values() {
    let _turn = alone_with_the_pool();
    let foreign = LockedPool::with_page_allocator(Box::new(PosixLockedPageAllocator));
    assert!(foreign.alloc(32, 16).is_some(), "the control");
    for policy in [ForkPolicy::Wipe, ForkPolicy::Absent] {
        let options = PoolOptions::new().fork_policy(policy);
        let pool = LockedPool::with_options(&options).unwrap();
        for pool in [&pool, &foreign] {
            assert!(Allocator::allocate(&pool, Layout::new::<u64>()).is_err());
            let error = SecureBox::try_new_in(Box::new(1), pool).err().unwrap();
            assert_eq!(error.cause(), Cause::Pool);
            assert!(error.to_string().contains("with_options_unchecked"), "{error}");
        }
        // SAFETY: the child below touches no value that its parent had in the pool.
        let pool = unsafe { LockedPool::with_options_unchecked(&options) }.unwrap();
        let key = SecureBox::new_in([0x5a_u8; 32], &pool);
        let place = addr_of(&key);
        in_child(|| match policy {
            ForkPolicy::Wipe => assert_wiped(place, 32),
            _ => assert_eq!(read_memory(place, 32), None),
        });
        assert_eq!(read_memory(place, 32).unwrap(), [0x5a; 32], "the control");
    }
}

#[test]
fn causes_are_told_apart() {
    let _turn = alone_with_the_pool();
    #[repr(align(2097152))]
    struct Huge(#[allow(dead_code, reason = "for its alignment")] u8);
    #[repr(align(131072))]
    struct Two(#[allow(dead_code, reason = "for its size")] [u8; 1 << 19]);
    let error = SecureVec::<Huge>::try_with_capacity(1).err().unwrap();
    assert_eq!((error.cause(), error.requested()), (Cause::Alignment(1 << 21), 1 << 21));
    assert!(!error.to_string().contains("ulimit"), "{error}");
    let error = SecureVec::<Two>::try_with_capacity(1).err().unwrap();
    let lockable = SecureVec::<u8>::try_with_capacity(1 << 19).is_ok();
    let expected = if lockable { Cause::Alignment(1 << 17) } else { Cause::Full };
    assert_eq!(error.cause(), expected);
    let error = SecureVec::<u64>::try_with_capacity(usize::MAX / 8).unwrap_err();
    assert_eq!(error.cause(), Cause::TooLarge);
    let error = SecureVec::<u64>::try_with_capacity(usize::MAX).unwrap_err();
    assert_eq!((error.cause(), error.requested()), (Cause::TooLarge, usize::MAX));
    let error = SecureVec::<u8>::try_with_capacity(isize::MAX as usize - page_size()).unwrap_err();
    assert_eq!(error.cause(), Cause::Full);
}

#[test]
fn locked_or_nothing() {
    alone("locked_or_nothing", || {
        const LIMIT: usize = 64 * 1024;
        limit_locked_memory(LIMIT, LIMIT);
        let key = SecureBox::new_in([7_u8; 32], LockedOnly);
        if locked_by_kernel() == 0 {
            println!("skipped: nothing can be locked here");
            return;
        }
        assert!(key.is_locked());
        let mut kept = Vec::new();
        let error = loop {
            match SecureVec::<u8>::try_with_capacity_in(1024, LockedOnly) {
                Ok(one) => kept.push(one),
                Err(error) => break error,
            }
            assert!(kept.last().unwrap().is_locked() && kept.len() <= LIMIT / 1024);
        };
        assert!(kept.len() > LIMIT / 1024 / 2);
        assert_eq!(error.cause(), Cause::NotLocked);
        assert!(
            error.to_string().contains("must be locked") && error.to_string().contains("ulimit")
        );
        // One that cannot grow stays as it is.
        let mut growing = kept.pop().unwrap();
        growing.resize(1024, 7);
        assert_eq!(growing.try_reserve(8192).unwrap_err().cause(), Cause::NotLocked);
        assert!(growing.is_locked() && growing.expose_secret() == [7; 1024]);
        // The control: without the requirement there is memory, and it is not locked.
        let mut unlocked = SecureVec::<u8>::with_capacity(8192);
        unlocked.push(1);
        assert!(!unlocked.is_locked());
        assert!(!LockedOnly::is_locked(unlocked.as_ptr()));
        let ordinary = Box::new([1_u8; 32]);
        assert!(!LockedOnly::is_locked(ordinary.as_ptr()));
    });
}

#[test]
fn where_the_program_refuses_unlocked_memory_there_is_none() {
    alone("where_the_program_refuses_unlocked_memory_there_is_none", || {
        const LIMIT: usize = 64 * 1024;
        limit_locked_memory(LIMIT, LIMIT);
        LockedPoolManager::instance().set_locking_failed(Some(Box::new(|_| false)));
        let error = SecureVec::<u8>::try_with_capacity_in(2 * LIMIT, LockedOnly).unwrap_err();
        assert_eq!(error.cause(), Cause::Full);
        let error = SecureVec::<u8>::try_with_capacity(2 * LIMIT).unwrap_err();
        assert_eq!((error.cause(), error.limit()), (Cause::Full, LIMIT));
    });
}

/// Secrets in destructors of thread-local values, which run when the thread's heap may be gone.
#[test]
fn in_destructors_of_a_thread() {
    let _turn = alone_with_the_pool();
    struct Late(SecureBox<dyn Any>, Option<SecureVec<SecureString>>);
    impl Drop for Late {
        fn drop(&mut self) {
            let words = self.1.take().unwrap();
            let mut copy = SecureVec::new();
            copy.extend(words.into_iter().map(|word| SecureBox::new(word)));
            assert!(self.0.expose_secret().is::<[u8; 32]>() && copy.len() == 2);
        }
    }
    thread_local!(static LATE: RefCell<Option<Late>> = const { RefCell::new(None) });
    let used = LockedPoolManager::instance().stats().used;
    for _ in 0..3 {
        std::thread::spawn(|| {
            let words = ["one", "two"].map(SecureString::from).into_iter().collect();
            let key: SecureBox<dyn Any> = unsize_secure_box!(SecureBox::new([1_u8; 32]));
            LATE.set(Some(Late(key, Some(words))));
        })
        .join()
        .unwrap();
    }
    assert_eq!(LockedPoolManager::instance().stats().used, used);
}

#[test]
fn places_are_handed_out_and_taken_back() {
    let _turn = alone_with_the_pool();
    let notes = Notes::default();
    let (place, allocator) = SecureBox::new(noted(4, &notes)).into_raw_parts();
    assert_eq!(notes.borrow().len(), 0);
    // SAFETY: the two come from one box, and are used once.
    let boxed = unsafe { SecureBox::from_raw_parts(place, allocator) };
    assert_eq!(addr_of(&boxed), place.addr().get());
    drop(boxed);
    assert_eq!(notes.take(), [[4; 24]]);
    fn is_send<T: Send>(_: &T) {}
    fn is_sync<T: Sync>(_: &T) {}
    let key = SecureBox::new([1_u8; 32]);
    is_send(&key);
    is_sync(&key);
    assert_eq!(key.allocator(), &SecureAllocator);
}
