//! What this side remembers of one source and one destination: its cache, the shadow and its names.

use super::connect::state_name;
use super::event::{self, Event, Outcome, Report};
use super::options::{ClientOptions, Once};
use super::shadow::Shadow;
use super::status::Recorder;
use crate::disk::Root;
use crate::net::{Places, Secret};
use crate::server::Fatal;
use crate::server::contents::KnownContents;
use crate::server::snapshots::Snapshots;
use crate::store::{Cache, CacheError, Opened};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Where the cache of this source and this destination is.
pub(super) fn state_folder(options: &ClientOptions, source: &Path, places: &Places) -> std::path::PathBuf {
    let source = std::path::absolute(source).unwrap_or_else(|_| source.to_owned());
    places.state.join("clients").join(state_name(&source, &options.destination))
}

pub(super) fn open_cache(
    options: &ClientOptions,
    root: &Root,
    places: &Places,
    events: &Recorder,
) -> Result<Arc<KnownContents>, Fatal> {
    let folder = state_folder(options, root.path(), places);
    let cache = match Cache::open(&folder) {
        Ok((cache, opened)) => {
            if let Opened::Rebuilt { why, .. } = opened {
                events.event(Event::CacheRebuilt { why });
            }
            if options.mode != Once::DryRun {
                events.begin(&folder);
            }
            cache
        }
        Err(CacheError::Busy) => {
            let text = "another strait is sending this source there already; this one can not use what that one remembers";
            events.event(Event::Note { text: text.into() });
            Cache::in_memory().map_err(|error| Fatal::new(Outcome::Failed, &error))?
        }
        Err(error) => {
            let text = format!("nothing is remembered from run to run: {}", event::sentence(&error));
            events.event(Event::Note { text });
            Cache::in_memory().map_err(|error| Fatal::new(Outcome::Failed, &error))?
        }
    };
    // A push looks at a file that never rests only once.
    let every = if options.mode == Once::Watch { options.max_staleness } else { Duration::ZERO };
    let snapshots = Snapshots::new(folder, every);
    Ok(Arc::new(KnownContents::with_snapshots(Arc::new(cache), snapshots)))
}

/// The copies of acknowledged contents, beside the cache.
pub(super) fn shadow_of(options: &ClientOptions, root: &Root, places: &Places) -> Arc<Shadow> {
    let folder = state_folder(options, root.path(), places);
    Arc::new(Shadow::new(folder.join("shadow"), options.shadow))
}

/// The id of this client, kept from start to start.
pub(super) fn client_id(known: &KnownContents) -> [u8; 16] {
    if let Some(id) = known.cache().word("client").and_then(|bytes| bytes.try_into().ok()) {
        return id;
    }
    let id = Secret::random().0;
    let _ = known.cache().set_word("client", &id);
    id
}

pub(super) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_else(|_| "a client".to_owned())
}
