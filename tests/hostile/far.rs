//! A server that plays a script for each connection, with a key that the client was told to trust.

use crate::common::traced::traced;
use crate::common::{Ran, Running, User, World, text};
use crate::wire::{Host, PREFACE, identity, runtime};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use strait::model::{ContentHash, List, Tree};
use strait::net::tls::ServerTls;
use strait::net::{Pipe, PublicKey};
use strait::proto::message::*;
use tokio::net::TcpListener;

pub struct Far {
    pub port: u16,
    key: PublicKey,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Far {
    /// Plays `script` with every client that comes, from the moment when TLS stands.
    pub fn start(world: &World, script: impl Fn(&mut Host) + Send + 'static) -> Self {
        let identity = identity(&world.user("far"));
        let tls = ServerTls::new(&identity);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (port_is, port) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = runtime();
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
            port_is.send(listener.local_addr().expect("an address").port()).expect("it is waited for");
            while !stopped.load(Ordering::Relaxed) {
                let accepted = runtime.block_on(async {
                    let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
                    Pipe::accept(accepted.ok()?.ok()?.0, &tls).await.ok()
                });
                if let Some((pipe, _)) = accepted {
                    script(&mut Host::new(runtime.clone(), pipe));
                }
            }
        });
        let port = port.recv().expect("it listens");
        Self { port, key: identity.public_key(), stop, thread: Some(thread) }
    }

    /// The words of a command to this server.
    fn words(&self, verb: &str, world: &World, more: &[&str]) -> Vec<String> {
        let (port, key) = (self.port.to_string(), self.key.to_string());
        let words = [verb, text(&world.src), "--host", "127.0.0.1", "--port", &port, "--server-key", &key];
        words.iter().chain(more).map(|word| word.to_string()).collect()
    }

    pub fn push(&self, world: &World, more: &[&str]) -> Ran {
        let words = self.words("push", world, more);
        self.client(world).run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The same under strace, whose words these are.
    pub fn traced_push(&self, world: &World, log: &Path, strace: &[&str], more: &[&str]) -> Ran {
        let words = self.words("push", world, more);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Running::start(traced(&world.me, log, strace, &words)).ended()
    }

    pub fn watch(&self, world: &World, more: &[&str]) -> Running {
        self.run("watch", world, more)
    }

    pub fn run(&self, verb: &str, world: &World, more: &[&str]) -> Running {
        let words = self.words(verb, world, more);
        self.client(world).start(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn client<'a>(&self, world: &'a World) -> &'a User {
        &world.me
    }

    /// Ends the server and says whether a script failed.
    pub fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("it runs").join();
        assert!(ended.is_ok(), "the script failed");
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Reads the greeting and answers; gives the scope.
pub fn welcome(host: &mut Host) -> [u8; 16] {
    welcome_with(host, |_| {})
}

pub fn welcome_with(host: &mut Host, change: impl FnOnce(&mut Welcome)) -> [u8; 16] {
    let scope = greeting(host);
    let mut welcome = Welcome {
        capabilities: 0,
        root_id: [4; 16],
        lease: 1,
        keeps: Keeps::ALL,
        rights: 1,
        credit: 8 << 20,
        partials: List::default(),
        open_transfers: 64,
        unacknowledged: 65_536,
        extra: List::default(),
    };
    change(&mut welcome);
    host.say(&Down::Welcome(Box::new(welcome)));
    scope
}

/// Reads the greeting and says only the preface; gives the scope.
pub fn greeting(host: &mut Host) -> [u8; 16] {
    host.meet();
    let scope = host.hear_until("the greeting", |up| match up {
        Up::Hello(hello) => Some(hello.scope),
        _ => None,
    });
    host.raw(PREFACE);
    scope
}

pub fn complete(root: ContentHash) -> Down {
    let state = RootState::Complete { root, entries: 0, age_ms: 0, unreadable: 0 };
    Down::Root { state, why: RootReason::Greeting }
}

/// The destination is empty.
pub fn is_empty(host: &mut Host, scope: [u8; 16]) {
    let root = Tree::default().root_hash(&scope).expect("nothing is unknown");
    host.say(&complete(ContentHash(root.0)));
}

/// The destination is something else: the client has to ask. Gives the number of its first question.
pub fn is_other(host: &mut Host) -> u32 {
    host.say(&complete(ContentHash([5; 32])));
    host.hear_until("a question", |up| match up {
        Up::List { request, .. } => Some(*request),
        _ => None,
    })
}

/// Ends a session so that the client does not come again.
pub fn dismiss(host: &mut Host) {
    let text = Text::new("that is enough");
    host.say(&Down::Refuse(Refuse { code: RefuseCode::Limit, lowest: 1, highest: 1, text }));
    host.over();
}
