//! What the disk in memory still has when a session, the server or the power ended.

use super::disk::Disk;
use crate::delta::ops::PartialName;
use crate::model::limits::{PARTIAL_BYTES, PARTIAL_NOTE_BYTES};
use crate::proto::message::PartialInfo;
use crate::proto::receiver::Offer;

/// What the end of a session costs, beside the connection.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Loss {
    #[default]
    Nothing,
    /// The server is killed: what was not noted is lost.
    Unnoted,
    /// The power goes: what was not synced is lost, and the group that was being made is undone.
    Unsynced,
}

/// Here a stage is synced after so much more has come: less often than it is noted, as on a real disk.
pub const SYNC_BYTES: usize = 2 * PARTIAL_NOTE_BYTES as usize;

/// What came of a transfer that ended early.
#[derive(Clone, Debug)]
pub struct Kept {
    pub offer: Offer,
    pub bytes: Vec<u8>,
}

impl Disk {
    pub(super) fn take_partial(&mut self, of: PartialName) -> Option<Kept> {
        match of {
            PartialName::Sent(id) => self.sent.remove(&id),
            PartialName::Stored(name) => self.stored.remove(&name),
        }
    }

    /// What a greeting lists.
    pub fn partials(&self) -> Vec<PartialInfo> {
        let info = |(name, kept): (&[u8; 16], &Kept)| PartialInfo {
            name: *name,
            hash: kept.offer.hash,
            size: kept.offer.size,
            have: kept.bytes.len() as u64,
            path: kept.offer.path.clone(),
        };
        self.stored.iter().map(info).collect()
    }

    /// What is staged of large files stays as partials, whole or as far as it was noted.
    fn store_partials(&mut self) {
        let stages = std::mem::take(&mut self.stages).into_values();
        let stages = stages.filter(|stage| !stage.failed && !stage.is_repaired);
        let kept = stages.map(|stage| Kept { offer: stage.offer, bytes: stage.bytes });
        let kept: Vec<Kept> = kept.chain(std::mem::take(&mut self.sent).into_values()).collect();
        for mut kept in kept {
            let step_bytes = match self.loss {
                Loss::Nothing => 1,
                Loss::Unnoted => PARTIAL_NOTE_BYTES as usize,
                Loss::Unsynced => SYNC_BYTES,
            };
            kept.bytes.truncate(kept.bytes.len() / step_bytes * step_bytes);
            if (kept.offer.size >= PARTIAL_BYTES || self.loss == Loss::Nothing) && !kept.bytes.is_empty() {
                let mut name = [0xff; 16];
                name[8..].copy_from_slice(&self.stamp().to_be_bytes());
                self.stored.insert(name, kept);
            }
        }
    }

    /// The connection ends, or the server's process: what is staged goes or becomes partials.
    pub fn restart(&mut self) {
        self.store_partials();
        if let Some(items) = self.before_group.take() {
            self.items = items;
        }
        self.packs.clear();
        self.is_killed = false;
        self.kill_at = None;
        self.n_stages_left = 0;
    }
}
