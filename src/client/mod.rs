//! Floor 4: the sender, one of the two programs.
//!
//! [`run`] opens the source (`source` scans and watches it in a thread of its own), finds its way
//! to the receiver (`connect`) and drives one machine for each connection (`session`), with a
//! thread for each large file (`deltas`).

mod ahead;
mod backlog;
mod backoff;
mod batches;
mod choose;
mod connect;
mod deltas;
mod ending;
pub mod event;
mod learn;
mod memory;
mod nested;
pub mod options;
mod origin;
mod pass;
mod prefix;
mod ready;
mod repair;
mod session;
mod shadow;
mod source;
pub mod status;
mod teller;
mod turns;

use crate::net::{Identity, Places, Secret, Traffic, pace::Rate};
use crate::proto::sender::Config;
use crate::server::stop::stop_on_signal;
use crate::server::{Fatal, in_runtime};
use ahead::{Forecast, Greeted};
use backlog::Backlog;
use backoff::Backoff;
use connect::{ConnectError, Connection, Way};
use ending::{ended, stopped};
use event::{Event, Outcome, Report};
use memory::{client_id, host_name, open_cache, shadow_of};
use options::{ClientOptions, Once};
use ready::{Ready, prepare};
use session::{Ashore, End, send};
use source::{Sizes, SourceThread};
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

async fn sync(
    options: Arc<ClientOptions>,
    ready: Ready,
    events: &'static Recorder,
) -> Result<Result<Outcome, Replaced>, Fatal> {
    let Ready { scope, places, root, above, way, is_confined } = ready;
    let known = open_cache(&options, &root, &places, events)?;
    let (stopper, stop) = watch::channel(false);
    tokio::spawn(stop_on_signal(stopper, events));
    let watches = options.mode == Once::Watch;
    let root_path = &options.source;
    let shadow = shadow_of(&options, &root, &places);
    if options.allow_mass_delete && options.mode != Once::DryRun {
        Sizes::forget(&known);
    }
    let sizes = if watches { Sizes::of_watch(&known) } else { Sizes::of_once() };
    let source =
        SourceThread::start(root, known.clone(), scope.clone(), (watches, is_confined), sizes, events);
    let backlog = Backlog::default();
    let ashore = Ashore {
        known,
        shadow,
        source,
        above: Arc::new(above),
        places,
        events,
        stop,
        scope: scope.id(),
        once: !watches,
        backlog,
        was_settled: true,
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
            connected = meet(&way, limit, &config, Forecast::of(&ashore)) => connected,
            _ = stop.wait_for(|stop| *stop) => return Ok(stopped(&ashore)),
            never = ashore.count_behind() => match never {},
        };
        let mut was_connected = false;
        let why = match connected {
            Ok((connection, greeted)) => {
                let (end, reached) = send(&mut ashore, greeted, connection).await;
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
async fn meet(
    way: &Way,
    limit: Option<Rate>,
    config: &Config,
    forecast: Forecast,
) -> Result<(Connection, Greeted), ConnectError> {
    let mut greeted = None;
    let greet = |ticket, traffic: &Traffic| {
        let config = Config { ticket, ..config.clone() };
        let mut machine = tokio::task::block_in_place(|| forecast.greet(config, traffic.is_slow()));
        let ups = std::mem::take(&mut machine.ups);
        greeted = Some(machine);
        ups
    };
    let connection = way.connect(limit, greet).await?;
    Ok((connection, greeted.expect("a connection was greeted")))
}
