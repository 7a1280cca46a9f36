//! What goes ahead: small changes right behind the greeting, where the destination is remembered and was left in
//! step. They wait for no answer, which saves a round trip.

use super::batches::read_batch;
use super::nested::Above;
use super::session::{Ashore, acknowledged};
use super::shadow::Shadow;
use super::source::Snapshot;
use crate::proto::message::{Keeps, PackBody, ScopeId, Up};
use crate::proto::sender::{Action, Config, Guess, Sender, Unready};
use crate::server::contents::KnownContents;
use std::sync::Arc;
use tokio::sync::watch;

/// The word of the cache under which a destination is remembered.
const MET: &str = "met";

/// From what changes ahead are made.
pub struct Forecast {
    known: Arc<KnownContents>,
    shadow: Arc<Shadow>,
    above: Arc<Above>,
    scope: ScopeId,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// What is remembered is what is there, as far as is known.
    is_likely: bool,
}

/// A machine with its first words, and what was done for it before there was a session.
pub struct Greeted {
    pub sender: Sender,
    /// The greeting, then the changes that go ahead.
    pub ups: Vec<Up>,
    /// What else the machine asked for.
    pub actions: Vec<Action>,
    /// What came of small files that were read.
    pub read: Vec<Result<PackBody, Unready>>,
    /// The source that the machine was given, if it was.
    pub snapshot: Option<Arc<Snapshot>>,
}

impl Forecast {
    pub fn of(ashore: &Ashore) -> Self {
        Self {
            known: ashore.known.clone(),
            shadow: ashore.shadow.clone(),
            above: ashore.above.clone(),
            scope: ashore.scope,
            snapshots: ashore.source.snapshots.clone(),
            is_likely: ashore.was_settled,
        }
    }

    /// Greets, and goes ahead if the source is scanned, the destination remembered and something small is new.
    /// Reads and squeezes a few small files: blocks for as long.
    pub fn greet(&self, config: Config, is_slow: bool) -> Greeted {
        let snapshot = self.snapshots.borrow().clone().filter(|_| self.is_likely);
        let ahead = snapshot.and_then(|snapshot| Some((self.ahead(&config, &snapshot)?, snapshot)));
        let (sender, snapshot) = match ahead {
            Some((sender, snapshot)) => (sender, Some(snapshot)),
            None => (Sender::new(config, 0), None),
        };
        let (ups, actions, read) = (Vec::new(), Vec::new(), Vec::new());
        let mut greeted = Greeted { sender, ups, actions, read, snapshot };
        while let Some(action) = greeted.sender.next_action() {
            match (action, &greeted.snapshot) {
                (Action::Send(up), _) => greeted.ups.push(up),
                (Action::ReadBatch { batch, wants, held }, Some(snapshot)) => {
                    let shadow = is_slow.then_some(&self.shadow);
                    let read = read_batch(&snapshot.root, &self.known, &wants, &held, shadow);
                    greeted.read.extend(read.iter().cloned());
                    greeted.sender.batch_read(batch, read, 0);
                }
                (other, _) => greeted.actions.push(other),
            }
        }
        greeted
    }

    fn ahead(&self, config: &Config, snapshot: &Snapshot) -> Option<Sender> {
        let met = decode(&self.known.cache().word(MET)?)?;
        // Nothing is sent to a destination that lies in the source, or that the source lies in.
        if self.above.refusal(&met.root_id, snapshot).is_some() {
            return None;
        }
        let source = &snapshot.source;
        let tree = acknowledged(&self.known, &self.scope, &met.root_id, Some(&source.tree))?;
        Sender::ahead(config.clone(), met, tree, source.clone(), 0)
    }
}

/// Remembers a destination, for the greetings to come.
pub fn remember(known: &KnownContents, met: &Guess) {
    let bytes = encode(met);
    if known.cache().word(MET).as_ref() != Some(&bytes)
        && let Err(error) = known.cache().set_word(MET, &bytes)
    {
        tracing::warn!(%error, "the destination is not remembered: changes will wait for its greeting");
    }
}

fn encode(met: &Guess) -> Vec<u8> {
    let Keeps { time_step_ns, mode_mask, symlinks, folds_case, name_bytes } = met.keeps;
    let mut bytes = met.root_id.to_vec();
    bytes.extend(met.capabilities.to_le_bytes());
    bytes.extend(time_step_ns.to_le_bytes());
    bytes.extend(mode_mask.to_le_bytes());
    bytes.extend([u8::from(symlinks), u8::from(folds_case)]);
    bytes.extend(name_bytes.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Guess> {
    let (root_id, rest) = bytes.split_first_chunk()?;
    let (capabilities, rest) = rest.split_first_chunk()?;
    let (time_step_ns, rest) = rest.split_first_chunk()?;
    let (mode_mask, rest) = rest.split_first_chunk()?;
    let (&[symlinks, folds_case], rest) = rest.split_first_chunk()?;
    let keeps = Keeps {
        time_step_ns: u32::from_le_bytes(*time_step_ns),
        mode_mask: u16::from_le_bytes(*mode_mask),
        symlinks: symlinks != 0,
        folds_case: folds_case != 0,
        name_bytes: u16::from_le_bytes(rest.try_into().ok()?),
    };
    Some(Guess { root_id: *root_id, capabilities: u64::from_le_bytes(*capabilities), keeps })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_a_destination_is_read_back() {
        let keeps = Keeps { time_step_ns: 2_000, folds_case: true, ..Keeps::ALL };
        let met = Guess { root_id: [7; 16], capabilities: 0x1_0000_0003, keeps };
        let bytes = encode(&met);
        assert_eq!(decode(&bytes), Some(met));
        assert_eq!(decode(&bytes[1..]), None);
        assert_eq!(decode(&[&bytes[..], &[0]].concat()), None);
    }
}
