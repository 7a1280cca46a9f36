//! Work spread over the cores: for as long as one call lasts, or on cores that are to spare for longer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Cores that this process may use.
pub(super) fn n_cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, |n_cores| n_cores.get()))
}

/// Runs both, the first on another core if there is one and it is `worth_it` (a thread costs about as
/// much as hashing 64 KiB).
pub(super) fn both<A: Send, B>(
    worth_it: bool,
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B,
) -> (A, B) {
    if !worth_it || n_cores() == 1 {
        return (first(), second());
    }
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        (first.join().expect("hashing does not panic"), second)
    })
}

/// Runs `work` for each part, the first on this core and the others beside it; the results in order.
pub(super) fn on_cores<A: Send>(n_parts: usize, work: &(impl Fn(usize) -> A + Sync)) -> Vec<A> {
    thread::scope(|scope| {
        let others: Vec<_> = (1..n_parts).map(|part| scope.spawn(move || work(part))).collect();
        let own = work(0);
        let others = others.into_iter().map(|part| part.join().expect("hashing does not panic"));
        std::iter::once(own).chain(others).collect()
    })
}

/// Cores that work on for longer than one call, beside those that asked for them.
static N_SPARED: AtomicUsize = AtomicUsize::new(0);

/// Leave to keep one more core at work; given back when dropped.
pub(super) struct SpareCore(());

impl Drop for SpareCore {
    fn drop(&mut self) {
        N_SPARED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A core to spare: of all that this process may use, one less can be had at a time. So memory that goes with the work is
/// bounded by the cores, however many files are on their way.
pub(super) fn spare_core() -> Option<SpareCore> {
    let more = |n_spared: usize| (n_spared + 1 < n_cores()).then_some(n_spared + 1);
    N_SPARED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| SpareCore(()))
}
