//! What each program keeps open when it confines itself, and what is said of it.

use super::options::ServerOptions;
use crate::client::event::{Event, Report};
use crate::disk::sandbox::{Allowed, Confined};
use crate::net::{Endpoint, Places};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Files of the system that both programs read: names and limits of the machine, and randomness.
const SYSTEM: [&str; 4] = ["/proc/sys", "/etc/machine-id", "/dev/urandom", "/dev/null"];
/// What the C library reads to find the address of a name: lists, and the libraries that look there.
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
/// The port of name servers, for answers that do not fit a datagram.
const NAME_PORT: u16 = 53;

/// What a receiver keeps: its destination and state; keys and lists of keys unless it has one client
/// over standard input and output, which has no `places`. Its port is open before.
pub fn kept_by_server(dest: &Path, options: &ServerOptions, places: Option<&Places>) -> Allowed {
    let mut allowed = usual();
    allowed.write.push(dest.to_owned());
    allowed.write.extend(options.state.clone());
    if let Some(places) = places {
        add_keys(&mut allowed, places, options.identity.as_deref());
    }
    allowed
}

/// Makes the folders of keys and endpoint files, which can be kept only when they are there.
pub fn make_key_folders(places: &Places) {
    places.make_config();
    Endpoint::make_places(places);
}

/// What everybody needs.
pub fn usual() -> Allowed {
    Allowed { read: SYSTEM.map(PathBuf::from).to_vec(), ..Allowed::default() }
}

/// Adds what is needed to find a host, unless it is an address already.
pub fn add_names(allowed: &mut Allowed, host: &str) {
    if host.parse::<IpAddr>().is_err() {
        allowed.read.extend(NAMES.map(PathBuf::from));
        allowed.connect.push(NAME_PORT);
    }
}

/// Adds keys, lists of keys and endpoint files; `identity` is a key elsewhere.
pub fn add_keys(allowed: &mut Allowed, places: &Places, identity: Option<&Path>) {
    allowed.write.push(places.config.clone());
    allowed.write.extend(places.runtime.clone());
    allowed.read.extend(identity.map(ToOwned::to_owned));
}

/// Confines this thread and all that it starts, and says so where that is not possible.
pub fn confine(allowed: &Allowed, events: &dyn Report) -> bool {
    let text = match allowed.confine() {
        Confined::Whole => return true,
        Confined::FilesOnly => "sandboxed in part: this kernel confines files, not connections".to_owned(),
        Confined::Not(why) => format!("not sandboxed: {why}"),
    };
    let is_confined = text.starts_with("sandboxed");
    events.event(Event::Note { text });
    is_confined
}
