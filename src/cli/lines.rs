//! Each event in words: one line, without newline, for people. Pure; `report` decides where it goes.

use super::args::Loudness;
use super::text::{count, length, moment, size, thousands};
use crate::client::event::{Behind, Change, Event, Found, Received, Scanned, Stand, Status, Summary, What};
use crate::model::path::write_escaped;

/// One line and from which loudness on it is said.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    pub from: Loudness,
    /// Whether it tells of something that is not as it should be: goes to standard error.
    pub is_trouble: bool,
    pub text: String,
}

/// The line of an event; `None` for those that only move the progress line.
pub fn line(event: &Event) -> Option<Line> {
    use Loudness::{Each, Normal, Quiet};
    let (from, is_trouble, text) = match event {
        Event::Progress(_) | Event::Scanning { .. } | Event::Behind(_) => return None,
        Event::Note { text } => (Normal, false, format!("note: {text}")),
        Event::Waiting { for_what, why } => (Normal, true, format!("waiting for {for_what}: {why}")),
        Event::Connected { peer } => (Normal, false, format!("connected to {peer}")),
        Event::Disconnected { why, retry_ms } => (Normal, true, disconnected(why, *retry_ms)),
        Event::Scanned(scanned) => (Each, false, scanned_text(scanned)),
        Event::Skipped { path, why } => (Quiet, true, format!("skipped {path}: {why}")),
        Event::Planned(change) => (Normal, false, format!("would {}", change_text(change))),
        Event::Applied(change) => (Each, false, change_text(change)),
        Event::Made(found) => (Each, false, found_text(found)),
        Event::PassDone(summary) => (Normal, false, summary_text(summary)),
        Event::Held { reason } => (Quiet, true, format!("held: {reason}")),
        Event::Listening { address, dest, ticket_line } => {
            (Normal, false, listening(address, &dest.to_string(), ticket_line.as_deref()))
        }
        Event::ClientConnected { client, peer } => {
            (Normal, false, format!("client {client} connected from {peer}"))
        }
        Event::ClientRefused { peer, why } => (Normal, true, format!("turned away {peer}: {why}")),
        Event::ClientLeft { client, why } => (Normal, false, format!("client {client} left: {why}")),
        Event::Received(received) => (Normal, false, received_text(received)),
        Event::CacheRebuilt { why } => {
            (Normal, true, format!("the cache is made again, which costs reading but no data: {why}"))
        }
        Event::Status(status) => (Quiet, false, status_text(status)),
        Event::Trashed { .. } | Event::Restored { .. } | Event::Emptied { .. } | Event::Authorised { .. } => {
            (Quiet, false, aside_text(event))
        }
        Event::Stopping { why } => (Normal, false, format!("stopping: {why}")),
        Event::Error { text } => (Quiet, true, format!("error: {text}")),
    };
    // Reasons and client names come from the other end: none of them may steer the terminal.
    let text = if matches!(event, Event::Listening { .. }) { text } else { escaped(&text) };
    Some(Line { from, is_trouble, text })
}

/// What `trash` and `authorized` were asked for.
fn aside_text(event: &Event) -> String {
    match event {
        Event::Trashed { id, path, kind, removed_at_ms, disk_bytes, entries_below } => {
            let path = path.as_ref().map_or_else(|| "(its path was lost)".into(), ToString::to_string);
            let what = match (kind, entries_below) {
                (What::Dir, n) => format!("{path}/ ({} below)", thousands(*n)),
                (What::Link, _) => format!("{path} (link)"),
                (What::File, _) => path,
            };
            format!("{id}  {}  {:>10}  {what}", moment(*removed_at_ms), size(*disk_bytes))
        }
        Event::Restored { path, to, entries, size_bytes } => {
            format!("{to}/{path} is back: {}, {}", count(*entries, "entry", "entries"), size(*size_bytes))
        }
        Event::Emptied { entries } => {
            format!("{} gone from the trash", count(*entries, "entry is", "entries are"))
        }
        Event::Authorised { key, note } => format!("{key}  {note}"),
        _ => String::new(),
    }
}

fn status_text(status: &Status) -> String {
    let Status { source, destination, stand, process, .. } = status;
    let said = match stand {
        Stand::Starting => "not connected yet",
        Stand::Waiting => "waiting",
        Stand::Sending => "sending",
        Stand::InStep => "in step",
        Stand::Partial => "partial",
        Stand::Held => "held",
        Stand::Failed => "failed",
    };
    let mut text = format!("{source} to {destination}: {said} since {}", moment(status.since_ms));
    if !status.why.is_empty() {
        text += &format!(", {}", status.why);
    }
    if status.behind.changes > 0 {
        text += &format!("; {}", behind_text(&status.behind));
    }
    text += &polled_text(status.polled);
    match status.in_step_ms {
        Some(_) if *stand == Stand::InStep => {}
        Some(in_step_ms) => text += &format!("; last in step {}", moment(in_step_ms)),
        None => text += "; never in step yet",
    }
    match (status.is_running, status.watches) {
        (true, true) => format!("{text}; watched by process {process}"),
        (true, false) => format!("{text}; pushed by process {process}"),
        (false, true) => format!("{text}; the watch has ended, {}", moment(status.written_ms)),
        (false, false) => text,
    }
}

/// How far the destination is behind.
pub fn behind_text(behind: &Behind) -> String {
    let changes = count(behind.changes, "change", "changes");
    format!("{changes}, {} behind for {}", size(behind.content_bytes), length(behind.oldest_ms))
}

fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    write_escaped(text.as_bytes(), &mut line).expect("a string takes any text");
    line
}

fn disconnected(why: &str, retry_ms: Option<u64>) -> String {
    match retry_ms {
        Some(retry_ms) => format!("disconnected: {why}; again in {}", length(retry_ms)),
        None => format!("disconnected: {why}"),
    }
}

fn listening(address: &str, dest: &str, ticket_line: Option<&str>) -> String {
    let text = format!("{dest} receives at {address}");
    match ticket_line {
        Some(ticket_line) => {
            format!("{text}; from another machine or user, once:\n  {}", escaped(ticket_line))
        }
        None => text,
    }
}

fn scanned_text(scanned: &Scanned) -> String {
    let mut text = format!("scanned {}, {}", count(scanned.files, "file", "files"), size(scanned.bytes));
    if scanned.unreadable > 0 {
        text += &format!(", {} unreadable", thousands(scanned.unreadable));
    }
    text + &left_out(scanned.hidden, scanned.excluded, scanned.special)
}

/// The imperative, so that both `would …` and the bare line read well.
fn change_text(change: &Change) -> String {
    match change {
        Change::Create { kind: What::File, path, size_bytes } => {
            format!("add {path} ({})", size(*size_bytes))
        }
        Change::Create { kind, path, .. } => format!("add {} {path}", word(*kind)),
        Change::Update { kind: What::File, path, size_bytes } => {
            format!("update {path} ({})", size(*size_bytes))
        }
        Change::Update { kind, path, .. } => format!("update {} {path}", word(*kind)),
        Change::Meta { path } => format!("set mode and time of {path}"),
        Change::Move { from, path } => format!("move {from} to {path}"),
        Change::Swap { from, path } => format!("swap {from} and {path}"),
        Change::Remove { kind: What::Dir, path, entries_below } => {
            format!("delete directory {path} and {} below", count(*entries_below, "entry", "entries"))
        }
        Change::Remove { path, .. } => format!("delete {path}"),
    }
}

fn word(kind: What) -> &'static str {
    match kind {
        What::File => "file",
        What::Dir => "directory",
        What::Link => "symlink",
    }
}

fn summary_text(summary: &Summary) -> String {
    let state = match summary {
        Summary { planned: Some(planned), .. } => return dry_run_text(*planned, summary),
        Summary { held: Some(_), .. } => "held, deletes wait".into(),
        Summary { partial: 1.., .. } => {
            format!("partial, {} not in step", count(summary.partial, "entry", "entries"))
        }
        _ => "in step".into(),
    };
    let done = done_text(summary.changed, summary.moved, summary.deleted, summary.metadata);
    let wire = summary.wire_sent.saturating_add(summary.wire_received);
    let bytes = match summary.content_bytes {
        0 => format!("{} on the wire", size(wire)),
        content => {
            let saved = match summary.saved {
                0 => String::new(),
                saved => format!(", {} saved", size(saved)),
            };
            format!("{} of content, {} on the wire{saved}", size(content), size(wire))
        }
    };
    format!(
        "{state}: {done}; {}; {bytes}{}; {}{}{}",
        count(summary.files, "file", "files"),
        leant_text(summary),
        length(summary.elapsed_ms),
        polled_text(summary.polled),
        left_out(summary.hidden, summary.excluded, summary.special)
    )
}

/// What is not watched, and what would help.
fn polled_text(polled: u64) -> String {
    if polled == 0 {
        return String::new();
    }
    let dirs = count(polled, "directory", "directories");
    format!("; {dirs} polled, not watched (sysctl fs.inotify.max_user_watches)")
}

/// What travelled as differences to what the destination holds.
fn leant_text(summary: &Summary) -> String {
    if summary.prefix_wire == 0 {
        return String::new();
    }
    let large = (summary.prefix_target > 0).then(|| size(summary.prefix_target));
    let small = (summary.prefix_files > 0).then(|| count(summary.prefix_files, "small file", "small files"));
    let what: Vec<String> = large.into_iter().chain(small).collect();
    format!(" ({} as {} of differences)", what.join(" and "), size(summary.prefix_wire))
}

fn found_text(found: &Found) -> String {
    format!(
        "large files: {} found by groups, {} by chunks, {} by blocks; {} zeros, {} literal",
        size(found.by_groups),
        size(found.by_chunks),
        size(found.by_blocks),
        size(found.zeros),
        size(found.literal)
    )
}

fn dry_run_text(planned: u64, summary: &Summary) -> String {
    format!(
        "dry run, nothing was sent: {}; {}{}",
        if planned == 0 { "nothing to change".into() } else { count(planned, "change", "changes") },
        count(summary.files, "file", "files"),
        left_out(summary.hidden, summary.excluded, summary.special)
    )
}

fn received_text(received: &Received) -> String {
    let done = done_text(received.changed, received.moved, received.deleted, received.metadata);
    let wire = received.wire_received.saturating_add(received.wire_sent);
    format!(
        "received from {}: {done}; {} on the wire; {}",
        received.client,
        size(wire),
        length(received.elapsed_ms)
    )
}

fn done_text(changed: u64, moved: u64, deleted: u64, metadata: u64) -> String {
    let parts =
        [(changed, "changed"), (moved, "moved"), (deleted, "deleted"), (metadata, "mode or time set")];
    let parts: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", thousands(*n))).collect();
    if parts.is_empty() { "nothing to change".into() } else { parts.join(", ") }
}

fn left_out(hidden: u64, excluded: u64, special: u64) -> String {
    let parts = [
        (hidden, "hidden (-a sends them)"),
        (excluded, "excluded"),
        (special, "neither file, directory nor symlink"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", thousands(*n))).collect();
    if parts.is_empty() { String::new() } else { format!("; left out: {}", parts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::event::Shown;

    fn text(event: Event) -> String {
        line(&event).expect("the event has a line").text
    }

    #[test]
    fn a_summary_tells_state_work_bytes_and_what_was_left_out() {
        let summary = Summary {
            files: 1_234,
            changed: 3,
            deleted: 1,
            content_bytes: 10 << 20,
            wire_sent: 100 << 10,
            wire_received: 2 << 10,
            saved: (10 << 20) - (100 << 10),
            hidden: 12,
            elapsed_ms: 840,
            ..Summary::default()
        };
        assert_eq!(
            text(Event::PassDone(summary)),
            "in step: 3 changed, 1 deleted; 1,234 files; 10.0 MiB of content, 102 KiB on the wire, \
             9.90 MiB saved; 0.8 s; left out: 12 hidden (-a sends them)"
        );
    }

    #[test]
    fn what_each_sieve_found_is_said_with_v() {
        let found = Found { by_groups: 64 << 10, by_blocks: 2_048, literal: 5, ..Found::default() };
        let event = Event::Made(found);
        assert_eq!(line(&event).expect("the event has a line").from, Loudness::Each);
        assert_eq!(
            text(event),
            "large files: 64.0 KiB found by groups, 0 B by chunks, 2.00 KiB by blocks; 0 B zeros, 5 B literal"
        );
    }

    #[test]
    fn a_pass_without_work_says_so() {
        let summary = Summary { files: 1, wire_sent: 420, ..Summary::default() };
        assert_eq!(
            text(Event::PassDone(summary)),
            "in step: nothing to change; 1 file; 420 B on the wire; 0.0 s"
        );
    }

    #[test]
    fn a_pass_that_is_not_in_step_does_not_say_in_step_first() {
        let partial = Summary { partial: 2, ..Summary::default() };
        assert!(text(Event::PassDone(partial.clone())).starts_with("partial, 2 entries not in step: "));
        let held = Summary { held: Some("500 of 600 files are gone".into()), ..partial };
        assert!(text(Event::PassDone(held)).starts_with("held, deletes wait: "));
        let dry = Summary { planned: Some(1), files: 7, ..Summary::default() };
        assert_eq!(text(Event::PassDone(dry)), "dry run, nothing was sent: 1 change; 7 files");
    }

    #[test]
    fn names_are_escaped() {
        let skipped = Event::Skipped { path: Shown::new(*b"a\x1b[31m\nb\xff"), why: "unreadable".into() };
        assert_eq!(text(skipped), "skipped a\\u{1b}[31m\\nb\\xff: unreadable");
    }

    #[test]
    fn what_the_other_end_says_can_not_steer_the_terminal() {
        let left = Event::ClientLeft { client: "a\x1b[2J".into(), why: "x\nerror: y".into() };
        assert_eq!(text(left), "client a\\u{1b}[2J left: x\\nerror: y");
    }

    #[test]
    fn a_dry_run_reads_as_a_plan() {
        let path = || Shown::new(*b"b");
        let from = || Shown::new(*b"a");
        for (change, words) in [
            (Change::Create { kind: What::File, path: path(), size_bytes: 2048 }, "would add b (2.00 KiB)"),
            (Change::Create { kind: What::Dir, path: path(), size_bytes: 0 }, "would add directory b"),
            (Change::Move { from: from(), path: path() }, "would move a to b"),
            (
                Change::Remove { kind: What::Dir, path: path(), entries_below: 1 },
                "would delete directory b and 1 entry below",
            ),
        ] {
            assert_eq!(text(Event::Planned(change)), words);
        }
    }

    #[test]
    fn quiet_keeps_errors_and_what_is_not_in_step() {
        let from = |event: Event| line(&event).expect("the event has a line").from;
        assert_eq!(from(Event::Error { text: "x".into() }), Loudness::Quiet);
        assert_eq!(from(Event::Held { reason: "x".into() }), Loudness::Quiet);
        assert_eq!(from(Event::PassDone(Summary::default())), Loudness::Normal);
        assert_eq!(from(Event::Applied(Change::Meta { path: Shown::new(*b"a") })), Loudness::Each);
    }
}
