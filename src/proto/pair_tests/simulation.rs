//! Simulated days of a watch: the link loses, stalls, slows, breaks and goes silent, either side is killed or
//! sleeps, clocks jump, the destination's disk refuses and somebody else writes there. When the faults end,
//! both sides agree by themselves, in bounded time.
//!
//! Longer: `STRAIT_HOURS=5000 cargo test --release --lib simulation -- --nocapture`; the same again, one seed:
//! `STRAIT_SEED=17 cargo test --lib simulation -- --nocapture`.

use super::property::{Dice, disturb, edit, upset};
use super::*;
use std::collections::VecDeque;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// How long one life has faults.
const LIFE_HOURS: u64 = 6;
/// Walks of the destination are 15 minutes apart, a refused entry is tried again after one, and a silent peer is
/// given up after 45 s: when all of them follow each other, this is enough.
const CALM_MS: u64 = 40 * MINUTE_MS;
/// Bytes that the link may hold before more is pulled.
const BACKLOG_BYTES: usize = 64 << 10;

/// Bytes on their way in one direction, in order, each with the moment at which it arrives.
#[derive(Default)]
struct Way {
    frames: VecDeque<(u64, Vec<u8>)>,
    n_bytes: usize,
    free_ms: u64,
}

#[derive(Clone, Copy)]
struct Weather {
    latency_ms: u64,
    bytes_per_s: u64,
    /// Of a hundred frames so many are lost once and come again after a timeout; what is behind them waits.
    lost_percent: u64,
}

const CALM: Weather = Weather { latency_ms: 10, bytes_per_s: 10_000_000, lost_percent: 0 };

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    sessions: u64,
    frames: u64,
    edits: u64,
    kills: u64,
    partitions: u64,
    given_up: u64,
}

struct Life {
    pair: Pair,
    dice: Dice,
    weather: Weather,
    up: Way,
    down: Way,
    /// Until then nothing arrives, in either direction.
    parted_until: u64,
    /// Until then a side does nothing.
    asleep_until: [u64; 2],
    /// The far end is gone, and nobody says so.
    is_dead: bool,
    join_ms: u64,
    edit_ms: u64,
    fault_ms: u64,
    older_cache: Option<Tree>,
    counts: Counts,
}

impl Way {
    fn take(
        &mut self,
        frames: &mut VecDeque<Vec<u8>>,
        now_ms: u64,
        weather: &Weather,
        dice: &mut Dice,
    ) -> u64 {
        let mut n = 0;
        for frame in frames.drain(..) {
            let send_ms = frame.len() as u64 * 1_000 / weather.bytes_per_s;
            self.free_ms = self.free_ms.max(now_ms) + send_ms;
            if dice.roll(100) < weather.lost_percent {
                self.free_ms += 200 + 2 * weather.latency_ms;
            }
            self.n_bytes += frame.len();
            self.frames.push_back((self.free_ms + weather.latency_ms, frame));
            n += 1;
        }
        n
    }

    fn due_ms(&self) -> u64 {
        self.frames.front().map_or(u64::MAX, |(at_ms, _)| *at_ms)
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let (_, frame) = self.frames.pop_front()?;
        self.n_bytes -= frame.len();
        Some(frame)
    }
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut pair = Pair::new();
        pair.may_close = true;
        pair.turn = Turn::Random(seed);
        pair.config.allow_mass_delete = true;
        pair.config.once = false;
        pair.credit_bytes = if dice.roll(2) == 0 { 256 << 10 } else { 4 << 20 };
        Self {
            pair,
            dice,
            weather: CALM,
            up: Way::default(),
            down: Way::default(),
            parted_until: 0,
            asleep_until: [0; 2],
            is_dead: false,
            join_ms: 0,
            edit_ms: 0,
            fault_ms: 0,
            older_cache: None,
            counts: Counts::default(),
        }
    }

    /// Ends the connection; the sender comes back after its backoff.
    fn break_off(&mut self) {
        self.pair.leave();
        (self.up, self.down) = (Way::default(), Way::default());
        self.is_dead = false;
        self.join_ms = self.pair.now_ms + 500 + self.dice.roll(30 * SECOND_MS);
    }

    fn join(&mut self) {
        self.counts.sessions += 1;
        self.pair.join();
        self.join_ms = u64::MAX;
    }

    /// Lets everything happen that can happen now.
    fn settle_now(&mut self) {
        for _ in 0..MESSAGES {
            self.pair.drain();
            let now_ms = self.pair.now_ms;
            self.counts.frames += self.up.take(&mut self.pair.up, now_ms, &self.weather, &mut self.dice);
            self.counts.frames += self.down.take(&mut self.pair.down, now_ms, &self.weather, &mut self.dice);
            if self.pair.disk.is_killed || self.pair.closed == Some(Side::Sender) {
                self.counts.given_up += u64::from(!self.pair.disk.is_killed);
                return self.break_off();
            }
            if self.pair.closed == Some(Side::Receiver) {
                // Its end of the link is closed, but the word does not arrive.
                self.pair.receiver = None;
                self.is_dead = true;
            }
            self.pair.ups.clear();
            self.pair.downs.clear();
            self.pair.news.clear();
            if self.is_awake(0) && !self.pair.replies.is_empty() {
                self.pair.reply();
            } else if self.is_awake(1) && !self.pair.answers.is_empty() {
                self.pair.answer();
            } else if self.is_awake(0) && self.up.n_bytes < BACKLOG_BYTES && !self.pair.pulls.is_empty() {
                let id = self.pair.pulls.pop_front().expect("one waits");
                self.pair.pull(id);
            } else if !self.arrives() {
                return;
            }
        }
        panic!("it never rests: {:?}", self.pair.last_messages());
    }

    fn is_awake(&self, side: usize) -> bool {
        self.asleep_until[side] <= self.pair.now_ms
    }

    /// Delivers a frame that is due, if there is one.
    fn arrives(&mut self) -> bool {
        let now_ms = self.pair.now_ms;
        if self.parted_until > now_ms {
            return false;
        }
        if self.is_awake(1) && self.up.due_ms() <= now_ms {
            let frame = self.up.next().expect("one is due");
            if !self.is_dead {
                self.pair.up.push_back(frame);
                self.pair.deliver_up();
            }
            return true;
        }
        if self.is_awake(0) && self.down.due_ms() <= now_ms {
            let frame = self.down.next().expect("one is due");
            if !self.is_dead {
                self.pair.down.push_back(frame);
                self.pair.deliver_down();
            }
            return true;
        }
        false
    }

    /// Moves the clock on to what happens next, and lets it happen.
    fn step(&mut self, until_ms: u64) {
        self.settle_now();
        let now_ms = self.pair.now_ms;
        let after = |at_ms: u64, floor_ms: u64| at_ms.max(floor_ms).max(now_ms + 1);
        let sender_ms = self.pair.sender.as_ref().map_or(u64::MAX, Sender::deadline_ms);
        let receiver_ms = self.pair.receiver.as_ref().map_or(u64::MAX, Receiver::deadline_ms);
        let next_ms = [
            after(self.up.due_ms(), self.parted_until.max(self.asleep_until[1])),
            after(self.down.due_ms(), self.parted_until.max(self.asleep_until[0])),
            after(sender_ms, self.asleep_until[0]),
            after(receiver_ms, self.asleep_until[1]),
            after(self.join_ms, self.asleep_until[0]),
            self.edit_ms.max(now_ms + 1),
            self.fault_ms.max(now_ms + 1),
            until_ms,
        ];
        self.pair.now_ms = next_ms.into_iter().min().expect("there are some").max(now_ms);
        let now_ms = self.pair.now_ms;
        if self.join_ms <= now_ms && self.is_awake(0) {
            self.join();
        }
        if self.is_awake(0)
            && let Some(sender) = self.pair.sender.as_mut().filter(|sender| sender.deadline_ms() <= now_ms)
        {
            sender.tick(now_ms);
        }
        if self.is_awake(1)
            && let Some(receiver) =
                self.pair.receiver.as_mut().filter(|receiver| receiver.deadline_ms() <= now_ms)
        {
            receiver.tick(now_ms);
        }
    }

    fn edits(&mut self) {
        self.counts.edits += 1;
        for _ in 0..1 + self.dice.roll(6) {
            edit(&mut self.pair, &mut self.dice);
        }
        if self.dice.roll(8) == 0
            && let Some(item) = self.pair.files.items.values_mut().next()
        {
            // The clock of the source was set.
            item.meta.mtime.secs += self.dice.roll(2_000_000) as i64 - 1_000_000;
        }
        if self.dice.roll(4) == 0 {
            disturb(&mut self.pair, &mut self.dice);
        }
        if self.pair.files.history.len() > 60 {
            self.pair.files.history.clear();
        }
        if self.pair.sender.is_some() {
            self.pair.scan();
        }
        self.edit_ms = self.pair.now_ms + 100 + self.dice.roll(10 * MINUTE_MS);
    }

    fn fault(&mut self) {
        let now_ms = self.pair.now_ms;
        match self.dice.roll(8) {
            0 => self.break_off(),
            1 => {
                self.counts.partitions += 1;
                self.parted_until = now_ms + self.dice.roll(3 * MINUTE_MS);
            }
            2 => self.is_dead = self.pair.sender.is_some(),
            3 => {
                self.counts.kills += 1;
                // What the client had not yet written is lost with it.
                match self.dice.roll(3) {
                    0 => self.pair.cache = None,
                    1 => self.pair.cache = self.older_cache.take(),
                    _ => {}
                }
                self.break_off();
            }
            4 => {
                self.counts.kills += 1;
                self.pair.disk.kill_at = Some(self.dice.roll(12) as usize);
            }
            5 => self.asleep_until[self.dice.roll(2) as usize] = now_ms + self.dice.roll(20 * MINUTE_MS),
            6 => {
                upset(&mut self.pair, &mut self.dice);
                self.pair.cut_after = None;
                if self.dice.roll(2) == 0 {
                    self.pair.disk.forget_hashes();
                }
            }
            _ => {
                let pick = |dice: &mut Dice, of: [u64; 3]| of[dice.roll(3) as usize];
                self.weather = Weather {
                    latency_ms: pick(&mut self.dice, [10, 80, 500]),
                    bytes_per_s: pick(&mut self.dice, [4_000, 125_000, 10_000_000]),
                    lost_percent: pick(&mut self.dice, [0, 1, 5]),
                };
            }
        }
        self.older_cache = self.older_cache.take().or(self.pair.cache.clone());
        // Now and then many in a row: a link that flaps.
        let most_ms = if self.dice.roll(3) == 0 { 5 * SECOND_MS } else { 15 * MINUTE_MS };
        self.fault_ms = now_ms + 1 + self.dice.roll(most_ms);
    }

    /// Hours with faults, then none; both sides must agree.
    fn live(&mut self) {
        let end_ms = self.pair.now_ms + LIFE_HOURS * HOUR_MS;
        while self.pair.now_ms < end_ms {
            self.step(end_ms);
            if self.edit_ms <= self.pair.now_ms {
                self.edits();
            }
            if self.fault_ms <= self.pair.now_ms {
                self.fault();
            }
        }
        self.weather = CALM;
        (self.edit_ms, self.fault_ms, self.parted_until, self.asleep_until) = (u64::MAX, u64::MAX, 0, [0; 2]);
        self.pair.disk.refuses.clear();
        self.pair.disk.kill_at = None;
        let calm_ms = end_ms + CALM_MS;
        while self.pair.now_ms < calm_ms {
            self.step(calm_ms);
        }
        assert_eq!(self.pair.ending, Some(Ending::Identical), "{:?}", self.counts);
        self.pair.assert_in_step();
    }
}

#[test]
fn days_of_faults_end_in_step() {
    let read = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let hours = read("STRAIT_HOURS").unwrap_or(60);
    let seeds = match read("STRAIT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..hours.div_ceil(LIFE_HOURS),
    };
    let n_lives = seeds.end - seeds.start;
    let mut all = Counts::default();
    for seed in seeds {
        let lived = std::panic::catch_unwind(|| {
            let mut life = Life::new(seed);
            life.live();
            life.counts
        });
        let counts = lived.unwrap_or_else(|_| panic!("seed {seed}"));
        all.sessions += counts.sessions;
        all.frames += counts.frames;
        all.edits += counts.edits;
        all.kills += counts.kills;
        all.partitions += counts.partitions;
        all.given_up += counts.given_up;
    }
    println!("{} simulated hours from seed 0 on, {n_lives} lives: {all:?}", n_lives * LIFE_HOURS);
    assert!(all.sessions > 2 * n_lives && all.kills > 0 && all.given_up > 0, "the faults happened: {all:?}");
}
