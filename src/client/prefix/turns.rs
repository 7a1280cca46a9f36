//! Stretches on their way from the sieve to what is sent: in order, some of them tried meanwhile on another core.
//!
//! A few attempts wait for their turn. Whoever is free takes the first that nobody works on: another core, or the one
//! that needs a result. How many wait is the same on any number of cores, and so is what is sent.

use super::attempt::Attempt;
use crate::delta::ops::Op;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};

/// Attempts that wait: enough that another core finds work while this one feeds the sieve.
const WAITING: usize = 4;

/// Whether a core of this process works beside those that need the results. One may: of two compressors one is left to them.
static IS_BESIDE: AtomicBool = AtomicBool::new(false);

/// What became of a stretch.
pub(super) enum Outcome {
    Untried,
    /// Nothing shorter was found.
    Vain,
    /// Frames that make the same.
    Shorter(Vec<Op>),
}

/// A stretch, as the sieve made it, whose turn is over.
pub(super) struct Done {
    pub(super) at: u64,
    pub(super) ops: Vec<Op>,
    pub(super) outcome: Outcome,
}

/// An attempt that nobody has begun, or what became of it; neither while it is worked on.
struct Turn<'r> {
    is_attempt: bool,
    waits: Option<Attempt<'r>>,
    done: Option<Done>,
}

#[derive(Default)]
struct Queue<'r> {
    turns: VecDeque<Turn<'r>>,
    /// How many were taken out before the first.
    n_taken: usize,
}

impl<'r> Queue<'r> {
    fn n_attempts(&self) -> usize {
        self.turns.iter().filter(|turn| turn.is_attempt).count()
    }

    fn pop(&mut self) -> Option<Done> {
        self.n_taken += 1;
        self.turns.pop_front()?.done
    }

    /// The first attempt that nobody has begun, and its number.
    fn begin(&mut self) -> Option<(usize, Attempt<'r>)> {
        let mut turns = (self.n_taken..).zip(&mut self.turns);
        turns.find_map(|(number, turn)| turn.waits.take().map(|attempt| (number, attempt)))
    }
}

/// Stretches in order of the target, which several cores share.
#[derive(Default)]
pub(super) struct Turns<'r> {
    queue: Mutex<Queue<'r>>,
    changed: Condvar,
}

impl<'r> Turns<'r> {
    /// Takes ops that stay as they are.
    pub(super) fn put(&self, at: u64, ops: Vec<Op>) {
        let done = Some(Done { at, ops, outcome: Outcome::Untried });
        self.lock().turns.push_back(Turn { is_attempt: false, waits: None, done });
    }

    /// Takes a stretch that is to be tried, on another core if one is free.
    pub(super) fn put_attempt<'scope>(&'scope self, attempt: Attempt<'r>, scope: &'scope Scope<'scope, '_>) {
        self.lock().turns.push_back(Turn { is_attempt: true, waits: Some(attempt), done: None });
        let has_cores = thread::available_parallelism().is_ok_and(|n_cores| n_cores.get() > 1);
        if has_cores && !IS_BESIDE.swap(true, Ordering::Relaxed) {
            scope.spawn(|| {
                while self.work(self.lock()).is_ok() {}
                IS_BESIDE.store(false, Ordering::Relaxed);
            });
        }
    }

    /// The next in order: an attempt once more of them wait than need to, or `at_end`.
    pub(super) fn next(&self, at_end: bool) -> Option<Done> {
        let mut queue = self.lock();
        loop {
            let is_due = at_end || queue.n_attempts() > WAITING;
            let first = queue.turns.front()?;
            if first.is_attempt && !is_due {
                return None;
            }
            if first.done.is_some() {
                return queue.pop();
            }
            queue = match self.work(queue) {
                Ok(()) => self.lock(),
                Err(queue) => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Drops all of them; what is worked on ends without effect.
    pub(super) fn clear(&self) {
        let mut queue = self.lock();
        queue.n_taken += queue.turns.len();
        queue.turns.clear();
    }

    /// Works on the first attempt that nobody has begun; gives the queue back when there is none.
    fn work<'q>(&'q self, mut queue: MutexGuard<'q, Queue<'r>>) -> Result<(), MutexGuard<'q, Queue<'r>>> {
        let Some((number, attempt)) = queue.begin() else { return Err(queue) };
        drop(queue);
        // A fault in it must not let the sieve wait for ever: the stretch travels as its ops.
        let frames = catch_unwind(AssertUnwindSafe(|| attempt.make())).unwrap_or(None);
        let outcome = frames.map_or(Outcome::Vain, Outcome::Shorter);
        let mut queue = self.lock();
        let place = number.checked_sub(queue.n_taken);
        if let Some(turn) = place.and_then(|place| queue.turns.get_mut(place)) {
            turn.done = Some(Done { at: attempt.at, ops: attempt.ops, outcome });
        }
        self.changed.notify_all();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Queue<'r>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::prefix::{Cost, HELD, Known, Places};
    use std::sync::atomic::AtomicUsize;

    /// A stretch of one literal, over a basis that is all `a`.
    fn attempt<'r>(
        at: u64,
        target: &'r Vec<u8>,
        read_basis: &'r crate::client::prefix::ReadBasis,
    ) -> Attempt<'r> {
        let bytes = target[at as usize..][..1_000].to_vec();
        let places = Places { anchors: vec![(0, 0)], target_size: target.len() as u64, basis_size: 1 << 20 };
        let ops = vec![Op::Literal(bytes.clone())];
        let known = Known::Held(read_basis);
        Attempt {
            at,
            len: 1_000,
            ops,
            bytes,
            cost: Cost::Alone,
            places,
            known,
            basis: 0,
            target,
            bounds: &HELD,
        }
    }

    #[test]
    fn turns_come_in_order_whoever_works_on_them() {
        let target: Vec<u8> =
            (0..100_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let basis = target.clone();
        let read_basis = |range: std::ops::Range<u64>| {
            let end = (range.end as usize).min(basis.len());
            Some(basis[(range.start as usize).min(end)..end].to_vec())
        };
        for _ in 0..20 {
            let turns = Turns::default();
            let seen = thread::scope(|scope| {
                let mut seen = Vec::new();
                for number in 0..60 {
                    match number % 3 {
                        0 => turns.put(number * 1_000, Vec::new()),
                        _ => turns.put_attempt(attempt(number * 1_000, &target, &read_basis), scope),
                    }
                    seen.extend(std::iter::from_fn(|| turns.next(false)));
                    // Those that wait, and what stands between them.
                    assert!((number as usize + 1).saturating_sub(seen.len()) <= 2 * WAITING, "{number}");
                }
                seen.extend(std::iter::from_fn(|| turns.next(true)));
                seen
            });
            assert!(seen.iter().map(|done| done.at / 1_000).eq(0..60));
            let has_frames =
                |done: &Done| matches!(&done.outcome, Outcome::Shorter(frames) if frames.len() == 1);
            assert!(seen.iter().all(|done| has_frames(done) == (done.at / 1_000 % 3 > 0)));
        }
    }

    #[test]
    fn what_is_dropped_is_not_begun() {
        let (target, n_asked) = (vec![b'a'; 10_000], AtomicUsize::new(0));
        let read_basis = |_: std::ops::Range<u64>| {
            n_asked.fetch_add(1, Ordering::Relaxed);
            None
        };
        let turns = Turns::default();
        for number in 0..WAITING as u64 {
            let waits = Some(attempt(number * 1_000, &target, &read_basis));
            turns.lock().turns.push_back(Turn { is_attempt: true, waits, done: None });
        }
        assert!(turns.next(false).is_none());
        turns.clear();
        assert!(turns.next(true).is_none());
        assert_eq!(n_asked.into_inner(), 0);
    }
}
