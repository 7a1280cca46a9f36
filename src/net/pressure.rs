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
    Much,
    Most,
}

impl Effort {
    const ALL: [Effort; 6] =
        [Effort::None, Effort::Least, Effort::Usual, Effort::More, Effort::Much, Effort::Most];

    /// zstd's level; none where nothing is squeezed.
    pub(super) fn level(self) -> Option<i32> {
        match self {
            Effort::None => None,
            Effort::Least => Some(1),
            Effort::Usual => Some(3),
            Effort::More => Some(9),
            Effort::Much => Some(14),
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
            Effort::Much => 36.0,
            Effort::Most => 75.0,
        }
    }
}

/// Plain bytes after which a stretch is judged, or how long it waited for the link: a thin one is to be known soon.
const STRETCH_BYTES: u64 = 512 * 1024;
const STRETCH_WAIT: Duration = Duration::from_millis(250);
/// Plain bytes between two changes: each begins a new frame, which forgets what was sent.
const BETWEEN_BYTES: u64 = 4 * 1024 * 1024;
/// What a system may take in, on the wire, before a slow link holds anything up: a link that took no more
/// than this may be any, where it looked fast, in bytes a second, and so much faster than before.
const SWALLOWED_BYTES: u64 = 8 * 1024 * 1024;
const SWALLOWED_RATE: f64 = 4e6;
const SWALLOWED_FACTOR: f64 = 1.5;
/// From this part of the time on waiting for the link says what the link takes.
const WAITED_SHARE: f64 = 0.3;
/// Below it the link is no hindrance; after so many plain bytes of that it may be faster than was thought, and
/// by how much it is then taken to be. A guess that proves wrong doubles the bytes before the next.
const IDLE_SHARE: f64 = 0.02;
const GUESS_BYTES: u64 = 16 * 1024 * 1024;
const GUESS_BYTES_MAX: u64 = 1 << 30;
const GUESS_FACTOR: f64 = 2.0;
/// How much longer than the link squeezing may take on one below this rate, in bytes a second: there bytes
/// count more than time. On a faster one it may take as long.
const SLOW_WORK_SHARE: f64 = 1.25;
const SLOW_RATE: f64 = 4e6;
/// An effort that was chosen is kept up to so much more: the measures waver, and a change forgets.
const KEPT_SHARE: f64 = 1.4;
/// A link faster than this, in bytes a second, is not slowed down for any byte.
const FAST_RATE: f64 = 400e6;
/// What is left of a byte, squeezed, where that is not known.
const USUAL_SHARE: f64 = 0.4;
/// Seconds that the usual effort takes for a byte, where that is not known.
const USUAL_WORK_S: f64 = 8e-9;

/// What happened to the bytes of a stretch.
#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    plain: u64,
    /// Plain bytes that were squeezed, and what became of them.
    squeezed: u64,
    shrunk: u64,
    wire: u64,
    /// How long the writer waited for the link; how long squeezing lasted on the clock; how much of the
    /// processor's time it took.
    waited: Duration,
    lasted: Duration,
    worked: Duration,
}

/// The measures of one direction.
#[derive(Debug)]
pub(super) struct Pressure {
    effort: Effort,
    is_near: bool,
    stretch: Stretch,
    /// Bytes on the wire, and the time they took and waited, since the link last was a hindrance.
    free_wire: u64,
    free_busy: Duration,
    free_waited: Duration,
    /// Plain bytes since then or since the last guess, and after how many a guess is made.
    free_plain: u64,
    guess_after: u64,
    has_guessed: bool,
    since_change: u64,
    /// Bytes a second that the link takes; 0: not known.
    rate: f64,
    /// Seconds that the usual effort takes for a byte.
    work_s: f64,
    share: f64,
}

impl Pressure {
    /// Begins with an effort. To a peer that is `near` the link is taken to be fast: what the writer waits for
    /// there is the peer, whose disk no squeezing helps.
    pub(super) fn new(effort: Effort, is_near: bool) -> Self {
        Self {
            effort,
            is_near,
            stretch: Stretch::default(),
            free_wire: 0,
            free_busy: Duration::ZERO,
            free_waited: Duration::ZERO,
            free_plain: 0,
            guess_after: GUESS_BYTES,
            has_guessed: false,
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
        (self.rate > 0.0 && !self.is_near).then_some(self.rate as u64)
    }

    /// So many bytes of frames were taken in.
    pub(super) fn took(&mut self, plain: usize) {
        self.stretch.plain += plain as u64;
        self.since_change += plain as u64;
    }

    /// Of these, so many were squeezed to so many: in so much of the processor's time, and of the clock's.
    pub(super) fn squeezed(&mut self, plain: usize, shrunk: usize, worked: Duration, lasted: Duration) {
        self.stretch.squeezed += plain as u64;
        self.stretch.shrunk += shrunk as u64;
        self.stretch.worked += worked;
        self.stretch.lasted += lasted;
    }

    /// The link took so many bytes, for which the writer waited so long.
    pub(super) fn sent(&mut self, wire: usize, waited: Duration) {
        self.stretch.wire += wire as u64;
        self.stretch.waited += waited;
    }

    /// At the end of a stretch: the effort that fits, if it is another one.
    pub(super) fn judge(&mut self) -> Option<Effort> {
        let is_short = self.stretch.plain < STRETCH_BYTES;
        if (is_short && self.stretch.waited < STRETCH_WAIT) || self.stretch.wire == 0 {
            return None;
        }
        let stretch = std::mem::take(&mut self.stretch);
        self.learn_link(&stretch);
        if !is_short && stretch.squeezed * 2 > stretch.plain && self.effort != Effort::None {
            self.work_s = stretch.worked.as_secs_f64() / stretch.squeezed as f64 / self.effort.work();
            self.share = stretch.shrunk as f64 / stretch.squeezed as f64;
        }
        let fit = self.fit();
        if fit == self.effort || self.since_change < BETWEEN_BYTES {
            return None;
        }
        self.since_change = 0;
        self.effort = fit;
        Some(fit)
    }

    fn learn_link(&mut self, stretch: &Stretch) {
        let waited = stretch.waited.as_secs_f64();
        let busy = waited + stretch.lasted.as_secs_f64();
        let at_least = stretch.wire as f64 / busy.max(1e-9);
        self.free_wire += stretch.wire;
        self.free_plain += stretch.plain;
        self.free_busy += stretch.waited + stretch.lasted;
        self.free_waited += stretch.waited;
        let looks_fast = at_least > SWALLOWED_RATE.max(SWALLOWED_FACTOR * self.rate);
        let was_swallowed = looks_fast && self.free_wire < SWALLOWED_BYTES;
        if waited >= WAITED_SHARE * busy && !was_swallowed {
            if std::mem::take(&mut self.has_guessed) && at_least < self.rate {
                self.guess_after = (self.guess_after * 2).min(GUESS_BYTES_MAX);
            }
            self.rate = at_least;
            self.begin_free();
        } else if self.free_wire >= SWALLOWED_BYTES {
            // The link was no hindrance for so long: all that is known is how fast it swallowed what there was.
            let at_least = self.free_wire as f64 / self.free_busy.as_secs_f64().max(1e-9);
            if self.rate < 0.8 * at_least {
                self.rate = self.free_wire as f64 / self.free_waited.as_secs_f64().max(1e-9);
            }
            self.begin_free();
        } else if self.rate > 0.0
            && self.free_plain >= self.guess_after
            && self.free_waited.as_secs_f64() < IDLE_SHARE * self.free_busy.as_secs_f64()
        {
            self.rate *= GUESS_FACTOR;
            self.has_guessed = true;
            self.free_plain = 0;
        }
    }

    /// Counts anew how long the link has been no hindrance.
    fn begin_free(&mut self) {
        (self.free_wire, self.free_plain) = (0, 0);
        (self.free_busy, self.free_waited) = (Duration::ZERO, Duration::ZERO);
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
        let fits = |effort: &&Effort| {
            let kept = if **effort == self.effort { KEPT_SHARE } else { 1.0 };
            self.work_s * effort.work() <= most_s * kept
        };
        let fit = *Effort::ALL.iter().rev().find(fits).unwrap_or(&Effort::None).max(&Effort::Least);
        if self.is_near { fit.min(Effort::Usual) } else { fit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends text through a link of so many bytes a second, `n` stretches, on a processor that takes so
    /// many nanoseconds for a byte at the usual effort; gives the effort of each stretch.
    fn efforts(rate: f64, work_ns: f64, n: usize) -> Vec<Effort> {
        let mut pressure = Pressure::new(Effort::Usual, false);
        let mut efforts = Vec::new();
        for _ in 0..n {
            let (plain, shrunk) = (STRETCH_BYTES as usize, STRETCH_BYTES as usize / 4);
            pressure.took(plain);
            let effort = pressure.effort();
            let is_squeezed = effort != Effort::None;
            let work_s = plain as f64 * work_ns * 1e-9 * effort.work();
            let wire = if is_squeezed { shrunk } else { plain };
            if is_squeezed {
                let worked = Duration::from_secs_f64(work_s);
                pressure.squeezed(plain, shrunk, worked, worked);
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
    fn a_slow_link_is_worth_the_most_work_that_it_outlasts_and_keeps_to_it() {
        let slow = efforts(0.9e6, 7.0, 200);
        assert!(slow.iter().all(|effort| *effort == Effort::Much), "{slow:?}");
        let slower = efforts(0.25e6, 7.0, 200);
        assert!(slower.iter().all(|effort| *effort == Effort::Most), "{slower:?}");
    }

    // A pause of the writer let the system's buffer run empty; what it then swallowed made a link of 10 Mbit/s
    // look like a fast one, and everything was sent with the least effort.
    #[test]
    fn what_is_swallowed_after_a_pause_says_nothing_of_the_link() {
        let mut pressure = Pressure::new(Effort::Usual, false);
        for _ in 0..8 {
            pressure.took(1 << 20);
            pressure.sent(1 << 20, Duration::from_secs(1));
            pressure.judge();
        }
        for _ in 0..4 {
            pressure.took(1 << 20);
            pressure.squeezed(1 << 20, 1 << 20, Duration::from_millis(7), Duration::from_millis(7));
            pressure.sent(1 << 20, Duration::from_micros(300));
            pressure.judge();
            assert_eq!(pressure.rate(), Some(1 << 20));
        }
    }

    #[test]
    fn a_link_that_is_never_waited_for_is_tried_with_less_work_ever_more_rarely() {
        let mut pressure = Pressure::new(Effort::Most, false);
        let mut changes = Vec::new();
        for n in 0..400 {
            let effort = pressure.effort();
            pressure.took(1 << 20);
            let work_s = f64::from(1 << 20) * 15e-9 * effort.work();
            pressure.squeezed(
                1 << 20,
                1 << 18,
                Duration::from_secs_f64(work_s),
                Duration::from_secs_f64(work_s),
            );
            let link_s = f64::from(1 << 18) / 0.4e6;
            pressure.sent(1 << 18, Duration::from_secs_f64((link_s - work_s).max(1e-4)));
            if pressure.judge().is_some() {
                changes.push(n);
            }
        }
        assert!((2..20).contains(&changes.len()), "{changes:?}");
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
        let efforts = efforts(1.2e6, 30.0, 200);
        assert_eq!(efforts.last(), Some(&Effort::More), "{efforts:?}");
    }

    // A server that synced to a slow disk looked like a link of 3 MB/s, and a push to the same machine took three
    // times the processor's time.
    #[test]
    fn a_peer_that_is_near_is_not_worth_much_work_however_slow_it_reads() {
        let mut pressure = Pressure::new(Effort::Usual, true);
        for _ in 0..20 {
            pressure.took(1 << 20);
            pressure.sent(1 << 20, Duration::from_secs(1));
            assert_eq!((pressure.judge(), pressure.rate()), (None, None));
        }
    }

    #[test]
    fn what_is_stored_says_nothing_about_squeezing() {
        let mut pressure = Pressure::new(Effort::Usual, false);
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
        let mut pressure = Pressure::new(Effort::Usual, false);
        for _ in 0..4 {
            pressure.took(1 << 20);
            pressure.sent(1 << 20, Duration::from_micros(300));
            assert_eq!((pressure.judge(), pressure.rate()), (None, None));
        }
        pressure.took(1 << 20);
        pressure.sent(1 << 20, Duration::from_secs(1));
        assert_eq!(pressure.judge(), Some(Effort::Much));
    }

    #[test]
    fn a_thin_link_is_known_after_a_moment_of_waiting() {
        let mut pressure = Pressure::new(Effort::Usual, false);
        pressure.took(2_000);
        pressure.sent(2_000, Duration::from_millis(500));
        pressure.judge();
        assert_eq!(pressure.rate(), Some(4_000));
    }

    #[test]
    fn too_little_to_judge_changes_nothing() {
        let mut pressure = Pressure::new(Effort::Usual, false);
        pressure.took(1000);
        pressure.sent(1000, Duration::from_millis(200));
        assert_eq!(pressure.judge(), None);
        assert_eq!(pressure.rate(), None);
    }
}
