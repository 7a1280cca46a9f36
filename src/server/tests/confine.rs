//! What a server keeps, to the last path: one more here would open what nobody meant to open.

use crate::net::Places;
use crate::server::confine::kept_by_server;
use crate::server::options::{Found, Making, ServerOptions};
use std::path::{Path, PathBuf};

/// Read by both programs, whatever they do.
const SYSTEM: [&str; 4] = ["/proc/sys", "/etc/machine-id", "/dev/urandom", "/dev/null"];
fn places() -> Places {
    Places {
        config: "/home/u/.config/strait".into(),
        state: "/home/u/.local/state/strait".into(),
        runtime: vec!["/run/user/7/strait".into(), "/home/u/.local/state/strait/run".into()],
    }
}

fn serving(host: &str) -> ServerOptions {
    ServerOptions {
        dest: "dest".into(),
        host: host.into(),
        port: 3500,
        found: Found::Refuse,
        stdio: false,
        authorize: Vec::new(),
        identity: None,
        x25519_only: false,
        making: Making::default(),
        state: None,
    }
}

fn paths(of: &[&[&str]]) -> Vec<PathBuf> {
    of.concat().into_iter().map(PathBuf::from).collect()
}

#[test]
fn a_server_keeps_its_destination_its_keys_and_nothing_else() {
    let kept = kept_by_server(Path::new("/srv/d"), &serving("127.0.0.1"), Some(&places()));
    assert_eq!(kept.read, paths(&[&SYSTEM]));
    let keys = ["/home/u/.config/strait", "/run/user/7/strait", "/home/u/.local/state/strait/run"];
    assert_eq!(kept.write, paths(&[&["/srv/d"], &keys]));
    assert_eq!(kept.connect, [] as [u16; 0]);
}

#[test]
fn a_server_keeps_what_its_options_name_besides() {
    let options = ServerOptions {
        identity: Some("/keys/k".into()),
        state: Some("/var/state".into()),
        ..serving("far.example")
    };
    let kept = kept_by_server(Path::new("/srv/d"), &options, Some(&places()));
    assert_eq!(kept.read, paths(&[&SYSTEM, &["/keys/k"]]));
    let keys = ["/home/u/.config/strait", "/run/user/7/strait", "/home/u/.local/state/strait/run"];
    assert_eq!(kept.write, paths(&[&["/srv/d", "/var/state"], &keys]));
    assert_eq!(kept.connect, [] as [u16; 0]);
}

#[test]
fn a_server_over_standard_input_keeps_its_destination_and_its_state_alone() {
    let options = ServerOptions { stdio: true, identity: Some("/keys/k".into()), ..serving("far.example") };
    let kept = kept_by_server(Path::new("/srv/d"), &options, None);
    assert_eq!(kept.read, paths(&[&SYSTEM]));
    assert_eq!(kept.write, paths(&[&["/srv/d"]]));
    assert_eq!(kept.connect, [] as [u16; 0]);
    let options = ServerOptions { state: Some("/var/state".into()), ..options };
    let kept = kept_by_server(Path::new("/srv/d"), &options, None);
    assert_eq!(kept.write, paths(&[&["/srv/d", "/var/state"]]));
}
