//! Events as lines of JSON, version 1: what `--json` promises in `docs/operations.md`.

use serde_json::{Map, Value, json};

use crate::client::event::{Change, Event, Outcome, Shown};

/// Version of the objects: it changes when a name or the meaning of a field does, not when fields are added.
const VERSION: u64 = 1;

/// One event as one line, without its newline. `at_ms` counts from 1970.
pub fn event_line(event: &Event, at_ms: u64) -> String {
    let mut fields = match serde_json::to_value(event) {
        Ok(Value::Object(fields)) => fields,
        other => unreachable!("events are maps of plain data, not {other:?}"),
    };
    for (key, path) in paths(event) {
        if std::str::from_utf8(path.as_bytes()).is_err() {
            let hex: String = path.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            fields.insert(format!("{key}_hex"), hex.into());
        }
    }
    line(fields, at_ms)
}

/// The last line of a run.
pub fn end_line(outcome: Outcome, at_ms: u64) -> String {
    let fields = json!({ "event": "end", "outcome": outcome, "exit_code": outcome.exit_code() });
    match fields {
        Value::Object(fields) => line(fields, at_ms),
        _ => unreachable!("it is written as an object above"),
    }
}

/// The line that `key` prints.
pub fn key_line(key: &str, at_ms: u64) -> String {
    let mut fields = Map::new();
    fields.insert("event".into(), "key".into());
    fields.insert("key".into(), key.into());
    line(fields, at_ms)
}

/// Puts version, name and time first and makes the text safe for a terminal.
fn line(mut fields: Map<String, Value>, at_ms: u64) -> String {
    let name = fields.remove("event").unwrap_or_default();
    let rest = Value::Object(fields).to_string();
    let rest = rest.strip_prefix('{').expect("an object begins with a brace");
    let comma = if rest == "}" { "" } else { "," };
    escape_invisible(&format!("{{\"v\":{VERSION},\"event\":{name},\"at_ms\":{at_ms}{comma}{rest}"))
}

/// Writes characters that could steer or deceive a terminal as JSON escapes; the value stays the same.
fn escape_invisible(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_control() || (!letter.is_ascii() && letter.escape_debug().count() > 1) {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(letter);
        }
    }
    text
}

/// The paths of an event, under the names of their fields.
fn paths(event: &Event) -> Vec<(&'static str, &Shown)> {
    match event {
        Event::Skipped { path, .. } => vec![("path", path)],
        Event::Listening { dest, .. } => vec![("dest", dest)],
        Event::Planned(change) | Event::Applied(change) => match change {
            Change::Create { path, .. }
            | Change::Update { path, .. }
            | Change::Meta { path }
            | Change::Remove { path, .. } => vec![("path", path)],
            Change::Move { from, path } | Change::Swap { from, path } => vec![("from", from), ("path", path)],
        },
        Event::Trashed { path: Some(path), .. } => vec![("path", path)],
        Event::Restored { path, to, .. } => vec![("path", path), ("to", to)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::event::{Progress, Summary, What};

    fn parsed(event: &Event) -> Value {
        serde_json::from_str(&event_line(event, 7)).expect("a line is JSON")
    }

    #[test]
    fn every_object_begins_with_version_name_and_time() {
        let event = Event::Note { text: "a".into() };
        assert_eq!(event_line(&event, 7), r#"{"v":1,"event":"note","at_ms":7,"text":"a"}"#);
        assert_eq!(
            end_line(Outcome::NotAuthorised, 8),
            r#"{"v":1,"event":"end","at_ms":8,"exit_code":5,"outcome":"not_authorised"}"#
        );
    }

    #[test]
    fn fields_of_inner_values_lie_flat() {
        let progress = Event::Progress(Progress { content_done: 5, ..Progress::default() });
        assert_eq!(parsed(&progress)["content_done"], 5);
        let change = Change::Create { kind: What::File, path: Shown::new(*b"a"), size_bytes: 3 };
        let planned = parsed(&Event::Planned(change));
        assert_eq!((&planned["event"], &planned["change"]), (&json!("planned"), &json!("create")));
        assert_eq!((&planned["kind"], &planned["size_bytes"]), (&json!("file"), &json!(3)));
        assert!(parsed(&Event::PassDone(Summary::default())).get("held").is_none());
    }

    #[test]
    fn a_name_that_is_not_utf8_carries_its_bytes() {
        let skipped = |bytes: &[u8]| parsed(&Event::Skipped { path: Shown::new(bytes), why: String::new() });
        assert_eq!(skipped(b"a\xff")["path"], "a\\xff");
        assert_eq!(skipped(b"a\xff")["path_hex"], "61ff");
        assert_eq!(skipped(b"a\nb")["path"], "a\nb");
        assert!(skipped(b"a\nb").get("path_hex").is_none());
    }

    #[test]
    fn nothing_that_steers_a_terminal_is_written() {
        let name = "a\u{1b}[31m\u{7f}\u{9b}\u{202e}\u{e0001}é\n";
        let event = Event::Skipped { path: Shown::new(name), why: String::new() };
        let line = event_line(&event, 0);
        assert!(line.chars().all(|letter| letter.is_ascii_graphic() || " é".contains(letter)), "{line}");
        assert_eq!(parsed(&event)["path"], name, "the value is whole all the same");
    }
}
