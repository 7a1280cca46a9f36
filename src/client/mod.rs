//! Floor 4: the sender, one of the two programs.
//!
//! [`run`] opens the source (`source` scans and watches it in a thread of its own), finds its way
//! to the receiver (`connect`) and drives one machine for each connection (`session`), with a
//! thread for each large file (`deltas`).

mod backlog;
mod backoff;
mod batches;
mod choose;
mod connect;
mod deltas;
pub mod event;
mod learn;
pub mod options;
mod origin;
mod pass;
mod prefix;
mod repair;
mod session;
mod shadow;
mod source;
pub mod status;
mod teller;
mod turns;

use crate::disk::Root;
use crate::net::{Identity, Places, Secret, pace::Rate};
use crate::plan::scope::Scope;
use crate::proto::message::{RefuseCode, Up};
use crate::proto::sender::{Action, Config, Ending, Sender};
use crate::server::contents::KnownContents;
use crate::server::snapshots::Snapshots;
use crate::server::stop::stop_on_signal;
use crate::server::{Fatal, confine, in_runtime};
use crate::store::{Cache, CacheError, Opened};
use backlog::Backlog;
use backoff::Backoff;
use connect::{ConnectError, Connection, Way, state_name};
use event::{Event, Outcome, Report};
use options::{ClientOptions, Destination, Once};
use session::{Ashore, End, send};
use shadow::Shadow;
use source::{Failure, SourceThread};
use status::Recorder;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long `push` tries to reach its receiver.
const PUSH_TRIES: Duration = Duration::from_secs(10);

/// A server that was started again has a new endpoint file, a moment after it has its port: keys
/// are gathered anew so often, so far apart, before one that nobody vouches for is the end.
const KEY_TRIES: u32 = 3;
const KEY_WAIT: Duration = Duration::from_millis(150);

/// Brings a destination in step with a source, once or until told to stop, and says what happens.
///
/// A watch works in a thread of its own, which confines itself to the source as it is: when another
/// directory takes its place, another thread begins anew with that one.
pub fn run(mut options: ClientOptions, events: &'static dyn Report) -> Outcome {
    if options.mode != Once::Watch {
        return run_once(&Arc::new(options), events).unwrap_or(Outcome::Failed);
    }
    loop {
        let shared = Arc::new(options.clone());
        let work = std::thread::spawn(move || run_once(&shared, events));
        let ended = work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let Replaced { allowance_left } = match ended {
            Ok(outcome) => return outcome,
            Err(replaced) => replaced,
        };
        options.allow_mass_delete &= allowance_left;
        options.found = options::Found::Refuse;
    }
}

/// The source has been replaced by a directory that this thread may not open.
struct Replaced {
    allowance_left: bool,
}

fn run_once(options: &Arc<ClientOptions>, events: &'static dyn Report) -> Result<Outcome, Replaced> {
    // One for each source that a watch had: they are few.
    let events: &'static Recorder = Box::leak(Box::new(Recorder::new(options, events)));
    let done = prepare(options, events).and_then(|ready| match ready {
        Some(ready) => in_runtime(sync(options.clone(), ready, events)).and_then(|ended| ended),
        None => Ok(Ok(Outcome::Held)),
    });
    done.unwrap_or_else(|fatal| {
        events.event(Event::Error { text: fatal.text });
        Ok(fatal.outcome)
    })
}

/// The public key of this side in the form that `--authorize` and `--server-key` take.
///
/// Makes the identity when there is none.
///
/// # Errors
/// One sentence with the next step.
pub fn public_key(identity: Option<&Path>) -> Result<String, String> {
    let places = Places::from_environment().map_err(|error| error.to_string())?;
    let identity = Identity::load(identity, &places).map_err(|error| error.to_string())?;
    Ok(identity.public_key().to_string())
}

/// What was opened before this thread was confined.
struct Ready {
    scope: Scope,
    places: Places,
    root: Arc<Root>,
    way: Way,
    is_confined: bool,
}

/// Opens what has to be there, then gives up the right to anything else. `None`: the source is gone,
/// which was said.
fn prepare(options: &Arc<ClientOptions>, events: &'static dyn Report) -> Result<Option<Ready>, Fatal> {
    let failed = |error: &dyn std::error::Error| Fatal::new(Outcome::Failed, error);
    let scope = Scope::new(options.hidden, &options.excludes)
        .map_err(|error| Fatal { outcome: Outcome::Usage, text: format!("--exclude: {error}") })?;
    let places = Places::from_environment().map_err(|error| failed(&error))?;
    let root = match Root::open(&options.source) {
        Ok(root) => Arc::new(root),
        Err(error) if state_folder(options, &options.source, &places).is_dir() => {
            let reason =
                format!("the source {error}, but it was sent there before; nothing is deleted or changed");
            events.event(Event::Held { reason });
            return Ok(None);
        }
        Err(error) => {
            let text = format!("the source {error}; SRC must be a directory that this user may read");
            return Err(Fatal { outcome: Outcome::Failed, text });
        }
    };
    let way = Way::open(options, &places, events)?;
    places.make_state();
    let mut allowed = confine::usual();
    allowed.read.push(root.path().to_owned());
    allowed.write.push(places.state.clone());
    let is_confined = match &way {
        Way::Server { .. } => {
            let Destination::Server { host, port } = &options.destination else {
                unreachable!("it is a server")
            };
            confine::add_keys(&mut allowed, &places, options.identity.as_deref());
            confine::add_names(&mut allowed, host);
            allowed.connect.push(*port);
            confine::confine(&allowed, events)
        }
        Way::Local(receiver) => {
            allowed.write.push(receiver.path().to_owned());
            let is_confined = confine::confine(&allowed, events);
            receiver.tend();
            is_confined
        }
        Way::Ssh { .. } => {
            let text = "this side is not sandboxed, as ssh would be with it; the far side is where it can be";
            events.event(Event::Note { text: text.into() });
            false
        }
    };
    Ok(Some(Ready { scope, places, root, way, is_confined }))
}

async fn sync(
    options: Arc<ClientOptions>,
    ready: Ready,
    events: &'static Recorder,
) -> Result<Result<Outcome, Replaced>, Fatal> {
    let Ready { scope, places, root, way, is_confined } = ready;
    let known = open_cache(&options, &root, &places, events)?;
    let (stopper, stop) = watch::channel(false);
    tokio::spawn(stop_on_signal(stopper, events));
    let watches = options.mode == Once::Watch;
    let root_path = &options.source;
    let shadow = shadow_of(&options, &root, &places);
    let source = SourceThread::start(root, known.clone(), scope.clone(), (watches, is_confined), events);
    let backlog = Backlog::default();
    let ashore = Ashore {
        known,
        shadow,
        source,
        places,
        events,
        stop,
        scope: scope.id(),
        once: !watches,
        backlog,
        has_told_keeps: Default::default(),
    };
    let client = client_id(&ashore.known);
    let config = Config {
        client,
        process: Secret::random().0,
        name: host_name(),
        source_id: origin::source_id(root_path),
        scope,
        ticket: None,
        dry_run: options.mode == Once::DryRun,
        no_delete: options.no_delete,
        max_staleness_ms: options.max_staleness.as_millis() as u64,
        allow_mass_delete: options.allow_mass_delete,
        once: !watches,
    };
    let snapshots = ashore.source.snapshots.clone();
    let outcome = keep_connected(&options, ashore, way, config).await;
    // The process ends soon: to free a large tree entry by entry would only take time.
    std::mem::forget(snapshots.borrow().clone());
    Ok(outcome)
}

/// Connects, sends, and connects again until the work is over.
async fn keep_connected(
    options: &ClientOptions,
    mut ashore: Ashore,
    way: Way,
    mut config: Config,
) -> Result<Outcome, Replaced> {
    let limit = options.bwlimit_bytes_per_s.and_then(Rate::new);
    let mut backoff = Backoff::new();
    let mut has_told = false;
    let mut n_unknown = 0;
    let mut stop = ashore.stop.clone();
    loop {
        let connected = tokio::select! {
            connected = meet(&way, limit, &config) => connected,
            _ = stop.wait_for(|stop| *stop) => return Ok(stopped(&ashore)),
            never = ashore.count_behind() => match never {},
        };
        let mut was_connected = false;
        let why = match connected {
            Ok((connection, sender)) => {
                let (end, reached) = send(&mut ashore, sender, connection).await;
                if let Some(why) = ashore.known.cache().take_damage() {
                    ashore.events.event(Event::CacheRebuilt { why });
                }
                if reached.is_worth {
                    backoff.reset();
                }
                config.allow_mass_delete &= !reached.used_allowance;
                was_connected = matches!(end, End::Broken(_));
                if reached.has_met {
                    n_unknown = 0;
                } else if end.is_about_keys() && n_unknown < KEY_TRIES {
                    n_unknown += 1;
                    tokio::time::sleep(KEY_WAIT).await;
                    continue;
                }
                has_told &= !reached.has_met;
                match ended(end, &ashore, &config) {
                    Ok(ended) => return ended,
                    Err(why) => why,
                }
            }
            Err(error) => match error.outcome(ashore.once) {
                Some(Outcome::NotAuthorised) if n_unknown < KEY_TRIES => {
                    n_unknown += 1;
                    tokio::time::sleep(KEY_WAIT).await;
                    continue;
                }
                Some(outcome) => {
                    ashore.events.event(Event::failed(&error));
                    return Ok(outcome);
                }
                None => error.why(),
            },
        };
        let left = PUSH_TRIES.saturating_sub(backoff.since.elapsed());
        if ashore.once && left.is_zero() {
            let text = format!("{} cannot be reached: {why}{}", way.name(), way.next_step());
            ashore.events.event(Event::Error { text });
            return Ok(Outcome::NoConnection);
        }
        let wait = if ashore.once { backoff.next().min(left) } else { backoff.next() };
        if was_connected {
            let retry_ms = Some(wait.as_millis() as u64);
            ashore.events.event(Event::Disconnected { why, retry_ms });
        } else if !std::mem::replace(&mut has_told, true) {
            ashore.events.event(Event::Waiting { for_what: way.name(), why });
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(stopped(&ashore)),
            never = ashore.count_behind() => match never {},
        }
    }
}

/// Connects, and greets with a new machine's first words.
async fn meet(way: &Way, limit: Option<Rate>, config: &Config) -> Result<(Connection, Sender), ConnectError> {
    let mut sender = None;
    let greet = |ticket| {
        let mut machine = Sender::new(Config { ticket, ..config.clone() }, 0);
        let greeting = greeting_of(&mut machine);
        sender = Some(machine);
        greeting
    };
    let connection = way.connect(limit, greet).await?;
    Ok((connection, sender.expect("a connection was greeted")))
}

/// The machine's first action is its greeting, which travels with the preface.
fn greeting_of(sender: &mut Sender) -> Up {
    match sender.next_action() {
        Some(Action::Send(up)) => up,
        _ => unreachable!("a sender greets first"),
    }
}

/// The same, or that the source was replaced.
fn ended(end: End, ashore: &Ashore, config: &Config) -> Result<Result<Outcome, Replaced>, String> {
    match end {
        End::Source(Failure::Replaced) => Ok(Err(Replaced { allowance_left: config.allow_mass_delete })),
        end => end_of(end, ashore).map(Ok),
    }
}

/// What a session's end means: the outcome, or why to try again.
fn end_of(end: End, ashore: &Ashore) -> Result<Outcome, String> {
    match end {
        End::Passed(Ending::Identical) => Ok(match ashore.source.snapshots.borrow().as_ref() {
            Some(snapshot) if snapshot.scanned.unreadable > 0 => Outcome::Partial,
            _ => Outcome::InStep,
        }),
        End::Passed(Ending::Partial) => Ok(Outcome::Partial),
        End::Passed(Ending::Held) => Ok(Outcome::Held),
        End::Passed(Ending::Failed) => {
            let text = "the destination could not take everything: see above what and why, and push again when that is put right".to_owned();
            ashore.events.event(Event::Error { text });
            Ok(Outcome::Failed)
        }
        End::Stopped => Ok(stopped(ashore)),
        End::Source(failure) => {
            ashore.events.event(Event::Error { text: format!("the source cannot be read: {failure}") });
            Ok(Outcome::Failed)
        }
        End::Refused { text, code: RefuseCode::Busy } => {
            if ashore.once {
                ashore.events.event(Event::Error { text: format!("the destination is {text}") });
                return Ok(Outcome::NoConnection);
            }
            Err(text)
        }
        End::Refused { text, code } => {
            ashore.events.event(Event::Error { text });
            let is_about_keys = matches!(code, RefuseCode::NotAuthorised | RefuseCode::Rights);
            Ok(if is_about_keys { Outcome::NotAuthorised } else { Outcome::Failed })
        }
        End::Breach(why) if ashore.once => {
            let text = format!("{why}; install the same version of strait on both sides");
            ashore.events.event(Event::Error { text });
            Ok(Outcome::Failed)
        }
        End::Broken(why) | End::Breach(why) => Err(why),
    }
}

/// A signal ends a watch in order; a push that did not get to its end has verified nothing.
fn stopped(ashore: &Ashore) -> Outcome {
    if !ashore.once {
        return Outcome::InStep;
    }
    let text = "stopped before the destination was in step; push again to go on".to_owned();
    ashore.events.event(Event::Error { text });
    Outcome::Failed
}

/// Where the cache of this source and this destination is.
fn state_folder(options: &ClientOptions, source: &Path, places: &Places) -> std::path::PathBuf {
    let source = std::path::absolute(source).unwrap_or_else(|_| source.to_owned());
    places.state.join("clients").join(state_name(&source, &options.destination))
}

fn open_cache(
    options: &ClientOptions,
    root: &Root,
    places: &Places,
    events: &Recorder,
) -> Result<Arc<KnownContents>, Fatal> {
    let folder = state_folder(options, root.path(), places);
    let cache = match Cache::open(&folder) {
        Ok((cache, opened)) => {
            if let Opened::Rebuilt { why, .. } = opened {
                events.event(Event::CacheRebuilt { why });
            }
            if options.mode != Once::DryRun {
                events.begin(&folder);
            }
            cache
        }
        Err(CacheError::Busy) => {
            let text = "another strait is sending this source there already; this one can not use what that one remembers";
            events.event(Event::Note { text: text.into() });
            Cache::in_memory().map_err(|error| Fatal::new(Outcome::Failed, &error))?
        }
        Err(error) => {
            let text = format!("nothing is remembered from run to run: {}", event::sentence(&error));
            events.event(Event::Note { text });
            Cache::in_memory().map_err(|error| Fatal::new(Outcome::Failed, &error))?
        }
    };
    // A push looks at a file that never rests only once.
    let every = if options.mode == Once::Watch { options.max_staleness } else { Duration::ZERO };
    let snapshots = Snapshots::new(folder, every);
    Ok(Arc::new(KnownContents::with_snapshots(Arc::new(cache), snapshots)))
}

/// The copies of acknowledged contents, beside the cache.
fn shadow_of(options: &ClientOptions, root: &Root, places: &Places) -> Arc<Shadow> {
    let folder = state_folder(options, root.path(), places);
    Arc::new(Shadow::new(folder.join("shadow"), options.shadow))
}

/// The id of this client, kept from start to start.
fn client_id(known: &KnownContents) -> [u8; 16] {
    if let Some(id) = known.cache().word("client").and_then(|bytes| bytes.try_into().ok()) {
        return id;
    }
    let id = Secret::random().0;
    let _ = known.cache().set_word("client", &id);
    id
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_else(|_| "a client".to_owned())
}
