//! How each source stands, for whoever asks later: a small file beside the cache, written while a push or
//! watch runs and read by `strait status`. Lost or damaged, it costs nothing but the answer.

use super::connect::state_name;
use super::event::{Behind, Event, Outcome, Report};
use super::options::{ClientOptions, Destination, Once};
use crate::model::path::write_escaped;
use crate::net::Places;
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Name of the file in the folder of a source and destination, and while it is written.
const FILE: &str = "status";
const NEW_FILE: &str = "status.new";
/// Numbers alone are written at most this often.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// How a push or watch stands, or ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stand {
    /// It has no connection yet.
    #[default]
    Starting,
    /// It has none, and tries by itself.
    Waiting,
    /// Trees are compared, or changes are on their way.
    Sending,
    /// Verified identical.
    InStep,
    /// In step but for entries that were named.
    Partial,
    /// In step but for deletes that wait for a human's word.
    Held,
    Failed,
}

impl Stand {
    const ALL: [(Stand, &str); 7] = [
        (Stand::Starting, "starting"),
        (Stand::Waiting, "waiting"),
        (Stand::Sending, "sending"),
        (Stand::InStep, "in_step"),
        (Stand::Partial, "partial"),
        (Stand::Held, "held"),
        (Stand::Failed, "failed"),
    ];

    fn word(self) -> &'static str {
        Stand::ALL.iter().find(|(stand, _)| *stand == self).map_or("", |(_, word)| word)
    }

    fn of(word: &str) -> Option<Self> {
        Stand::ALL.iter().find(|(_, its)| *its == word).map(|(stand, _)| *stand)
    }
}

/// What is known of a push or watch. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Source and destination, escaped.
    pub source: String,
    pub destination: String,
    /// A watch; else a push.
    pub watches: bool,
    pub process: u32,
    pub is_running: bool,
    pub stand: Stand,
    /// Since when it stands so.
    pub since_ms: u64,
    /// What it waits for, or what went wrong.
    pub why: String,
    #[serde(flatten)]
    pub behind: Behind,
    /// Directories of the source that no watch covers: they are looked at every few seconds.
    pub polled: u64,
    /// When both sides were last known to be identical.
    pub in_step_ms: Option<u64>,
    /// When all this was written.
    pub written_ms: u64,
}

impl Status {
    /// What `strait status` ends with for it.
    pub fn outcome(&self) -> Outcome {
        match self.stand {
            Stand::InStep if self.is_running || !self.watches => Outcome::InStep,
            Stand::Partial => Outcome::Partial,
            Stand::Held => Outcome::Held,
            Stand::Waiting => Outcome::NoConnection,
            _ => Outcome::Failed,
        }
    }

    /// Takes an event in; returns whether it is worth writing down at once.
    fn see(&mut self, event: &Event, now_ms: u64) -> bool {
        let (stand, why) = match event {
            Event::Waiting { for_what, why } => (Stand::Waiting, format!("{for_what}: {why}")),
            Event::Disconnected { why, .. } => (Stand::Waiting, why.clone()),
            Event::Connected { .. } => (Stand::Sending, String::new()),
            Event::Progress(_) if self.stand != Stand::Sending => (Stand::Sending, String::new()),
            Event::PassDone(summary) => match (&summary.held, summary.partial) {
                (Some(why), _) => (Stand::Held, why.clone()),
                (None, 1..) => (Stand::Partial, format!("{} not in step", summary.partial)),
                (None, 0) => (Stand::InStep, String::new()),
            },
            Event::Held { reason } => (Stand::Held, reason.clone()),
            Event::Error { text } => (Stand::Failed, text.clone()),
            Event::Behind(behind) => {
                self.behind = *behind;
                return false;
            }
            _ => return false,
        };
        if let Event::PassDone(summary) = event {
            self.behind = Behind::default();
            self.polled = summary.polled;
            self.in_step_ms = if stand == Stand::InStep { Some(now_ms) } else { self.in_step_ms };
        }
        let why = escaped(why.as_bytes());
        if (stand, &why) != (self.stand, &self.why) {
            self.since_ms = now_ms;
        }
        (self.stand, self.why) = (stand, why);
        true
    }

    fn to_text(&self, started: u64) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: &str| text.push_str(&format!("{key} {value}\n"));
        line("source", &self.source);
        line("destination", &self.destination);
        line("verb", if self.watches { "watch" } else { "push" });
        line("process", &self.process.to_string());
        line("started", &started.to_string());
        line("stand", self.stand.word());
        line("since_ms", &self.since_ms.to_string());
        line("why", &self.why);
        line("changes", &self.behind.changes.to_string());
        line("content_bytes", &self.behind.content_bytes.to_string());
        line("oldest_ms", &self.behind.oldest_ms.to_string());
        line("polled", &self.polled.to_string());
        line("in_step_ms", &self.in_step_ms.unwrap_or(0).to_string());
        line("written_ms", &self.written_ms.to_string());
        text
    }

    /// Reads what was written, and whether the process that wrote it still runs.
    fn of_text(text: &str) -> Option<Self> {
        let fields: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(' ')).collect();
        let number = |key: &str| fields.get(key)?.parse::<u64>().ok();
        let process = u32::try_from(number("process")?).ok()?;
        Some(Self {
            source: (*fields.get("source")?).to_owned(),
            destination: (*fields.get("destination")?).to_owned(),
            watches: *fields.get("verb")? == "watch",
            process,
            is_running: start_of(&process.to_string()) == number("started"),
            stand: Stand::of(fields.get("stand")?)?,
            since_ms: number("since_ms")?,
            why: (*fields.get("why")?).to_owned(),
            behind: Behind {
                changes: number("changes")?,
                content_bytes: number("content_bytes")?,
                oldest_ms: number("oldest_ms")?,
            },
            polled: number("polled")?,
            in_step_ms: number("in_step_ms").filter(|ms| *ms > 0),
            written_ms: number("written_ms")?,
        })
    }
}

/// When a process began, in the kernel's ticks: with its number it names it for good (proc(5), field 22 of
/// `stat`; the name in field 2 may hold blanks and brackets).
fn start_of(process: &str) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Passes events on, and writes down how things stand.
pub struct Recorder {
    events: &'static dyn Report,
    started: Option<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    status: Status,
    /// Where to; nothing is written before the folder is this process's own.
    folder: Option<PathBuf>,
    written_at: Option<Instant>,
}

impl Recorder {
    /// To be called before the process confines itself.
    pub fn new(options: &ClientOptions, events: &'static dyn Report) -> Self {
        let source = std::path::absolute(&options.source).unwrap_or_else(|_| options.source.clone());
        let status = Status {
            source: escaped(source.as_os_str().as_bytes()),
            destination: escaped(name_of(&options.destination).as_bytes()),
            watches: options.mode == Once::Watch,
            process: std::process::id(),
            since_ms: now_ms(),
            ..Status::default()
        };
        let state = Mutex::new(State { status, ..State::default() });
        Self { events, started: start_of("self"), state }
    }

    /// From now on the folder is this process's own.
    pub fn begin(&self, folder: &Path) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = read(folder);
        state.status.in_step_ms = before.and_then(|before| before.in_step_ms);
        state.folder = Some(folder.to_owned());
        self.write(&mut state);
    }

    /// What cannot be written is not told: nothing depends on it.
    fn write(&self, state: &mut State) {
        let (Some(folder), Some(started)) = (&state.folder, self.started) else { return };
        state.status.written_ms = now_ms();
        state.written_at = Some(Instant::now());
        let new = folder.join(NEW_FILE);
        let written = std::fs::write(&new, state.status.to_text(started));
        if let Err(error) = written.and_then(|()| std::fs::rename(&new, folder.join(FILE))) {
            tracing::debug!(%error, "the status cannot be written");
        }
    }
}

impl Report for Recorder {
    fn event(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = state.status.see(&event, now_ms());
        let is_due = matches!(event, Event::Behind(_))
            && state.written_at.is_none_or(|written_at| written_at.elapsed() >= WRITE_EVERY);
        if is_news || is_due {
            self.write(&mut state);
        }
        drop(state);
        self.events.event(event);
    }
}

/// Tells how the source and destination stand that are asked about, or all of this user.
pub fn run(asked: Option<(&Path, &Destination)>, events: &dyn Report) -> Outcome {
    match told(asked) {
        Ok(all) => {
            let outcomes = all.iter().map(Status::outcome);
            let outcome = outcomes.filter(|outcome| *outcome != Outcome::InStep).max_by_key(|it| rank(*it));
            all.into_iter().for_each(|status| events.event(Event::Status(Box::new(status))));
            outcome.unwrap_or(Outcome::InStep)
        }
        Err(text) => {
            events.event(Event::Error { text });
            Outcome::Failed
        }
    }
}

/// Which outcome is told when there are several: the one that needs somebody most.
fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::InStep => 0,
        Outcome::Partial => 1,
        Outcome::Held => 2,
        Outcome::NoConnection => 3,
        _ => 4,
    }
}

fn told(asked: Option<(&Path, &Destination)>) -> Result<Vec<Status>, String> {
    let places = Places::from_environment().map_err(|error| error.to_string())?;
    let clients = places.state.join("clients");
    let Some((source, destination)) = asked else {
        let folders = std::fs::read_dir(&clients).into_iter().flatten().flatten();
        let mut all: Vec<Status> = folders.filter_map(|folder| read(&folder.path())).collect();
        all.sort_by(|a, b| (&a.source, &a.destination).cmp(&(&b.source, &b.destination)));
        return if all.is_empty() {
            Err("this user has not pushed or watched anything".into())
        } else {
            Ok(all)
        };
    };
    let path = std::path::absolute(source).unwrap_or_else(|_| source.to_owned());
    let folder = clients.join(state_name(&path, destination));
    read(&folder).map(|status| vec![status]).ok_or_else(|| {
        format!(
            "this user has not pushed or watched {} to {}; `strait status` alone lists what there is",
            source.display(),
            name_of(destination)
        )
    })
}

fn read(folder: &Path) -> Option<Status> {
    Status::of_text(&std::fs::read_to_string(folder.join(FILE)).ok()?)
}

/// A destination as it is written on the command line.
fn name_of(destination: &Destination) -> String {
    match destination {
        Destination::Server { host, port } => format!("{host}:{port}"),
        Destination::Local(path) => {
            std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string()
        }
        Destination::Ssh { host, path, .. } => format!("{host}:{path}"),
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    write_escaped(bytes, &mut text).expect("a string takes any text");
    text
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::event::Summary;

    fn seen(events: &[Event]) -> Status {
        let mut status = Status { source: "/a b".into(), destination: "h:5000".into(), ..Status::default() };
        for (at, event) in events.iter().enumerate() {
            status.see(event, 1_000 + at as u64);
        }
        status
    }

    #[test]
    fn what_is_written_is_read_again() {
        let waiting = Event::Waiting { for_what: "the server".into(), why: "refused\nthere".into() };
        let behind = Behind { changes: 3, content_bytes: 70, oldest_ms: 9 };
        let done = Event::PassDone(Summary { polled: 4, ..Summary::default() });
        let mut status = seen(&[done, waiting, Event::Behind(behind)]);
        status.process = std::process::id();
        let started = start_of("self").expect("this process runs");
        let read = Status::of_text(&status.to_text(started)).expect("it was just written");
        assert_eq!(read, Status { is_running: true, ..status.clone() });
        assert_eq!(read.polled, 4);
        assert_eq!((read.stand, read.why.as_str()), (Stand::Waiting, "the server: refused\\nthere"));
        assert!(!Status::of_text(&status.to_text(started + 1)).expect("the same").is_running);
    }

    #[test]
    fn damage_is_no_answer() {
        let text = seen(&[]).to_text(1);
        for cut in 0..text.len() {
            let _ = Status::of_text(&text[..cut]);
        }
        assert_eq!(Status::of_text(&text.replace("stand starting", "stand up")), None);
        assert_eq!(Status::of_text(""), None);
    }

    #[test]
    fn the_end_of_a_pass_says_how_things_stand() {
        let done = |held: Option<&str>, partial| {
            seen(&[Event::PassDone(Summary { held: held.map(Into::into), partial, ..Summary::default() })])
        };
        assert_eq!((done(None, 0).stand, done(None, 0).in_step_ms), (Stand::InStep, Some(1_000)));
        assert_eq!((done(None, 2).stand, done(None, 2).outcome()), (Stand::Partial, Outcome::Partial));
        assert_eq!((done(Some("x"), 2).stand, done(Some("x"), 2).outcome()), (Stand::Held, Outcome::Held));
    }

    #[test]
    fn since_stands_while_nothing_changes() {
        let connected = || Event::Connected { peer: "h".into() };
        let broken = || Event::Disconnected { why: "gone".into(), retry_ms: None };
        assert_eq!(seen(&[connected(), broken(), broken()]).since_ms, 1_001);
        assert_eq!(seen(&[connected(), broken(), connected()]).since_ms, 1_002);
    }

    #[test]
    fn a_watch_that_has_ended_is_not_in_step() {
        let done = Status { watches: true, ..seen(&[Event::PassDone(Summary::default())]) };
        assert_eq!(done.outcome(), Outcome::Failed);
        assert_eq!(Status { is_running: true, ..done }.outcome(), Outcome::InStep);
    }
}
