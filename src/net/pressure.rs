//! What the link can take, measured where the writer waits for it, and the level of squeezing that fits.
//!
//! A slow link is worth much work for each byte that it need not carry; a fast one is kept waiting by
//! any. Both are measured over stretches of what is really sent: the time that the writer waited, and
//! the processor's time that squeezing took.

use std::time::Duration;

/// How much work squeezing is, beside its effect: zstd's levels that differ from each other enough to
/// be worth a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// All is stored.
    None,
    Least,
    Usual,
    More,
    Most,
}

impl Effort {
    const ALL: [Effort; 5] = [Effort::None, Effort::Least, Effort::Usual, Effort::More, Effort::Most];

    /// zstd's level; none where nothing is squeezed.
    pub(super) fn level(self) -> Option<i32> {
        match self {
            Effort::None => None,
            Effort::Least => Some(1),
            Effort::Usual => Some(3),
            Effort::More => Some(9),
            Effort::Most => Some(16),
        }
    }

    /// The effort of at most this level.
    pub(super) fn of_level(level: i32) -> Self {
        let fits = |effort: &&Effort| effort.level().is_some_and(|its| its <= level);
        Effort::ALL.into_iter().rev().find(|effort| fits(&effort)).unwrap_or(Effort::Least)
    }

    /// Time for a byte, as a multiple of the usual; measured on text.
    fn work(self) -> f64 {
        match self {
            Effort::None => 0.0,
            Effort::Least => 0.7,
            Effort::Usual => 1.0,
            Effort::More => 5.0,
            Effort::Most => 60.0,
        }
    }
}

/// Plain bytes after which a stretch is judged.
const STRETCH_BYTES: u64 = 512 * 1024;
/// Plain bytes between two changes: each begins a new frame, which forgets what was sent.
const BETWEEN_BYTES: u64 = 4 * 1024 * 1024;
/// What the system takes in before a slow link holds anything up: only beyond it a link looks fast that is.
const SWALLOWED_BYTES: u64 = 8 * 1024 * 1024;
const SWALLOWED_RATE: f64 = 20e6;
/// How much longer than the link squeezing may take on one below this rate, in bytes a second: there bytes
/// count more than time. On a faster one it may take as long.
const SLOW_WORK_SHARE: f64 = 4.0;
const SLOW_RATE: f64 = 4e6;
/// A link faster than this, in bytes a second, is not slowed down for any byte.
const FAST_RATE: f64 = 400e6;
/// What is left of a byte, squeezed, where that is not known.
const USUAL_SHARE: f64 = 0.4;
/// Seconds that the usual effort takes for a byte, where that is not known.
const USUAL_WORK_S: f64 = 8e-9;

/// The measures of one direction.
#[derive(Debug)]
pub(super) struct Pressure {
    effort: Effort,
    plain: u64,
    /// Plain bytes that were squeezed, and what became of them.
    squeezed: u64,
    shrunk: u64,
    wire: u64,
    /// The same since the beginning.
    wire_in_all: u64,
    waited: Duration,
    worked: Duration,
    since_change: u64,
    /// Bytes a second that the link takes; 0: not known.
    rate: f64,
    /// Seconds that the usual effort takes for a byte.
    work_s: f64,
    share: f64,
}

impl Pressure {
    pub(super) fn new(effort: Effort) -> Self {
        Self {
            effort,
            plain: 0,
            squeezed: 0,
            shrunk: 0,
            wire: 0,
            wire_in_all: 0,
            waited: Duration::ZERO,
            worked: Duration::ZERO,
            since_change: BETWEEN_BYTES,
            rate: 0.0,
            work_s: USUAL_WORK_S,
            share: USUAL_SHARE,
        }
    }

    pub(super) fn effort(&self) -> Effort {
        self.effort
    }

    /// Bytes a second that the link takes, once that was seen.
    pub(super) fn rate(&self) -> Option<u64> {
        (self.rate > 0.0).then_some(self.rate as u64)
    }

    /// So many bytes of frames were taken in.
    pub(super) fn took(&mut self, plain: usize) {
        self.plain += plain as u64;
        self.since_change += plain as u64;
    }

    /// Of these, so many were squeezed to so many, in so much of the processor's time.
    pub(super) fn squeezed(&mut self, plain: usize, shrunk: usize, worked: Duration) {
        self.squeezed += plain as u64;
        self.shrunk += shrunk as u64;
        self.worked += worked;
    }

    /// The link took so many bytes, for which the writer waited so long.
    pub(super) fn sent(&mut self, wire: usize, waited: Duration) {
        self.wire += wire as u64;
        self.wire_in_all += wire as u64;
        self.waited += waited;
    }

    /// At the end of a stretch: the effort that fits, if it is another one.
    pub(super) fn judge(&mut self) -> Option<Effort> {
        if self.plain < STRETCH_BYTES || self.wire == 0 {
            return None;
        }
        self.learn();
        (self.plain, self.squeezed, self.shrunk, self.wire) = (0, 0, 0, 0);
        (self.waited, self.worked) = (Duration::ZERO, Duration::ZERO);
        let fit = self.fit();
        if fit == self.effort || self.since_change < BETWEEN_BYTES {
            return None;
        }
        self.since_change = 0;
        self.effort = fit;
        Some(fit)
    }

    fn learn(&mut self) {
        let (waited, worked) = (self.waited.as_secs_f64(), self.worked.as_secs_f64());
        let busy = (waited + worked).max(1e-9);
        let at_least = self.wire as f64 / busy;
        if at_least > SWALLOWED_RATE && self.wire_in_all < SWALLOWED_BYTES {
            // It went to the system, and no further yet.
        } else if waited >= 0.3 * busy {
            self.rate = at_least;
        } else if self.rate < 0.8 * at_least && self.wire_in_all >= SWALLOWED_BYTES {
            // The link was no hindrance: all that is known is how fast it swallowed what there was.
            self.rate = self.wire as f64 / waited.max(1e-9);
        }
        if self.squeezed * 2 > self.plain && self.effort != Effort::None {
            self.work_s = worked / self.squeezed as f64 / self.effort.work();
            self.share = self.shrunk as f64 / self.squeezed as f64;
        }
    }

    /// The most work that the link still outlasts.
    fn fit(&self) -> Effort {
        if self.rate <= 0.0 {
            return self.effort;
        }
        if self.rate > FAST_RATE {
            return Effort::None;
        }
        let link_s = self.share / self.rate;
        let most_s = if self.rate < SLOW_RATE { SLOW_WORK_SHARE * link_s } else { link_s };
        let fits = |effort: &&Effort| self.work_s * effort.work() <= most_s;
        *Effort::ALL.iter().rev().find(fits).unwrap_or(&Effort::None).max(&Effort::Least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends text through a link of so many bytes a second, `n` stretches, on a processor that takes so
    /// many nanoseconds for a byte at the usual effort; gives the effort of each stretch.
    fn efforts(rate: f64, work_ns: f64, n: usize) -> Vec<Effort> {
        let mut pressure = Pressure::new(Effort::Usual);
        let mut efforts = Vec::new();
        for _ in 0..n {
            let (plain, shrunk) = (STRETCH_BYTES as usize, STRETCH_BYTES as usize / 4);
            pressure.took(plain);
            let effort = pressure.effort();
            let is_squeezed = effort != Effort::None;
            let work_s = plain as f64 * work_ns * 1e-9 * effort.work();
            let wire = if is_squeezed { shrunk } else { plain };
            if is_squeezed {
                pressure.squeezed(plain, shrunk, Duration::from_secs_f64(work_s));
            }
            // The link goes on while the next piece is squeezed.
            pressure
                .sent(wire, Duration::from_secs_f64((wire as f64 / rate - work_s).max(wire as f64 / 2e9)));
            pressure.judge();
            efforts.push(pressure.effort());
        }
        efforts
    }

    #[test]
    fn a_slow_link_is_worth_the_most_work_and_keeps_to_it() {
        let efforts = efforts(1.2e6, 7.0, 200);
        assert!(efforts.iter().all(|effort| *effort == Effort::Most), "{efforts:?}");
    }

    #[test]
    fn a_link_that_outruns_the_processor_is_not_held_up() {
        let efforts = efforts(1e9, 7.0, 200);
        assert_eq!(efforts.last(), Some(&Effort::None), "{efforts:?}");
    }

    #[test]
    fn a_link_between_gets_what_it_outlasts() {
        let efforts = efforts(20e6, 7.0, 200);
        assert_eq!(efforts.last(), Some(&Effort::Usual), "{efforts:?}");
        assert!(efforts.windows(2).filter(|pair| pair[0] != pair[1]).count() <= 2, "{efforts:?}");
    }

    #[test]
    fn a_slow_processor_gets_less_work() {
        let efforts = efforts(1.2e6, 70.0, 200);
        assert_eq!(efforts.last(), Some(&Effort::More), "{efforts:?}");
    }

    #[test]
    fn what_is_stored_says_nothing_about_squeezing() {
        let mut pressure = Pressure::new(Effort::Usual);
        pressure.took(1 << 20);
        pressure.sent(1 << 20, Duration::from_secs(1));
        pressure.judge();
        assert_eq!(pressure.rate(), Some(1 << 20));
        assert_eq!((pressure.work_s, pressure.share), (USUAL_WORK_S, USUAL_SHARE));
    }

    // The first frames vanished in the system's buffer, a link of 10 Mbit/s looked like one of 10 Gbit/s, and
    // nothing was sent as a difference any more.
    #[test]
    fn what_the_system_swallows_at_first_says_nothing_of_the_link() {
        let mut pressure = Pressure::new(Effort::Usual);
        for _ in 0..4 {
            pressure.took(1 << 20);
            pressure.sent(1 << 20, Duration::from_micros(300));
            assert_eq!((pressure.judge(), pressure.rate()), (None, None));
        }
        pressure.took(1 << 20);
        pressure.sent(1 << 20, Duration::from_secs(1));
        assert_eq!(pressure.judge(), Some(Effort::Most));
    }

    #[test]
    fn too_little_to_judge_changes_nothing() {
        let mut pressure = Pressure::new(Effort::Usual);
        pressure.took(1000);
        pressure.sent(1000, Duration::from_secs(9));
        assert_eq!(pressure.judge(), None);
        assert_eq!(pressure.rate(), None);
    }
}
