//! A real server with a guest who has a valid key and bad intentions.

use crate::common::tree::{Entry, link, listed, mkdir, noise, write};
use crate::common::{Server, User, World};
use crate::wire::{Near, PREFACE, identity, places, runtime, short};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use strait::model::{ContentHash, Kind, List, Meta, RelPath, Time};
use strait::net::{ClientTrust, KeyExchange, Pipe};
use strait::proto::message::*;

/// Bytes of the file `a` of the destination.
pub const A_BYTES: usize = 300_000;

pub struct Harbour {
    pub world: World,
    pub server: Server,
    pub guest: User,
    outside: PathBuf,
    before: BTreeMap<OsString, Entry>,
}

impl Harbour {
    /// The destination holds `a`, `d/f`, an empty directory `e` and the symlink `out` that leads outside.
    pub fn new() -> Self {
        let world = World::new();
        let outside = mkdir(world.at("outside"));
        write(outside.join("canary"), "sings");
        write(world.src.join("a"), noise(1, A_BYTES));
        write(world.src.join("d/f"), "small");
        mkdir(world.src.join("e"));
        link("../outside", world.src.join("out"));
        let guest = world.user("guest");
        let key = identity(&guest).public_key().to_string();
        let server = world.serve(&["--authorize", &key]);
        world.push_in_step(&server, &[]);
        let before = listed(&outside);
        Self { world, server, guest, outside, before }
    }

    /// A secure connection of a user to the server, on which nothing was said.
    pub fn connect_as(&self, user: &User) -> Near {
        let address = format!("127.0.0.1:{}", self.server.port);
        let server_key = identity(&self.world.me).public_key();
        let (places, identity) = (places(user), identity(user));
        let trust =
            ClientTrust::gather(&places, &identity, &address, &[server_key], None, KeyExchange::X25519);
        let runtime = runtime();
        let trust = trust.expect("there is no list to be read");
        let (pipe, _) = runtime.block_on(Pipe::connect(&trust)).expect("the server listens");
        Near::new(runtime, pipe)
    }

    pub fn connect(&self) -> Near {
        self.connect_as(&self.guest)
    }

    /// The guest's connection, greeted and answered.
    pub fn greet(&self, role: Role, process: u8) -> Near {
        let mut near = self.connect();
        near.raw(PREFACE);
        near.say(&hello(role, process));
        assert_eq!(near.meet(), Some(1), "the server answers");
        near.hear_until("Welcome", |down| matches!(down, Down::Welcome(_)).then_some(()));
        near
    }

    /// The guest's session, in which the destination is walked and changes count.
    pub fn session(&self) -> Near {
        self.session_as(Role::Push)
    }

    pub fn session_as(&self, role: Role) -> Near {
        let mut near = self.greet(role, 1);
        near.hear_until("the root", |down| match down {
            Down::Root { state: RootState::Complete { .. }, .. } => Some(()),
            _ => None,
        });
        near.say(&Up::Begin { root: None });
        near
    }

    /// Plays an attack and demands that the server ends the session without having done anything. Returns why it did.
    #[track_caller]
    pub fn is_breach(&self, what: &str, attack: impl FnOnce(&mut Near)) -> String {
        let mut near = self.session();
        attack(&mut near);
        ends_in_breach(what, &mut near)
    }

    /// Demands that nothing happened outside, that others are served, and that the server ends in order.
    #[track_caller]
    pub fn still_serves(self) {
        write(self.world.src.join("afterwards"), "served");
        self.world.push_in_step(&self.server, &["--allow-mass-delete"]);
        assert_eq!(listed(&self.outside), self.before, "outside the destination");
        let names: BTreeSet<_> = std::fs::read_dir(self.outside.parent().expect("it lies in the world"))
            .expect("it can be listed")
            .map(|found| found.expect("it can be listed").file_name())
            .collect();
        let known: BTreeSet<OsString> =
            ["me", "guest", "src", "dst", "outside", "other"].map(OsString::from).into();
        assert!(names.is_subset(&known), "{names:?}");
        assert!(!self.world.dst.join(".strait/x").exists());
        let ran = self.server.stop();
        ran.ended_with(0).says_nothing_of("panicked");
    }
}

/// Demands the end of the session and no acknowledgement before it. Returns the last word, empty without one.
#[track_caller]
pub fn ends_in_breach(what: &str, near: &mut Near) -> String {
    let heard = near.over();
    let mut why = String::new();
    for down in &heard {
        let is_word = match down {
            Down::Done { ids, .. } => ids.is_empty(),
            Down::Bye { code, text } => {
                why = text.to_string();
                *code == ByeCode::Breach
            }
            _ => true,
        };
        assert!(is_word, "{what}: {}", short(down));
    }
    why
}

pub fn hello(role: Role, process: u8) -> Up {
    Up::Hello(Box::new(Hello {
        capabilities: 0,
        client: [1; 16],
        process: [process; 16],
        name: Text::new("a guest"),
        root_name: Text::default(),
        role,
        scope: [7; 16],
        keeps: None,
        fresh_ms: 0,
        ahead: None,
        ticket: None,
        extra: List::default(),
    }))
}

pub fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

pub fn meta(mode: u16) -> Meta {
    Meta { mode, mtime: Time { secs: 1_767_225_600, nanos: 0 } }
}

pub fn put(id: u64, at: &str, content: &[u8], bases: Vec<strait::delta::ops::Basis>) -> Put {
    Put {
        id,
        path: path(at),
        meta: meta(0o644),
        size: content.len() as u64,
        hash: ContentHash::of(content),
        bases: List::new(bases),
        resume: None,
        wait: false,
    }
}

/// A pack of one file in the root directory.
pub fn pack(id: u64, dir: &str, name: &str, content: &[u8]) -> Pack {
    let file = PackFile {
        name: strait::model::Name::parse(name.as_bytes()).expect("a name"),
        meta: meta(0o644),
        size: content.len() as u32,
        body: PackBody::Whole(content.to_vec()),
    };
    Pack {
        id,
        dirs: List::new(vec![PackDir { path: path(dir), meta: None, n_files: 1 }]),
        files: List::new(vec![file]),
        hash: ContentHash::of(&ContentHash::of(content).0),
    }
}

pub fn removal(at: &str, kind: Kind) -> Removal {
    Removal { path: path(at), kind, n_below: u64::MAX }
}
