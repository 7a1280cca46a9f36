//! A server that the client trusts and should not.

use crate::common::tree::{listed, noise, write};
use crate::common::{Ran, World};
use crate::far::*;
use crate::harbour::{meta, path};
use crate::wire::Host;
use std::time::{Duration, Instant};
use strait::model::{ContentHash, Kind, List, Meta, Name, Tag, Time};
use strait::proto::message::*;

const BIG_BYTES: usize = 400_000;

fn world() -> World {
    let world = World::new();
    write(world.src.join("big"), noise(3, BIG_BYTES));
    write(world.src.join("d/small"), "small");
    world
}

fn entry(name: &str, size: u64) -> EntryInfo {
    EntryInfo {
        name: Name::parse(name.as_bytes()).expect("a name"),
        kind: Kind::File,
        meta: meta(0o644),
        size,
        hash: EntryHash::Tag(Tag([6; 8])),
        n_below: 0,
    }
}

fn listing(request: u32, dir: &str, entries: Vec<EntryInfo>) -> Down {
    let body = ListingBody::Entries(List::new(entries));
    Down::Listing(Box::new(Listing { request, dir: path(dir), hash: None, n_below: 1, body, more: false }))
}

/// Pushes to a server that plays a script; the client must end by itself, in order, with its source untouched.
fn push_to(script: impl Fn(&mut Host) + Send + 'static) -> Ran {
    let world = world();
    let before = listed(&world.src);
    let far = Far::start(&world, script);
    let ran = far.push(&world, &["--json", "-v"]);
    far.end();
    ran.says_nothing_of("panicked");
    assert_eq!(listed(&world.src), before);
    ran
}

/// The server breaks the protocol: the push fails at once and says so.
#[track_caller]
fn is_breach(what: &str, script: impl Fn(&mut Host) + Send + 'static) {
    let ran = push_to(move |host| {
        script(host);
        host.over();
    });
    assert_eq!(ran.code, Some(1), "{what}: {}", ran.all());
    assert_eq!(ran.events("error").len(), 1, "{what}: {}", ran.all());
}

#[test]
fn listings_that_cannot_be_end_the_push() {
    for forged in [&b"../x"[..], b"/etc", b"..", b"a/b", b"a\0b"] {
        is_breach("a climbing name", move |host| {
            welcome(host);
            let request = is_other(host);
            let placeholder = vec![b'Z'; forged.len()];
            let name = std::str::from_utf8(&placeholder).expect("ASCII");
            host.say_forged(&listing(request, "", vec![entry(name, 1)]), &placeholder, forged);
        });
    }
    is_breach("another directory", |host| {
        welcome(host);
        let request = is_other(host);
        host.say(&listing(request, "elsewhere", vec![]));
    });
    is_breach("another question", |host| {
        welcome(host);
        is_other(host);
        host.say(&listing(999, "", vec![]));
    });
    is_breach("ranges", |host| {
        welcome(host);
        let request = is_other(host);
        let body = ListingBody::Ranges(List::default());
        host.say(&Down::Listing(Box::new(Listing {
            request,
            dir: path(""),
            hash: None,
            n_below: 0,
            body,
            more: false,
        })));
    });
    for size in [u64::MAX, (1 << 48) + 1] {
        is_breach("files larger than can be", move |host| {
            welcome(host);
            let request = is_other(host);
            host.say(&listing(request, "", vec![entry("big", size), entry("c", size), entry("e", size)]));
        });
    }
    for bad in [Meta { mode: 0o7777, ..meta(0) }, Meta { mode: 0, mtime: Time { secs: 0, nanos: u32::MAX } }]
    {
        is_breach("metadata that cannot be", move |host| {
            welcome(host);
            let request = is_other(host);
            host.say(&listing(request, "", vec![EntryInfo { meta: bad, ..entry("big", 5) }]));
        });
    }
}

#[test]
fn words_at_the_wrong_time_end_the_push() {
    is_breach("a root before the greeting", |host| {
        let scope = greeting(host);
        is_empty(host, scope);
    });
    is_breach("a second greeting", |host| {
        welcome(host);
        welcome_again(host);
    });
    for ids in [vec![(999, 1)], vec![(1, u32::MAX)], vec![(u64::MAX, u32::MAX)], vec![(1, 1); 4_000]] {
        is_breach("an acknowledgement of what was not sent", move |host| {
            let scope = welcome(host);
            is_empty(host, scope);
            host.hear_until("changes", |up| matches!(up, Up::Begin { .. }).then_some(()));
            host.say(&Down::Done { ids: List::new(ids.clone()), root: None });
        });
    }
    is_breach("an answer to no question", |host| {
        welcome(host);
        host.say(&signature(77, 1_021, (0, 1_021), 12, false));
    });
    is_breach("parts that nobody asked for", |host| {
        welcome(host);
        host.say(&Down::Have { request: 9, found: List::default() });
    });
    is_breach("a repair that cannot be", |host| {
        let scope = welcome(host);
        is_empty(host, scope);
        let id = put_id(host);
        host.hear_until("its end", |up| (*up == Up::End { id }).then_some(()));
        host.say(&Down::Mismatch { id, round: 1, level: 200, first: 0, values: List::default() });
    });
    for asked_rounds in [[1, 1, 1, 1], [1, 2, 3, 3], [1, 2, 3, 4], [2, 3, 4, 5]] {
        is_breach("repairs without end", move |host| {
            let scope = welcome(host);
            is_empty(host, scope);
            let id = put_id(host);
            for round in asked_rounds {
                if !std::iter::from_fn(|| host.hear()).any(|up| up == Up::End { id }) {
                    break;
                }
                host.say(&Down::Mismatch { id, round, level: 0, first: 0, values: List::default() });
            }
        });
    }
    is_breach("bytes that are no message", |host| {
        welcome(host);
        host.body(&[16, 1, 2]);
    });
    is_breach("a segment that is none", |host| {
        welcome(host);
        host.raw(&[9, 9, 9, 9]);
    });
}

fn welcome_again(host: &mut Host) {
    let keeps = Keeps { time_step_ns: 0, mode_mask: 0, symlinks: false, folds_case: true, name_bytes: 0 };
    host.say(&Down::Welcome(Box::new(Welcome {
        capabilities: u64::MAX,
        root_id: [5; 16],
        lease: 0,
        keeps,
        rights: 0,
        credit: u64::MAX,
        partials: List::default(),
        open_transfers: 0,
        unacknowledged: 0,
        extra: List::default(),
    })));
}

fn put_id(host: &mut Host) -> u64 {
    host.hear_until("a transfer", |up| match up {
        Up::Put(put) => Some(put.id),
        _ => None,
    })
}

fn signature(request: u32, block_bytes: u32, range: (u64, u64), n_bytes: usize, more: bool) -> Down {
    let found = Some(ContentFound { hash: ContentHash([6; 32]), size: u64::MAX });
    Down::Signature { request, found, block_bytes, strong_bytes: 8, range, entries: vec![7; n_bytes], more }
}

#[test]
fn hostile_answers_about_a_basis_cost_bytes_and_nothing_else() {
    let groups: [(u8, usize); 4] = [(0, 0), (0, 8_192), (14, 1), (255, 3)];
    let signatures: [(u32, (u64, u64), usize); 8] = [
        (0, (0, BIG_BYTES as u64), 0),
        (0, (0, BIG_BYTES as u64), 240 << 10),
        (u32::MAX, (0, u64::MAX), 12),
        (1_021, (u64::MAX, u64::MAX), 12),
        (1_021, (u64::MAX - 1_020, 1_020), 12),
        (1_021, (1 << 60, 1_021), 12),
        (1_021, (0, 5), 7),
        (64, (3, 0), 240 << 10),
    ];
    for (n, (block_bytes, range, n_bytes)) in signatures.into_iter().enumerate() {
        let (level, n_tags) = groups[n % groups.len()];
        let ran = push_to(move |host| {
            welcome(host);
            let request = is_other(host);
            host.say(&listing(request, "", vec![entry("big", BIG_BYTES as u64)]));
            let mut covered = 0;
            loop {
                match host.hear().expect("the client goes on") {
                    Up::AskGroups { request, .. } => {
                        let found = Some(ContentFound { hash: ContentHash([6; 32]), size: u64::MAX });
                        let tags = List::new(vec![Tag([8; 8]); n_tags]);
                        host.say(&Down::Groups { request, found, level, first: u64::MAX, tags });
                    }
                    Up::AskSignature { request, block_bytes: asked, .. } => {
                        host.say(&signature(request, block_bytes, range, n_bytes, true));
                        host.say(&signature(request, asked, range, n_bytes, true));
                        host.say(&signature(request, asked, (0, 0), 0, false));
                    }
                    Up::Delta { ops, .. } => covered += ops.iter().map(|op| op.target_len()).sum::<u64>(),
                    Up::End { .. } => break,
                    _ => {}
                }
            }
            assert_eq!(covered, BIG_BYTES as u64);
            dismiss(host);
        });
        ran.ended_with(1).says("that is enough");
    }
}

#[test]
fn an_answer_about_a_basis_that_never_ends_ends_the_push() {
    is_breach("parts without end", |host| {
        welcome(host);
        let request = is_other(host);
        host.say(&listing(request, "", vec![entry("big", 60_000)]));
        let request = host.hear_until("a question", |up| match up {
            Up::AskSignature { request, .. } => Some(*request),
            _ => None,
        });
        for _ in 0..64 {
            host.say(&signature(request, 1_021, (0, 0), 200 << 10, true));
        }
    });
}

#[test]
fn claims_and_refusals_out_of_all_bounds_are_borne() {
    let ran = push_to(|host| {
        let keeps =
            Keeps { time_step_ns: 0, mode_mask: 0xffff, symlinks: true, folds_case: true, name_bytes: 0 };
        let scope = welcome_with(host, |welcome| {
            (welcome.credit, welcome.keeps) = (u64::MAX, keeps);
            (welcome.open_transfers, welcome.unacknowledged, welcome.capabilities) = (0, 0, u64::MAX);
        });
        is_empty(host, scope);
        let id = put_id(host);
        host.say(&Down::Credit { grants: List::new(vec![(u64::MAX, u64::MAX); 64]) });
        for item in [None, Some(0), Some(u32::MAX)] {
            for id in [0, 1, id, u64::MAX] {
                host.say(&Down::Refused { id, item, why: Refusal::MoreThanSaid { n: u64::MAX } });
                host.say(&Down::Refused { id, item, why: Refusal::Io { errno: i32::MIN } });
            }
        }
        host.say(&Down::Notice(Notice::KeepsChanged(Keeps {
            time_step_ns: u32::MAX,
            mode_mask: 0,
            ..keeps
        })));
        host.say(&Down::Notice(Notice::SpaceBack));
        host.say(&Down::Answer { id: 7, answer: PutAnswer::Already });
        host.say(&Down::Ping(3));
        host.hear_until("a pong", |up| (*up == Up::Pong(3)).then_some(()));
        dismiss(host);
    });
    ran.ended_with(1).says("that is enough");
}

#[test]
fn a_repair_of_everything_is_answered_with_literals() {
    let ran = push_to(|host| {
        let scope = welcome(host);
        is_empty(host, scope);
        let id = put_id(host);
        for (round, values) in [(1, vec![]), (2, vec![[1; 32]; 4_096]), (3, vec![[1; 32]])] {
            host.hear_until("its end", |up| (*up == Up::End { id }).then_some(()));
            let values = List::new(values);
            host.say(&Down::Mismatch { id, round, level: round * 4, first: u64::MAX, values });
        }
        host.hear_until("its end", |up| (*up == Up::End { id }).then_some(()));
        dismiss(host);
    });
    ran.ended_with(1).says("that is enough");
}

#[test]
fn a_server_that_hashes_for_ever_is_waited_for_aloud_and_left_in_order() {
    let world = world();
    let far = Far::start(&world, |host| {
        welcome(host);
        let state = RootState::Hashing { done: u64::MAX, total: 1 };
        while host.hear_within(Duration::from_millis(20)).is_none_or(|up| up.is_some()) {
            host.say(&Down::Root { state, why: RootReason::Greeting });
        }
    });
    let watch = far.watch(&world, &["--json", "-v"]);
    watch.wait_for_event("waiting");
    watch.interrupt().ended_with(0).says_nothing_of("panicked");
    far.end();
}

#[test]
fn connections_that_end_at_once_are_tried_again() {
    type Script = fn(&mut Host);
    let scripts: [(&str, Script); 4] = [
        ("waiting", |_| {}),
        ("disconnected", |host| {
            greeting(host);
        }),
        ("disconnected", |host| {
            welcome(host);
        }),
        ("waiting", |host| host.raw(b"strait")),
    ];
    for (event, script) in scripts {
        let world = world();
        let far = Far::start(&world, script);
        let watch = far.watch(&world, &["--json", "-v"]);
        watch.wait_for_event(event);
        watch.interrupt().ended_with(0).says_nothing_of("panicked");
        far.end();
    }
}

#[test]
#[ignore = "takes the 20 s that a push tries"]
fn a_push_gives_a_server_up_that_always_hangs_up() {
    let world = world();
    let far = Far::start(&world, |host| {
        welcome(host);
    });
    let push = far.run("push", &world, &["--json", "-v"]);
    let until = Instant::now() + Duration::from_secs(40);
    while push.count("error") == 0 {
        assert!(Instant::now() < until, "it tries for ever");
        std::thread::sleep(Duration::from_millis(100));
    }
    push.ended().ended_with(6).says_nothing_of("panicked");
    far.end();
}

#[test]
fn a_port_that_speaks_something_else_behind_tls_is_named() {
    let ran = push_to(|host| {
        host.raw(b"\x1b]0;owned\x07HTTP/1.1 400");
        host.over();
    });
    ran.ended_with(1).says_nothing_of("\u{1b}").says_nothing_of("\u{7}");
}

const EVIL: &str = "bad\u{1b}[31m\u{7}\r\n\u{202e}words";

#[test]
fn words_of_the_server_are_shown_without_control_characters() {
    let world = world();
    let refusing = Far::start(&world, |host| {
        greeting(host);
        let text = Text::new(EVIL);
        host.say(&Down::Refuse(Refuse { code: RefuseCode::Limit, lowest: 1, highest: 1, text }));
        host.over();
    });
    for json in [&[][..], &["--json"]] {
        is_clean(&refusing.push(&world, json).ended_with(1).says("words").all());
    }
    refusing.end();
    let leaving = Far::start(&world, |host| {
        welcome(host);
        host.say(&Down::Bye { code: ByeCode::Fault, text: Text::new(EVIL) });
        host.over();
    });
    let watch = leaving.watch(&world, &["-v"]);
    watch.wait_for("its words", |said| {
        said.err.iter().chain(said.out).any(|line| line.contains("words")).then_some(())
    });
    is_clean(&watch.interrupt().ended_with(0).all());
    leaving.end();
}

#[track_caller]
fn is_clean(said: &str) {
    let is_bad = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!said.contains(is_bad), "{said:?}");
    assert!(!said.contains("panicked"), "{said}");
}
