//! What a sender keeps, to the last path: one more here would open what nobody meant to open.

use super::super::options::{ClientOptions, Destination, Found, Making, Once, ShadowSize};
use super::kept;
use crate::net::Places;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Read by both programs, whatever they do.
const SYSTEM: [&str; 4] = ["/proc/sys", "/etc/machine-id", "/dev/urandom", "/dev/null"];
/// Read besides by whoever looks up a name.
const NAMES: [&str; 10] = [
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/nix/store",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/nscd",
];

fn places() -> Places {
    Places {
        config: "/home/u/.config/strait".into(),
        state: "/home/u/.local/state/strait".into(),
        runtime: vec!["/run/user/7/strait".into(), "/home/u/.local/state/strait/run".into()],
    }
}

fn sending(destination: Destination) -> ClientOptions {
    ClientOptions {
        source: "src".into(),
        destination,
        mode: Once::Push,
        hidden: false,
        excludes: Vec::new(),
        found: Found::Refuse,
        making: Making::default(),
        bwlimit_bytes_per_s: None,
        ticket: None,
        server_key: None,
        identity: None,
        x25519_only: false,
        allow_mass_delete: false,
        no_delete: false,
        shadow: ShadowSize::Usual,
        max_staleness: Duration::from_secs(60),
    }
}

fn paths(of: &[&[&str]]) -> Vec<PathBuf> {
    of.concat().into_iter().map(PathBuf::from).collect()
}

#[test]
fn a_push_to_a_server_keeps_its_source_its_cache_its_keys_and_one_port() {
    let server = |host: &str| sending(Destination::Server { host: host.into(), port: 3500 });
    let allowed = kept(Path::new("/src"), &server("10.0.0.1"), &places(), None).unwrap();
    assert_eq!(allowed.read, paths(&[&SYSTEM, &["/src"]]));
    let written = [
        "/home/u/.local/state/strait",
        "/home/u/.config/strait",
        "/run/user/7/strait",
        "/home/u/.local/state/strait/run",
    ];
    assert_eq!(allowed.write, paths(&[&written]));
    assert_eq!(allowed.connect, [3500]);
    let options = ClientOptions { identity: Some("/keys/k".into()), ..server("far.example") };
    let allowed = kept(Path::new("/src"), &options, &places(), None).unwrap();
    assert_eq!(allowed.read, paths(&[&SYSTEM, &["/src", "/keys/k"], &NAMES]));
    assert_eq!(allowed.write, paths(&[&written]));
    assert_eq!(allowed.connect, [53, 3500]);
}

#[test]
fn a_push_to_a_path_keeps_its_source_its_cache_and_the_destination() {
    let options = sending(Destination::Local("dest".into()));
    let dest = Path::new("/srv/d");
    let allowed = kept(Path::new("/src"), &options, &places(), Some(dest)).unwrap();
    assert_eq!(allowed.read, paths(&[&SYSTEM, &["/src"]]));
    assert_eq!(allowed.write, paths(&[&["/home/u/.local/state/strait", "/srv/d"]]));
    assert_eq!(allowed.connect, [] as [u16; 0]);
}

#[test]
fn a_push_over_ssh_is_not_confined_by_itself() {
    let far = Destination::Ssh { host: "far".into(), path: "d".into(), rsh: "ssh".into() };
    assert!(kept(Path::new("/src"), &sending(far), &places(), None).is_none());
}
