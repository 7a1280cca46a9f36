//! What the link can take, measured where the writer waits for it, and the level of squeezing that fits.
//!
//! A slow link is worth much work for each byte that it need not carry; a fast one is kept waiting by
//! any. Both are measured over stretches of what is really sent: the time that the writer waited, and
//! the time that squeezing lasted, which is longer where others use the processor too.

use std::time::Duration;

/// How much work squeezing is, beside its effect: zstd's levels that differ from each other enough to
/// be worth a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// All is stored.
    None,
    Least,
    Usual,
    Extra,
    More,
    Much,
    Great,
    Most,
}

impl Effort {
    const ALL: [Effort; 8] = [
        Effort::None,
        Effort::Least,
        Effort::Usual,
        Effort::Extra,
        Effort::More,
        Effort::Much,
        Effort::Great,
        Effort::Most,
    ];

    /// zstd's level; none where nothing is squeezed.
    pub(super) fn level(self) -> Option<i32> {
        match self {
            Effort::None => None,
            Effort::Least => Some(1),
            Effort::Usual => Some(3),
            Effort::Extra => Some(6),
            Effort::More => Some(9),
            Effort::Much => Some(13),
            Effort::Great => Some(14),
            Effort::Most => Some(16),
        }
    }

    /// The effort of at most this level.
    pub(super) fn of_level(level: i32) -> Self {
        let fits = |effort: &&Effort| effort.level().is_some_and(|its| its <= level);
        Effort::ALL.into_iter().rev().find(|effort| fits(&effort)).unwrap_or(Effort::Least)
    }

    /// Time for a byte, as a multiple of the usual; measured on text. The most is 50: it is begun only where it is well
    /// outlasted, as going to and fro forgets more than it finds.
    fn work(self) -> f64 {
        match self {
            Effort::None => 0.0,
            Effort::Least => 0.7,
            Effort::Usual => 1.0,
            Effort::Extra => 2.5,
            Effort::More => 5.0,
            Effort::Much => 24.0,
            Effort::Great => 36.0,
            Effort::Most => 75.0,
        }
    }
}

/// Plain bytes after which a stretch is judged, or how long it waited for the link: a thin one is to be known soon.
const STRETCH_BYTES: u64 = 512 * 1024;
const STRETCH_WAIT: Duration = Duration::from_millis(250);
/// Plain bytes between two changes: each begins a new frame, which forgets what was sent.
const BETWEEN_BYTES: u64 = 2 * 1024 * 1024;
/// What a system may take in, on the wire, before a slow link holds anything up: a link that took no more
/// than this may be any, where it looked fast, in bytes a second, and so much faster than before.
const SWALLOWED_BYTES: u64 = 8 * 1024 * 1024;
const SWALLOWED_RATE: f64 = 4e6;
const SWALLOWED_FACTOR: f64 = 1.5;
/// What it and TLS hold back at once says nothing of the link either, unless it was waited for so long.
const HELD_BYTES: u64 = 256 * 1024;
const HELD_WAIT: Duration = Duration::from_millis(100);
/// From this part of the time on waiting for the link says what the link takes.
const WAITED_SHARE: f64 = 0.3;
/// A write that lasted so long had to wait: the system was full. What flowed between two such writes measures the
/// link, unless the writer was away for longer than what the system holds lasts; from this on it is enough.
const FULL_WAIT: Duration = Duration::from_millis(1);
const AWAY_MAX: Duration = Duration::from_millis(80);
const LEAST_FLOW: Duration = Duration::from_millis(50);
/// Where nothing flowed so, a stretch that was waited for tells of a link that was not measured yet, or is so much
/// slower now.
const SLOWER_SHARE: f64 = 0.5;
/// Below it the link is no hindrance; after so many plain bytes of that it may be faster than was thought, and
/// by how much it is then taken to be. A guess that proves wrong doubles the bytes before the next.
const IDLE_SHARE: f64 = 0.05;
const GUESS_BYTES: u64 = 16 * 1024 * 1024;
const GUESS_BYTES_MAX: u64 = 1 << 30;
const GUESS_FACTOR: f64 = 2.0;
/// Seconds of the link that its rate is the mean of: what the system swallows makes single stretches waver.
const MEAN_S: f64 = 2.0;
/// What the last stretch counts for in what squeezing is taken to cost.
const NEW_WORK_SHARE: f64 = 0.25;
/// An effort that was chosen is kept up to so much more: the measures waver, and a change forgets.
const KEPT_SHARE: f64 = 1.3;
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
    /// How long the writer waited for the link, and how long squeezing lasted.
    waited: Duration,
    lasted: Duration,
    /// What went from one wait to another.
    flow: Flow,
}

impl Stretch {
    /// Seconds that squeezing and waiting for the link took.
    fn busy(&self) -> f64 {
        (self.waited + self.lasted).as_secs_f64()
    }
}

/// Bytes that went over the link, and how long that took.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    wire: u64,
    took: Duration,
    /// How long of it the writer did something else.
    away: Duration,
}

/// The measures of one direction.
#[derive(Debug)]
pub(super) struct Pressure {
    effort: Effort,
    is_near: bool,
    stretch: Stretch,
    /// Since the writer last had to wait for the link, where that holds back what the system could take in.
    since_full: Option<Flow>,
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
    /// Seconds of the link that this is the mean of.
    rate_s: f64,
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
            since_full: None,
            free_wire: 0,
            free_busy: Duration::ZERO,
            free_waited: Duration::ZERO,
            free_plain: 0,
            guess_after: GUESS_BYTES,
            has_guessed: false,
            since_change: BETWEEN_BYTES,
            rate: 0.0,
            rate_s: 0.0,
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

    /// Of these, so many were squeezed to so many, and that lasted so long.
    pub(super) fn squeezed(&mut self, plain: usize, shrunk: usize, lasted: Duration) {
        self.stretch.squeezed += plain as u64;
        self.stretch.shrunk += shrunk as u64;
        self.stretch.lasted += lasted;
        if let Some(flow) = &mut self.since_full {
            flow.took += lasted;
            flow.away += lasted;
            if flow.away > AWAY_MAX {
                self.since_full = None;
            }
        }
    }

    /// The link took so many bytes, for which the writer waited so long.
    pub(super) fn sent(&mut self, wire: usize, waited: Duration) {
        self.stretch.wire += wire as u64;
        self.stretch.waited += waited;
        if let Some(flow) = &mut self.since_full {
            flow.wire += wire as u64;
            flow.took += waited;
        }
        if waited >= FULL_WAIT
            && let Some(flow) = self.since_full.replace(Flow::default())
        {
            self.stretch.flow.wire += flow.wire;
            self.stretch.flow.took += flow.took;
        }
    }

    /// Nothing is left to send for now.
    pub(super) fn rests(&mut self) {
        self.since_full = None;
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
            let work_s = stretch.lasted.as_secs_f64() / stretch.squeezed as f64 / self.effort.work();
            self.work_s += (work_s - self.work_s) * NEW_WORK_SHARE;
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
        let at_least = stretch.wire as f64 / stretch.busy().max(1e-9);
        self.free_wire += stretch.wire;
        self.free_plain += stretch.plain;
        self.free_busy += stretch.waited + stretch.lasted;
        self.free_waited += stretch.waited;
        let looks_fast = at_least > SWALLOWED_RATE.max(SWALLOWED_FACTOR * self.rate);
        let is_first = self.free_wire < HELD_BYTES && stretch.waited < HELD_WAIT;
        let was_swallowed = is_first || looks_fast && self.free_wire < SWALLOWED_BYTES;
        // Between two waits the system holds as much at the end as at the beginning: the link took all of it.
        let (wire, took) = (stretch.flow.wire as f64, stretch.flow.took.as_secs_f64());
        let has_flown = stretch.flow.took >= LEAST_FLOW;
        let measured = if has_flown { wire / took } else { at_least };
        let has_waited = stretch.waited.as_secs_f64() >= WAITED_SHARE * stretch.busy();
        let is_waited_for = has_waited && !was_swallowed;
        // A processor that is late with the next piece makes any link look slow: less is believed where it was waited for.
        let is_believed = has_flown && (has_waited || self.rate_s == 0.0 || measured > self.rate);
        if is_believed || is_waited_for {
            let was_guessed = std::mem::take(&mut self.has_guessed);
            if was_guessed && measured < self.rate {
                self.guess_after = (self.guess_after * 2).min(GUESS_BYTES_MAX);
            }
            if is_believed {
                let kept_s = self.rate_s.min(MEAN_S);
                self.rate_s = kept_s + took;
                self.rate = (self.rate * kept_s + wire) / self.rate_s;
            } else {
                // One wait may be for all that went since the last, while squeezing may have held that up.
                let since_wait = self.free_wire as f64 / self.free_busy.as_secs_f64().max(1e-9);
                let seen = if self.rate == 0.0 || was_guessed { at_least } else { at_least.max(since_wait) };
                if self.rate_s == 0.0 || seen < SLOWER_SHARE * self.rate {
                    (self.rate, self.rate_s) = (seen, 0.0);
                }
            }
            self.begin_free();
        } else if self.free_wire >= SWALLOWED_BYTES {
            // The link was no hindrance for so long: all that is known is how fast it swallowed what there was.
            let at_least = self.free_wire as f64 / self.free_busy.as_secs_f64().max(1e-9);
            if self.rate < 0.8 * at_least {
                self.rate = self.free_wire as f64 / self.free_waited.as_secs_f64().max(1e-9);
                self.rate_s = 0.0;
            }
            self.begin_free();
        } else if self.rate > 0.0
            && self.free_plain >= self.guess_after
            && self.free_waited.as_secs_f64() < IDLE_SHARE * self.free_busy.as_secs_f64()
        {
            self.rate *= GUESS_FACTOR;
            self.rate_s = 0.0;
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
        let most_s = self.share / self.rate;
        let fits = |effort: &&Effort| {
            let kept = if **effort == self.effort { KEPT_SHARE } else { 1.0 };
            self.work_s * effort.work() <= most_s * kept
        };
        let fit = *Effort::ALL.iter().rev().find(fits).unwrap_or(&Effort::None).max(&Effort::Least);
        if self.is_near { fit.min(Effort::Usual) } else { fit }
    }
}

#[cfg(test)]
#[path = "pressure_tests.rs"]
mod tests;
