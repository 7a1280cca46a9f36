//! Repair: what a receiver rebuilt wrongly goes again, as it is.

use super::deltas::{DeltaThread, Source, Stop};
use crate::delta::groups::{n_nodes, node_bytes};
use crate::delta::ops::Op;
use crate::delta::sieve::ReadAt;
use crate::model::limits::{DELTA_AIM_BYTES, GROUP_LEVEL};
use crate::proto::sender::Unready;
use std::ops::Range;

impl DeltaThread {
    /// Sends again, as literals, the nodes whose values are not these.
    pub(super) fn repair(&self, level: u8, values: &[[u8; 32]]) -> Result<(), Stop> {
        let hash = self.of.want.leaf.content.whole().ok_or(Stop::Closed)?;
        let source = self.open_source(hash)?;
        let size = self.of.want.leaf.size;
        let groups = self.groups(&source, hash)?.filter(|groups| groups.finest() <= level);
        let ours = groups.map(|groups| groups.level(level.min(GROUP_LEVEL)));
        let n = n_nodes(size, level.min(GROUP_LEVEL)).max(1);
        for node in 0..n {
            let is_right = match &ours {
                Some(ours) => values.get(node as usize) == ours.get(node as usize),
                None => false,
            };
            if !is_right {
                let start = node * node_bytes(level.min(GROUP_LEVEL));
                self.send_literals(&source, start..(start + node_bytes(level.min(GROUP_LEVEL))).min(size))?;
            }
        }
        Ok(())
    }

    fn send_literals(&self, source: &Source, range: Range<u64>) -> Result<(), Stop> {
        let mut at = range.start;
        while at < range.end {
            let mut bytes = vec![0; (range.end - at).min(DELTA_AIM_BYTES as u64) as usize];
            let n = source.read_at(&mut bytes, at)?;
            if n < bytes.len() {
                return Err(Stop::Unready(Unready::Changed));
            }
            self.emit(at, vec![Op::Literal(bytes)])?;
            at += n as u64;
        }
        Ok(())
    }
}
