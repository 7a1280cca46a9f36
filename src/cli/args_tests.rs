//! What each command line becomes, and what is refused with which sentence.

use super::*;
use crate::client::options::ShadowSize;
use crate::server::options::Found;

fn parsed(line: &str) -> Result<Parsed, String> {
    let words = std::iter::once("strait").chain(line.split_whitespace()).map(OsString::from);
    parse(words).map_err(|refusal| refusal.0.to_string())
}

fn send(line: &str) -> ClientOptions {
    match parsed(line).map(|parsed| parsed.command) {
        Ok(Command::Send(options)) => options,
        other => panic!("{line}: {other:?}"),
    }
}

fn serve(line: &str) -> ServerOptions {
    match parsed(line).map(|parsed| parsed.command) {
        Ok(Command::Serve(options)) => options,
        other => panic!("{line}: {other:?}"),
    }
}

fn refusal(line: &str) -> String {
    parsed(line).expect_err(line)
}

#[test]
fn clap_finds_no_fault_in_the_definition() {
    Line::command().debug_assert();
}

#[test]
fn without_dest_the_server_at_localhost_is_meant() {
    let options = send("watch src");
    assert_eq!(options.destination, Destination::Server { host: "localhost".into(), port: 5000 });
    assert_eq!((options.mode, options.hidden, options.found), (Once::Watch, false, Found::Refuse));
    let options = send("push src --host ::1 --port 7 -a");
    assert_eq!(options.destination, Destination::Server { host: "::1".into(), port: 7 });
    assert!(options.hidden);
}

#[test]
fn dest_is_a_path_or_another_machine() {
    assert_eq!(send("push src dst/").destination, Destination::Local("dst/".into()));
    let ssh = send("push src me@far:dir --adopt").destination;
    assert_eq!(ssh, Destination::Ssh { host: "me@far".into(), path: "dir".into(), rsh: "ssh".into() });
}

#[test]
fn a_dry_run_is_a_mode_of_push_only() {
    assert_eq!(send("push -n src dst").mode, Once::DryRun);
    assert!(refusal("watch --dry-run src dst").contains("--dry-run"));
    // It emptied the destination first.
    assert!(refusal("push -n src dst --clean").contains("--adopt instead"));
}

#[test]
fn every_option_of_a_sender_arrives() {
    let options = send(
        "push src --exclude *.o --exclude /tmp --bwlimit 2M --ticket T --server-key K --identity I --kx x25519 --no-delete",
    );
    assert_eq!(options.excludes, ["*.o", "/tmp"]);
    assert_eq!(options.bwlimit_bytes_per_s, Some(2 << 20));
    assert_eq!((options.ticket.as_deref(), options.server_key.as_deref()), (Some("T"), Some("K")));
    assert_eq!(options.identity, Some("I".into()));
    assert!(options.x25519_only && options.no_delete && !options.allow_mass_delete);
}

#[test]
fn every_option_of_a_receiver_arrives() {
    let options = serve("serve dst --host 127.0.0.1 --port 0 --adopt --authorize A --authorize B --state s");
    assert_eq!((options.host.as_str(), options.port), ("127.0.0.1", 0));
    assert_eq!((options.found, options.authorize), (Found::Adopt, vec!["A".to_string(), "B".to_string()]));
    assert_eq!(options.state, Some("s".into()));
    assert!(serve("serve --stdio --clean dst").stdio);
}

#[test]
fn with_stdio_standard_output_is_taken() {
    assert!(parsed("serve --stdio dst").expect("it is fine").say.stdout_taken);
    assert!(!parsed("serve dst").expect("it is fine").say.stdout_taken);
}

#[test]
fn loudness_is_said_before_or_after_the_verb() {
    let say = |line: &str| parsed(line).expect("it is fine").say;
    assert_eq!(say("-q push src dst").loudness, Loudness::Quiet);
    assert_eq!(say("push src dst -v --json"), Say { loudness: Loudness::Each, json: true, ..Say::default() });
    assert!(say("push src dst -vv").trace);
    assert!(refusal("push src dst -v -q").contains("cannot be used with"));
}

#[test]
fn each_bad_line_is_refused_with_its_next_step() {
    for (line, words) in [
        ("", "Usage"),
        ("push", "<SRC>"),
        ("push src --adopt", "strait serve"),
        ("push src dst --port 5000", "--port is for a server"),
        ("push src dst --server-key K", "--server-key is for a server"),
        ("push src dst --rsh ssh", "[user@]host:path"),
        ("push src dst --adopt --clean", "cannot be used with"),
        ("push src --port 0", "1..=65535"),
        ("push src --port 99999", "99999"),
        ("push src --host far:5000", "--port"),
        ("push src --bwlimit 500", "500K"),
        ("push src --kx rot13", "x25519"),
        ("push src --allow-mass-delete --no-delete", "cannot be used with"),
        ("serve far:dst", "./far:dst"),
        ("serve dst --stdio --port 1", "cannot be used with"),
        ("push src rsync://far/dst", "rsync://"),
        ("pull src", "pull"),
    ] {
        let text = refusal(line);
        assert!(text.contains(words), "{line}: {text}");
    }
}

#[test]
fn help_tells_the_exit_codes_and_no_secret() {
    for verb in ["", "serve", "push", "watch", "key"] {
        let text = refusal(&format!("{verb} --help"));
        assert!(text.contains("6  no connection"), "{text}");
    }
    assert!(!refusal("push --help").contains("[env: STRAIT_TICKET="), "the ticket's value stays hidden");
}

#[test]
fn the_shadow_is_usual_of_a_size_or_none() {
    assert_eq!(send("push src dst").shadow, ShadowSize::Usual);
    assert_eq!(send("push src dst --shadow 2G").shadow, ShadowSize::Bytes(2 << 30));
    assert_eq!(send("watch src dst --shadow 0").shadow, ShadowSize::Bytes(0));
    for word in ["2M/s", "2", "-1M", "much"] {
        assert!(refusal(&format!("push src dst --shadow={word}")).contains("write a size"), "{word}");
    }
}

#[test]
fn status_names_what_was_sent_as_it_was_sent() {
    let asked = |line: &str| match parsed(line).expect(line).command {
        Command::Status(asked) => asked,
        other => panic!("{line} became {other:?}"),
    };
    assert_eq!(asked("status"), None);
    let server = Destination::Server { host: "h".into(), port: 7 };
    assert_eq!(asked("status src --host h --port 7"), Some(("src".into(), server)));
    assert_eq!(asked("status src dst"), Some(("src".into(), Destination::Local("dst".into()))));
    assert!(refusal("status --port 7").contains("name SRC too"));
    assert!(refusal("status src dst --port 7").contains("leave out either"));
}
