//! Any operations on pools over the system's pages: a private pool with small arenas, and the
//! process-wide pool, which a second thread uses as well. Every byte of every chunk and every
//! statistic is checked.
//!
//! Depends on `fault`, `input` and the crate's public interface. The model knows the address and
//! the bytes of each chunk. It learns from the statistics how many bytes a new chunk takes; the
//! walk and the free must agree with that. The process-wide pool must be empty when a run begins,
//! and no other code may use it meanwhile.

use crate::fault::faults;
use crate::input::{Input, address};
use bitcoin_support::{FreeError, LockedPool, LockedPoolManager, PoolStats, page_size};
use std::cell::Cell;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

faults! {
    /// A new chunk has a byte of its earlier contents.
    ForgetsWipe,
    /// A chunk is handed out twice.
    HandsOutTwice,
    /// A free changes a byte of another chunk.
    SpoilsContents,
    /// A free does nothing and reports success.
    ForgetsFrees,
    /// A free that is refused reports success.
    AcceptsBadFrees,
    /// A free with another size is accepted.
    IgnoresSize,
    /// The statistics count one chunk too many.
    MiscountsChunks,
    /// The number of used bytes is right, and that of free bytes is wrong.
    MiscountsFree,
    /// The high-water mark lags behind.
    MiscountsPeak,
    /// A chunk for which there is room is not handed out.
    RefusesLarge,
    /// The walk leaves a used chunk out.
    WalksShort,
}

pub(crate) fn run(data: &[u8]) {
    run_with(data, Fault::None);
}

/// The most chunks at once. It keeps a run short.
const CHUNKS: usize = 200;

pub(crate) fn run_with(data: &[u8], fault: Fault) {
    let mut input = Input::new(data);
    let pool = match input.byte() % 2 {
        0 => {
            let page = page_size();
            let arena_size = (1 + input.below(8)) * page;
            let max_size = arena_size + input.below(12) * page + input.below(3) * 100;
            let pool = LockedPool::new(page, arena_size, max_size).expect("valid sizes");
            Pool::Own { pool: Box::new(pool), arena_size, max_size }
        }
        _ => Pool::Process,
    };
    let subject = Subject { pool, fault, frees: Cell::new(0) };
    let before = subject.stats();
    assert_eq!((before.used, before.chunks_used), (0, 0), "other code uses the pool");
    let mut run =
        Run { subject: &subject, chunks: Vec::new(), used: 0, peak: before.peak_used, exact: true };
    let mut helper = None;
    while !input.is_empty() {
        run.step(&mut input, &mut helper);
    }
    run.check();
    for chunk in &run.chunks {
        run.verify(chunk);
    }
    while !run.chunks.is_empty() {
        run.free(run.chunks.len() - 1);
    }
    drop(helper);
    run.check();
}

struct Chunk {
    addr: usize,
    /// The requested size.
    size: usize,
    alignment: usize,
    /// The bytes that it takes by the statistics.
    taken: usize,
    key: u8,
}

struct Run<'s> {
    subject: &'s Subject,
    chunks: Vec<Chunk>,
    used: usize,
    /// The most bytes that were ever used. Exact until a second thread uses the pool.
    peak: usize,
    exact: bool,
}

fn pattern(key: u8, offset: usize) -> u8 {
    key ^ (offset as u8).wrapping_mul(29) ^ (offset >> 8) as u8
}

impl Run<'_> {
    fn step(&mut self, input: &mut Input<'_>, helper: &mut Option<Helper>) {
        let operation = input.byte() % 32;
        let picked = |input: &mut Input<'_>| input.index(self.chunks.len());
        match operation {
            0..=11 => {
                let limit = self.subject.largest();
                let size = input.size(limit);
                let alignment = if operation == 0 { input.alignment() } else { 16 };
                self.alloc(size, alignment, None);
            }
            12..=17 => {
                let Some(index) = picked(input) else { return };
                self.free(index);
            }
            18 => {
                let Some(index) = picked(input) else { return };
                let Chunk { addr, size, alignment, .. } = self.chunks[index];
                self.verify(&self.chunks[index]);
                assert_eq!(self.subject.free_sized(addr, size, alignment), Ok(()));
                self.forget(index);
            }
            19 => {
                // A size that is larger than the chunk's, or 0, or too large to count.
                let Some(index) = picked(input) else { return };
                let Chunk { addr, taken, alignment, .. } = self.chunks[index];
                let wrong = match input.byte() % 4 {
                    0 => 0,
                    1 => taken + 1 + input.below(5000),
                    2 => usize::MAX - input.below(100),
                    _ => taken * 2,
                };
                let freed = self.subject.free_sized(addr, wrong, alignment);
                assert_eq!(freed, Err(FreeError::SizeMismatch), "{wrong} of {taken}");
                self.verify(&self.chunks[index]);
            }
            20..=22 => self.bad_free(input),
            23 => {
                assert_eq!(self.subject.free(0), Ok(()));
                assert_eq!(self.subject.free_sized(0, input.hostile(), input.alignment()), Ok(()));
            }
            24 => {
                let Some(index) = picked(input) else { return };
                self.verify(&self.chunks[index]);
            }
            25..=26 => {
                self.check_stats();
            }
            27 => self.check(),
            28..=30 => {
                // The second thread.
                self.exact = false;
                let helper = helper.get_or_insert_with(Helper::new);
                match picked(input) {
                    Some(index) if operation != 28 => {
                        self.verify(&self.chunks[index]);
                        let (pool, addr) = (self.subject, self.chunks[index].addr);
                        assert_eq!(helper.run(|| pool.free(addr)), Ok(()));
                        self.forget(index);
                    }
                    _ => self.alloc(input.size(5000), 16, Some(helper)),
                }
            }
            _ => *helper = None,
        }
    }

    fn alloc(&mut self, size: usize, alignment: usize, on: Option<&Helper>) {
        if self.chunks.len() == CHUNKS {
            return;
        }
        let subject = self.subject;
        let before = subject.stats();
        let got = match on {
            None => subject.alloc(size, alignment),
            Some(helper) => helper.run(|| subject.alloc(size, alignment)),
        };
        let valid = size > 0 && size <= subject.largest() && alignment.is_power_of_two();
        let Some(addr) = got else {
            assert!(
                !valid || !subject.has_room(size, alignment),
                "{size} bytes by {alignment} fit"
            );
            assert_eq!(subject.stats().used, before.used);
            return;
        };
        assert!(valid, "{size} bytes by {alignment} are not to be had");
        let after = subject.stats();
        assert_eq!(after.chunks_used, before.chunks_used + 1);
        let taken = after.used - before.used;
        assert!(taken >= size && taken % LockedPool::ARENA_ALIGN == 0, "{taken} for {size}");
        if let Pool::Own { .. } = subject.pool {
            assert_eq!(taken, size.next_multiple_of(LockedPool::ARENA_ALIGN));
        } else if alignment <= LockedPool::ARENA_ALIGN {
            let fair = if size <= 4096 { size + size / 8 + 16 } else { size + 2048 };
            assert!(taken <= fair, "{taken} for {size}");
        }
        assert!(addr % alignment.max(LockedPool::ARENA_ALIGN) == 0);
        for other in &self.chunks {
            let apart = addr + taken <= other.addr || other.addr + other.taken <= addr;
            assert!(apart, "a chunk overlaps another");
        }
        let key = (addr >> 4) as u8 ^ size as u8 | 1;
        // SAFETY: a live chunk of `size` bytes, which only this model uses.
        let bytes = unsafe { std::slice::from_raw_parts_mut(address(addr), size) };
        assert!(bytes.iter().all(|&byte| byte == 0), "a chunk is not wiped");
        bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = pattern(key, i));
        self.chunks.push(Chunk { addr, size, alignment, taken, key });
        self.used += taken;
        self.peak = self.peak.max(self.used);
    }

    fn verify(&self, chunk: &Chunk) {
        // SAFETY: a live chunk of `size` bytes, which only this model uses.
        let bytes = unsafe { std::slice::from_raw_parts(address(chunk.addr), chunk.size) };
        let same = bytes.iter().enumerate().all(|(i, &byte)| byte == pattern(chunk.key, i));
        assert!(same, "a chunk has changed");
    }

    fn free(&mut self, index: usize) {
        self.verify(&self.chunks[index]);
        assert_eq!(self.subject.free(self.chunks[index].addr), Ok(()));
        self.forget(index);
    }

    fn forget(&mut self, index: usize) {
        let chunk = self.chunks.swap_remove(index);
        self.used -= chunk.taken;
        // No other allocation has reused the chunk since. Its arena may have been given back.
        match self.subject.free(chunk.addr) {
            Err(FreeError::NotInPool) => {
                let mut chunks = self.subject.chunks().into_iter();
                let there = chunks.find(|&(addr, len, _)| (addr..addr + len).contains(&chunk.addr));
                assert_eq!(there, None, "a chunk of the pool is said to be none");
            }
            other => assert_eq!(other, Err(FreeError::InvalidFree)),
        }
    }

    fn bad_free(&mut self, input: &mut Input<'_>) {
        let (addr, expected) = match (input.index(self.chunks.len()), input.byte() % 4) {
            (Some(index), 0..=1) => {
                let chunk = &self.chunks[index];
                let inside = 1 + input.below(chunk.taken.min(1 << 16));
                if inside >= chunk.taken {
                    return;
                }
                (chunk.addr + inside, FreeError::InvalidFree)
            }
            (_, 2) => (std::ptr::from_ref(input).addr(), FreeError::NotInPool),
            _ => (input.hostile(), FreeError::NotInPool),
        };
        if addr == 0 {
            return;
        }
        let size = input.size(4096);
        assert_eq!(self.subject.free(addr), Err(expected), "{addr:#x}");
        let refused = self.subject.free_sized(addr, size, 16);
        assert_eq!(refused, Err(expected), "{addr:#x}");
        self.check_stats();
    }

    /// Checks that the statistics are exact.
    fn check_stats(&mut self) -> PoolStats {
        let stats = self.subject.stats();
        assert_eq!((stats.used, stats.chunks_used), (self.used, self.chunks.len()));
        assert_eq!(stats.used + stats.free, stats.total);
        assert!(stats.locked <= stats.total);
        assert_eq!(
            stats.locked == stats.total,
            stats.lock_failures == 0 || stats.locked == stats.total
        );
        assert_eq!(stats.last_lock_failure.is_some(), stats.lock_failures > 0);
        if self.exact {
            assert_eq!(stats.peak_used, self.peak);
        }
        assert!(stats.peak_used >= stats.used);
        // From now on the estimate that was read is the least that the peak may be.
        self.peak = self.peak.max(stats.peak_used);
        if let Pool::Own { max_size, .. } = self.subject.pool {
            assert!(stats.total <= max_size);
        }
        stats
    }

    /// Checks that the walk shows exactly the chunks, without overlaps, and adds up to the
    /// statistics.
    fn check(&mut self) {
        let stats = self.check_stats();
        let mut chunks = self.subject.chunks();
        chunks.sort_unstable();
        assert!(chunks.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "chunks overlap");
        let (used, free): (Vec<_>, Vec<_>) = chunks.into_iter().partition(|chunk| chunk.2);
        let mut known: Vec<_> = self.chunks.iter().map(|c| (c.addr, c.taken, true)).collect();
        known.sort_unstable();
        assert_eq!(used, known);
        assert_eq!(stats.chunks_free, free.len());
        let free: usize = free.iter().map(|chunk| chunk.1).sum();
        match self.subject.pool {
            Pool::Own { .. } => assert_eq!(stats.free, free),
            // The ends of slabs are in no chunk.
            Pool::Process => assert!(free <= stats.free),
        }
    }
}

enum Pool {
    Own { pool: Box<LockedPool>, arena_size: usize, max_size: usize },
    Process,
}

/// A pool, with the mistake.
struct Subject {
    pool: Pool,
    fault: Fault,
    frees: Cell<usize>,
}

// SAFETY: the cell is used only for mistakes. A second thread uses it while the first waits.
unsafe impl Sync for Subject {}

impl Subject {
    fn largest(&self) -> usize {
        match self.pool {
            Pool::Own { arena_size, .. } => arena_size,
            Pool::Process => LockedPool::ARENA_SIZE,
        }
    }

    /// Whether there is a place for a chunk, or may be a new arena with one.
    fn has_room(&self, size: usize, alignment: usize) -> bool {
        let size = size.next_multiple_of(LockedPool::ARENA_ALIGN);
        let fits = |&(addr, room, used): &(usize, usize, bool)| {
            let place = addr.checked_next_multiple_of(alignment).unwrap_or(usize::MAX);
            !used && place.checked_add(size).is_some_and(|end| end <= addr + room)
        };
        if self.chunks().iter().any(fits) {
            return true;
        }
        let Pool::Own { arena_size, max_size, .. } = self.pool else {
            // The pool grows without a limit, but a new arena has a place for certain only up to
            // the alignment of a page.
            return alignment <= page_size();
        };
        let stats = self.stats();
        let left = max_size - stats.total;
        // Unlocked memory comes only in whole arenas.
        let new = if stats.lock_failures > 0 { left / arena_size * arena_size } else { left };
        let slack = if alignment > page_size() { alignment } else { 0 };
        let need = size.saturating_add(slack);
        need <= arena_size && need <= new.min(arena_size) / page_size() * page_size()
    }

    fn alloc(&self, size: usize, alignment: usize) -> Option<usize> {
        let chunk = match &self.pool {
            Pool::Own { pool, .. } => pool.alloc(size, alignment),
            Pool::Process => LockedPoolManager::instance().alloc(size, alignment),
        };
        let addr = chunk?.as_ptr().expose_provenance();
        match self.fault {
            Fault::RefusesLarge if size > 1500 => {
                self.free_as_it_is(addr).expect("just allocated");
                return None;
            }
            Fault::HandsOutTwice => {
                // Another chunk in use, or the new chunk if there is no other.
                let used = self.chunks().into_iter().find(|chunk| chunk.2 && chunk.0 != addr);
                if let (Some((other, ..)), 16..64) = (used, size) {
                    return Some(other);
                }
            }
            // SAFETY: a chunk of this run, of at least a byte.
            Fault::ForgetsWipe if size > 100 => unsafe { address(addr).add(size - 1).write(7) },
            _ => {}
        }
        Some(addr)
    }

    fn free_as_it_is(&self, addr: usize) -> Result<(), FreeError> {
        // SAFETY: the chunks belong to this run, which does not use one after it frees it.
        unsafe {
            match &self.pool {
                Pool::Own { pool, .. } => pool.free(address(addr)),
                Pool::Process => LockedPoolManager::instance().free(address(addr)),
            }
        }
    }

    fn free(&self, addr: usize) -> Result<(), FreeError> {
        self.frees.set(self.frees.get() + 1);
        if self.fault == Fault::ForgetsFrees && addr != 0 && self.frees.get() % 4 == 3 {
            return Ok(());
        }
        let freed = self.free_as_it_is(addr);
        if self.fault == Fault::SpoilsContents && freed.is_ok() {
            if let Some(&(other, ..)) = self.chunks().iter().find(|chunk| chunk.2) {
                // SAFETY: a chunk of this run's.
                unsafe { *address(other) ^= 0x10 };
            }
        }
        if self.fault == Fault::AcceptsBadFrees { Ok(()) } else { freed }
    }

    fn free_sized(&self, addr: usize, size: usize, alignment: usize) -> Result<(), FreeError> {
        // SAFETY: the chunks belong to this run, which does not use one after it frees it.
        let freed = unsafe {
            match &self.pool {
                Pool::Own { pool, .. } => pool.free_sized(address(addr), size, alignment),
                Pool::Process => {
                    LockedPoolManager::instance().free_sized(address(addr), size, alignment)
                }
            }
        };
        match freed {
            Err(FreeError::SizeMismatch) if self.fault == Fault::IgnoresSize => {
                self.free_as_it_is(addr)
            }
            _ => freed,
        }
    }

    fn stats(&self) -> PoolStats {
        let mut stats = match &self.pool {
            Pool::Own { pool, .. } => pool.stats(),
            Pool::Process => LockedPoolManager::instance().stats(),
        };
        match self.fault {
            Fault::MiscountsChunks if stats.chunks_used > 3 => stats.chunks_used += 1,
            Fault::MiscountsFree if stats.chunks_used > 3 => stats.free += 16,
            Fault::MiscountsPeak if stats.chunks_used > 3 => stats.peak_used = stats.used,
            _ => {}
        }
        stats
    }

    fn chunks(&self) -> Vec<(usize, usize, bool)> {
        let mut chunks = Vec::new();
        let visit = |addr, size, used| chunks.push((addr, size, used));
        match &self.pool {
            Pool::Own { pool, .. } => pool.walk(visit),
            Pool::Process => LockedPoolManager::instance().walk(visit),
        }
        if self.fault == Fault::WalksShort {
            if let Some(first) = chunks.iter().position(|chunk| chunk.2) {
                chunks.remove(first);
            }
        }
        chunks
    }
}

/// Empties the pool when a mistake has ended the run.
impl Drop for Subject {
    fn drop(&mut self) {
        let left = self.chunks();
        if let Pool::Process = self.pool {
            for (addr, ..) in left.into_iter().filter(|chunk| chunk.2) {
                let _ = self.free_as_it_is(addr);
            }
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread that runs jobs while the first one waits.
struct Helper {
    jobs: Option<Sender<Job>>,
    done: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Helper {
    fn new() -> Self {
        let (jobs, todo) = channel::<Job>();
        let (tell, done) = channel();
        let thread = std::thread::spawn(move || {
            for job in todo {
                job();
                if tell.send(()).is_err() {
                    return;
                }
            }
        });
        Self { jobs: Some(jobs), done, thread: Some(thread) }
    }

    fn run<R: Send>(&self, job: impl FnOnce() -> R + Send) -> R {
        let mut answer = None;
        let place = &mut answer;
        let job: Box<dyn FnOnce() + Send + '_> = Box::new(move || *place = Some(job()));
        // SAFETY: only the lifetime changes. The job has run, or will never run, before this
        // function returns or unwinds: the function waits for the thread's message or for its end.
        let job = unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + '_>, Job>(job) };
        self.jobs.as_ref().expect("not dropped").send(job).expect("the thread waits");
        self.done.recv().expect("the job has not panicked");
        answer.expect("the job has run")
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
