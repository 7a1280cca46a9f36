//! Programs that run: what they say is collected, and they never outlive the test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{DEADLINE, wait_until};

#[derive(Default)]
struct Said {
    out: Vec<String>,
    err: Vec<String>,
    is_over: bool,
}

/// A program that runs; killed when dropped.
pub struct Running {
    child: Child,
    said: Arc<(Mutex<Said>, Condvar)>,
    readers: Vec<JoinHandle<()>>,
    what: String,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let what = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        let said = Arc::new((Mutex::default(), Condvar::new()));
        let out = child.stdout.take().expect("it was asked for");
        let err = child.stderr.take().expect("it was asked for");
        let readers = vec![
            collect(out, said.clone(), |said| &mut said.out),
            collect(err, said.clone(), |said| &mut said.err),
        ];
        Self { child, said, readers, what }
    }

    /// Waits for the first line of either stream of which `found` makes something.
    pub fn wait_for<T>(&self, what: &str, found: impl Fn(&View) -> Option<T>) -> T {
        let until = Instant::now() + DEADLINE;
        let (said, changed) = &*self.said;
        let mut said = said.lock().expect("no reader panics");
        loop {
            let view = View { out: &said.out, err: &said.err };
            if let Some(found) = found(&view) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !said.is_over,
                "{}: never came: {what}\nout: {:#?}\nerr: {:#?}",
                self.what,
                said.out,
                said.err
            );
            said = changed.wait_timeout(said, left).expect("no reader panics").0;
        }
    }

    /// Waits for an event of `--json`.
    pub fn wait_for_event(&self, name: &str) -> Value {
        self.wait_for_nth(name, 1)
    }

    /// Waits until an event came `n` times, and gives the last.
    pub fn wait_for_nth(&self, name: &str, n: usize) -> Value {
        self.wait_for(name, |said| events(said.out).into_iter().filter(|e| e["event"] == name).nth(n - 1))
    }

    /// How often an event came until now.
    pub fn count(&self, name: &str) -> usize {
        let said = self.said.0.lock().expect("no reader panics");
        events(&said.out).iter().filter(|event| event["event"] == name).count()
    }

    /// Its number as a process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        kill_process(id, signal).expect("the program has not been waited for");
    }

    /// Ends it as Ctrl-C does.
    pub fn interrupt(self) -> Ran {
        self.signal(Signal::INT);
        self.ended()
    }

    /// Ends it with the signal that asks for nothing.
    pub fn kill(self) {}

    /// Waits for its end.
    pub fn ended(mut self) -> Ran {
        let mut code = None;
        let what = format!("the end of {}", self.what);
        wait_until(&what, || {
            code = self.child.try_wait().expect("it can be waited for").map(|status| status.code());
            code.is_some()
        });
        self.readers.drain(..).for_each(|reader| reader.join().expect("no reader panics"));
        let mut said = self.said.0.lock().expect("no reader panics");
        let (out, err) = (std::mem::take(&mut said.out), std::mem::take(&mut said.err));
        Ran { what: self.what.clone(), code: code.flatten(), out, err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program said until now.
pub struct View<'a> {
    pub out: &'a [String],
    pub err: &'a [String],
}

fn collect(
    stream: impl Read + Send + 'static,
    said: Arc<(Mutex<Said>, Condvar)>,
    part: fn(&mut Said) -> &mut Vec<String>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8(line).expect("what strait says is UTF-8");
            part(&mut said.0.lock().expect("no reader panics")).push(line);
            said.1.notify_all();
        }
        said.0.lock().expect("no reader panics").is_over = true;
        said.1.notify_all();
    })
}

pub fn events(lines: &[String]) -> Vec<Value> {
    lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A program that ran to its end.
#[derive(Debug)]
pub struct Ran {
    what: String,
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub out: Vec<String>,
    pub err: Vec<String>,
}

impl Ran {
    /// Demands an exit code.
    #[track_caller]
    pub fn ended_with(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.what, self.all());
        self
    }

    /// Demands words somewhere in what was said.
    #[track_caller]
    pub fn says(&self, words: &str) -> &Self {
        assert!(self.all().contains(words), "{} does not say {words:?}:\n{}", self.what, self.all());
        self
    }

    #[track_caller]
    pub fn says_nothing_of(&self, words: &str) -> &Self {
        assert!(!self.all().contains(words), "{} says {words:?}:\n{}", self.what, self.all());
        self
    }

    /// Everything, standard output first.
    pub fn all(&self) -> String {
        [&self.out[..], &self.err[..]].concat().join("\n")
    }

    pub fn events(&self, name: &str) -> Vec<Value> {
        events(&self.out).into_iter().filter(|event| event["event"] == name).collect()
    }

    /// The last summary.
    #[track_caller]
    pub fn summary(&self) -> Value {
        self.events("pass_done").pop().unwrap_or_else(|| panic!("{}: no summary\n{}", self.what, self.all()))
    }

    /// A number of the last summary.
    #[track_caller]
    pub fn n(&self, field: &str) -> u64 {
        self.summary()[field].as_u64().unwrap_or_else(|| panic!("{field} in {}", self.summary()))
    }

    /// Changed, moved, deleted, metadata: as the last summary counts them.
    #[track_caller]
    pub fn did(&self) -> [u64; 4] {
        ["changed", "moved", "deleted", "metadata"].map(|field| self.n(field))
    }

    /// What kind of changes there were: names of changes with how often.
    pub fn wire(&self) -> u64 {
        self.n("wire_sent") + self.n("wire_received")
    }
}
