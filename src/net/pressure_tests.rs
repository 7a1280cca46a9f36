//! Links and processors of many speeds, and what the system between them hides.

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
            pressure.squeezed(plain, shrunk, worked);
        }
        // The link goes on while the next piece is squeezed.
        pressure.sent(wire, Duration::from_secs_f64((wire as f64 / rate - work_s).max(wire as f64 / 2e9)));
        pressure.judge();
        efforts.push(pressure.effort());
    }
    efforts
}

#[test]
fn a_slow_link_is_worth_the_most_work_that_it_outlasts_and_keeps_to_it() {
    let slow = efforts(0.9e6, 7.0, 200);
    assert!(slow[20..].iter().all(|effort| *effort == Effort::Great), "{slow:?}");
    let link_of_10_mbit_s = efforts(1.2e6, 7.0, 200);
    assert_eq!(link_of_10_mbit_s.last(), Some(&Effort::Much), "{link_of_10_mbit_s:?}");
    let slower = efforts(0.25e6, 7.0, 200);
    assert!(slower.iter().all(|effort| *effort == Effort::Most), "{slower:?}");
}

// What the system swallowed of a stretch of 150 KB, and did not of the next, made a link of 10 Mbit/s look like one
// of 6 and one of 14 in turns, and the effort changed each time.
#[test]
fn what_the_system_holds_back_does_not_make_the_measure_waver() {
    const RATE: f64 = 1.2e6;
    const HOLDS: f64 = 128e3;
    const CHUNK: usize = 16 * 1024;
    let mut pressure = Pressure::new(Effort::Usual, false);
    let (mut held, mut efforts) = (0.0f64, Vec::new());
    for _ in 0..200 {
        let plain = 240 * 1024;
        let worked = plain as f64 * 8e-9 * pressure.effort().work();
        held = (held - worked * RATE).max(0.0);
        let worked = Duration::from_secs_f64(worked);
        pressure.took(plain);
        pressure.squeezed(plain, 4 * CHUNK, worked);
        for _ in 0..4 {
            let waits = ((held + CHUNK as f64 - HOLDS) / RATE).max(20e-6);
            held = (held - waits * RATE).max(0.0) + CHUNK as f64;
            pressure.sent(CHUNK, Duration::from_secs_f64(waits));
        }
        if let Some(effort) = pressure.judge() {
            efforts.push(effort);
        }
    }
    assert!(efforts.len() <= 2, "{efforts:?}");
    assert_eq!(efforts.last(), Some(&Effort::Much));
    let rate = pressure.rate().unwrap() as f64;
    assert!((0.98..1.02).contains(&(rate / RATE)), "{rate}");
}

// The limit of what the system holds back follows the measure. Where a piece took longer to squeeze than that lasts, the
// link stood still meanwhile, and a writer that woke up late looked as if it had waited for it: the measure fell, and
// the effort that it allowed made the pieces take longer still. A first push took 230 s where the link needs 133.
#[test]
fn a_writer_that_wakes_up_late_does_not_talk_the_link_down() {
    const RATE: f64 = 1.2e6;
    const CHUNK: usize = 16 * 1024;
    const LATE: f64 = 5e-3;
    for work_ns in [3.0, 4.6, 7.0, 10.0] {
        let mut pressure = Pressure::new(Effort::Usual, false);
        let mut held = 0.0f64;
        for _ in 0..2_000 {
            let plain = 256 * 1024;
            let shrunk = 2 * CHUNK;
            let work_s = plain as f64 * work_ns * 1e-9 * pressure.effort().work();
            let worked = Duration::from_secs_f64(work_s);
            held = (held - work_s * RATE).max(0.0);
            pressure.took(plain);
            pressure.squeezed(plain, shrunk, worked);
            let holds = (pressure.rate().unwrap_or(1_280_000) as f64 / 10.0).max(16e3);
            for _ in 0..shrunk / CHUNK {
                let waits = ((held + CHUNK as f64 - holds) / RATE).max(0.0) + LATE;
                held = (held - waits * RATE).max(0.0) + CHUNK as f64;
                pressure.sent(CHUNK, Duration::from_secs_f64(waits));
            }
            pressure.judge();
        }
        let measured = pressure.rate().expect("it was measured") as f64 / RATE;
        assert!(measured > 0.9, "at {work_ns} ns a byte the link was taken for {measured:.2} of what it is");
    }
}

// The system lets a writer wait until half of what it holds is gone. Of what shrinks to a twentieth, many pieces go before
// that, and the one that waited looked as if the link took no more than it: one of 10 Mbit/s was taken for one of 0.8, and
// the rest of a first push was squeezed as hard as can be while the link stood idle.
#[test]
fn one_wait_for_many_pieces_does_not_make_a_link_look_thin() {
    const RATE: f64 = 1.2e6;
    const CHUNK: usize = 16 * 1024;
    for work_ns in [1.0, 2.0, 3.0, 4.6] {
        let mut pressure = Pressure::new(Effort::Usual, false);
        let (mut held, mut out) = (0.0f64, 0);
        for number in 0..4_000 {
            let plain = 256 * 1024;
            // Text at first, then tables of numbers.
            let shrunk = if number < 200 { plain / 4 } else { plain / 20 };
            let work_s = plain as f64 * work_ns * 1e-9 * pressure.effort().work();
            pressure.took(plain);
            pressure.squeezed(plain, shrunk, Duration::from_secs_f64(work_s));
            held = (held - work_s * RATE).max(0.0);
            out += shrunk;
            let holds = (pressure.rate().unwrap_or(1_280_000) as f64 / 10.0).max(16e3);
            while out >= CHUNK {
                let waits = if held < holds { 20e-6 } else { (held - holds / 2.0) / RATE };
                held = (held - waits * RATE).max(0.0) + CHUNK as f64;
                pressure.sent(CHUNK, Duration::from_secs_f64(waits));
                out -= CHUNK;
            }
            pressure.judge();
            let measured = pressure.rate().unwrap_or(RATE as u64) as f64 / RATE;
            assert!(
                measured > 0.7,
                "at {work_ns} ns a byte piece {number} made it {measured:.2} of what it is"
            );
        }
    }
}

// The other way about: squeezing held up what went before, and the piece that was waited for shows what the link takes.
#[test]
fn squeezing_before_a_wait_does_not_make_a_fast_link_look_thin() {
    let mut pressure = Pressure::new(Effort::None, false);
    let stored = |pressure: &mut Pressure| {
        pressure.took(1 << 20);
        pressure.sent(1 << 20, Duration::from_micros(80));
        pressure.judge();
    };
    (0..40).for_each(|_| stored(&mut pressure));
    let rate = pressure.rate();
    for _ in 0..10 {
        pressure.took(1 << 20);
        pressure.squeezed(1 << 20, 1 << 20, Duration::from_millis(7));
        pressure.sent(1 << 20, Duration::from_micros(80));
        pressure.judge();
    }
    stored(&mut pressure);
    assert_eq!(pressure.rate(), rate);
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
        pressure.squeezed(1 << 20, 1 << 20, Duration::from_millis(7));
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
        pressure.squeezed(1 << 20, 1 << 18, Duration::from_secs_f64(work_s));
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
fn a_link_of_100_mbit_s_is_worth_more_than_the_usual() {
    let efforts = efforts(12e6, 7.0, 200);
    assert!(efforts[80..].iter().all(|effort| *effort == Effort::Extra), "{efforts:?}");
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
    assert_eq!(pressure.judge(), Some(Effort::Great));
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
