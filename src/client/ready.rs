//! What is opened before this side gives up the right to anything else.

use super::connect::Way;
use super::event::{Event, Outcome, Report};
use super::memory::state_folder;
use super::nested::Above;
use super::options::{ClientOptions, Destination};
use crate::disk::Root;
use crate::disk::sandbox::Allowed;
use crate::net::Places;
use crate::plan::scope::Scope;
use crate::server::{Fatal, LocalReceiver, confine};
use std::path::Path;
use std::sync::Arc;

/// What was opened before this thread was confined.
pub(super) struct Ready {
    pub scope: Scope,
    pub places: Places,
    pub root: Arc<Root>,
    pub above: Above,
    pub way: Way,
    pub is_confined: bool,
}

/// Opens what has to be there, then gives up the right to anything else. `None`: the source is gone,
/// which was said.
pub(super) fn prepare(
    options: &Arc<ClientOptions>,
    events: &'static dyn Report,
) -> Result<Option<Ready>, Fatal> {
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
    let above = Above::of(root.path());
    let way = Way::open(options, &places, events)?;
    places.make_state();
    let local = match &way {
        Way::Local(receiver) => Some(receiver),
        Way::Server { .. } => {
            confine::make_key_folders(&places);
            None
        }
        Way::Ssh { .. } => None,
    };
    let kept = kept(root.path(), options, &places, local.map(LocalReceiver::path));
    let is_confined = match kept {
        Some(kept) => confine::confine(&kept, events),
        None => {
            let text = "this side is not sandboxed, as ssh would be with it; the far side is where it can be";
            events.event(Event::Note { text: text.into() });
            false
        }
    };
    if let Some(receiver) = local {
        receiver.tend();
    }
    Ok(Some(Ready { scope, places, root, above, way, is_confined }))
}

/// What a sender keeps: its source, its caches, and the way to the destination; `local` is where a receiver in
/// this process writes. `None`: it goes over ssh, which would be confined with it.
fn kept(source: &Path, options: &ClientOptions, places: &Places, local: Option<&Path>) -> Option<Allowed> {
    let mut allowed = confine::usual();
    allowed.read.push(source.to_owned());
    allowed.write.push(places.state.clone());
    match &options.destination {
        Destination::Server { host, port } => {
            confine::add_keys(&mut allowed, places, options.identity.as_deref());
            confine::add_names(&mut allowed, host);
            allowed.connect.push(*port);
        }
        Destination::Local(_) => allowed.write.extend(local.map(ToOwned::to_owned)),
        Destination::Ssh { .. } => return None,
    }
    Some(allowed)
}

#[cfg(test)]
#[path = "ready_tests.rs"]
mod tests;
