//! A server whose signatures match everywhere and nowhere: by their weak hashes, never by their strong ones.

use crate::common::World;
use crate::common::tree::{noise, write};
use crate::far::*;
use crate::harbour::{meta, path};
use crate::wire::Host;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use strait::delta::blocks::RangeSignature;
use strait::delta::groups::GroupTree;
use strait::delta::ops::Op;
use strait::model::{ContentHash, Kind, List, Name, Tag};
use strait::proto::message::*;

/// A large file.
const LARGE: usize = 32 << 20;
/// One that is looked for elsewhere too, at 64 places: without the compiler's help that is slow, however honest the
/// answers.
const SOUGHT: usize = if cfg!(debug_assertions) { 1 << 20 } else { LARGE };
/// Most that a lie may cost, beside what the truth costs.
const LIMIT: Duration = Duration::from_secs(10);
/// The content is the same again after so many bytes: blocks that begin at each of them match everywhere.
const PERIOD: usize = 96;

#[derive(Clone, Copy, Debug)]
enum Signature {
    /// Of windows of the content, with strong hashes that are none.
    Lying,
    /// Of something else.
    Honest,
}

/// What the server knows, and how it answers.
struct Trap {
    target: Vec<u8>,
    signature: Signature,
    /// It says truly of one group in so many that it has it.
    one_equal_in: Option<usize>,
}

/// What was asked for, and what came.
#[derive(Default, Debug)]
struct Heard {
    block_bytes: Vec<u32>,
    literal: u64,
    same: u64,
    took: Duration,
}

impl Trap {
    fn tags(&self, level: u8, n: u32) -> Vec<Tag> {
        let tags = GroupTree::compute(&self.target).expect("it is large enough").tags(level).tags;
        let said = |(n, tag): (usize, Tag)| match self.one_equal_in {
            Some(one_in) if n % one_in == 0 => tag,
            _ => Tag([8; 8]),
        };
        tags.into_iter().enumerate().map(said).take(n as usize).collect()
    }

    fn entries(&self, len: u64, block_bytes: u32, strong_bytes: u8) -> Vec<u8> {
        let block = block_bytes as usize;
        let weak = |n: usize| match self.signature {
            Signature::Honest => (n as u32 ^ 0x55aa_55aa).to_be_bytes().to_vec(),
            Signature::Lying => {
                let at = n % PERIOD;
                let window =
                    RangeSignature::compute(0, &self.target[at..at + block], block_bytes, strong_bytes);
                window.entries()[..4].to_vec()
            }
        };
        let n_blocks = len.div_ceil(u64::from(block_bytes)) as usize;
        (0..n_blocks).flat_map(|n| [weak(n), vec![0; usize::from(strong_bytes)]].concat()).collect()
    }

    fn listing(&self, request: u32) -> Down {
        let big = EntryInfo {
            name: Name::parse(b"big").expect("a name"),
            kind: Kind::File,
            meta: meta(0o600),
            size: self.target.len() as u64,
            hash: EntryHash::Tag(Tag([6; 8])),
            n_below: 0,
        };
        let body = ListingBody::Entries(List::new(vec![big]));
        Down::Listing(Box::new(Listing { request, dir: path(""), hash: None, n_below: 1, body, more: false }))
    }

    fn play(&self, host: &mut Host, heard: &mut Heard) {
        welcome_with(host, |welcome| welcome.credit = u64::MAX);
        let request = is_other(host);
        host.say(&self.listing(request));
        // The time that goes by here is not the client's.
        let (mut began, mut own) = (Instant::now(), Duration::ZERO);
        loop {
            let up = host.hear().expect("the client goes on");
            let heard_at = Instant::now();
            match up {
                Up::Put(_) => (began, own) = (heard_at, Duration::ZERO),
                Up::End { .. } => break,
                up => self.answer(host, up, heard),
            }
            own += heard_at.elapsed();
        }
        heard.took = began.elapsed().saturating_sub(own);
        dismiss(host);
    }

    fn answer(&self, host: &mut Host, up: Up, heard: &mut Heard) {
        let found = Some(ContentFound { hash: ContentHash([6; 32]), size: self.target.len() as u64 });
        match up {
            Up::AskGroups { request, level, n, .. } => {
                let tags = List::new(self.tags(level, n));
                host.say(&Down::Groups { request, found, level, first: 0, tags });
            }
            Up::AskSignature { request, ranges, block_bytes, strong_bytes, .. } => {
                heard.block_bytes.push(block_bytes);
                for (n, range) in ranges.iter().copied().enumerate() {
                    let entries = self.entries(range.1, block_bytes, strong_bytes);
                    let more = n + 1 < ranges.len();
                    host.say(&Down::Signature {
                        request,
                        found,
                        block_bytes,
                        strong_bytes,
                        range,
                        entries,
                        more,
                    });
                }
            }
            Up::AskHave { request, .. } => host.say(&Down::Have { request, found: List::default() }),
            Up::Delta { ops, .. } => ops.iter().for_each(|op| match op {
                Op::Literal(bytes) => heard.literal += bytes.len() as u64,
                Op::Same { len } => heard.same += len,
                op => panic!("nothing of it is there: {op:?}"),
            }),
            _ => {}
        }
    }
}

/// Pushes a content that repeats itself.
fn pushed(size: usize, signature: Signature, one_equal_in: Option<usize>) -> Heard {
    let world = World::new();
    let target = noise(9, PERIOD).into_iter().cycle().take(size).collect::<Vec<u8>>();
    write(world.src.join("big"), &target);
    let trap = Trap { target, signature, one_equal_in };
    let heard = Arc::new(Mutex::new(Heard::default()));
    let hears = heard.clone();
    let far = Far::start(&world, move |host| trap.play(host, &mut hears.lock().expect("nobody panics")));
    far.push(&world, &["--json", "-v"]).ended_with(1).says("that is enough").says_nothing_of("panicked");
    far.end();
    let heard = std::mem::take(&mut *heard.lock().expect("nobody panics"));
    assert_eq!(heard.literal + heard.same, size as u64, "{heard:?}");
    println!("{size} bytes, {signature:?} signature: {:?}, blocks of {:?}", heard.took, heard.block_bytes);
    heard
}

#[test]
fn a_hostile_signature_of_a_large_file_in_its_place_costs_seconds_and_literals() {
    let lied_to = pushed(LARGE, Signature::Lying, Some(4));
    assert!(lied_to.took < LIMIT, "{lied_to:?}");
    assert!(lied_to.block_bytes.iter().all(|bytes| *bytes < 1_000), "{lied_to:?}");
    assert!(lied_to.literal > LARGE as u64 / 2, "{lied_to:?}");
}

#[test]
fn a_hostile_signature_of_a_large_file_elsewhere_costs_seconds_and_literals() {
    let told = pushed(SOUGHT, Signature::Honest, None);
    let lied_to = pushed(SOUGHT, Signature::Lying, None);
    assert!(lied_to.took < told.took + LIMIT, "{lied_to:?} {told:?}");
    assert!(lied_to.block_bytes.iter().any(|bytes| *bytes > 8_000), "{lied_to:?}");
    assert_eq!(lied_to.literal, SOUGHT as u64, "{lied_to:?}");
}
