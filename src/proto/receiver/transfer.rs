//! Transfers: a file from its `Put` to the moment it is staged, or refused.

use super::commit::{Complete, CompleteKind};
use super::{Action, BasisRef, Breach, Offer, RESUMED, Receiver};
use crate::delta::ops::{Basis, Op, PartialName};
use crate::model::limits::*;
use crate::model::{ContentHash, Kind, List, Meta, Node, RelPath, Tree};
use crate::plan::change::Change;
use crate::proto::message::*;
use crate::proto::partial::{Partial, resumed_name};
use std::collections::HashMap;

/// A file on its way.
pub(super) struct Transfer {
    pub path: RelPath,
    pub meta: Meta,
    pub size: u64,
    pub hash: ContentHash,
    state: TransferState,
    at: u64,
    /// Bytes of each basis.
    bases: Vec<u64>,
    round: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TransferState {
    /// Delta frames come.
    Filling,
    /// All came; the disk hashes.
    Ended,
    /// Refused already: what still comes is passed over.
    Dead,
}

/// Where contents are held; a guess that is checked against the tree at each use.
#[derive(Default)]
pub(super) struct Holders {
    paths: HashMap<ContentHash, RelPath>,
    pub n_rebuilt: u32,
}

impl Holders {
    fn find(&mut self, tree: &Tree, hash: ContentHash) -> Option<BasisRef> {
        let found = self.look(tree, hash);
        if found.is_some() || self.n_rebuilt > 0 {
            return found;
        }
        self.n_rebuilt += 1;
        self.paths.clear();
        tree.for_each(&mut |path, node| {
            if let Node::Leaf(leaf) = node
                && leaf.kind == Kind::File
                && let Some(hash) = leaf.content.whole()
            {
                self.paths.insert(hash, path.clone());
            }
        });
        self.look(tree, hash)
    }

    /// A group brings files: they are found without looking through the whole tree for each.
    pub(super) fn came<'c>(&mut self, changes: impl Iterator<Item = &'c Change>) {
        // What was never asked for need not be kept.
        if !self.paths.is_empty() {
            self.paths.extend(changes.filter_map(|change| Some((change.content()?, change.path().clone()))));
        }
    }

    fn look(&self, tree: &Tree, hash: ContentHash) -> Option<BasisRef> {
        let path = self.paths.get(&hash)?;
        let leaf = tree.get(path)?.as_leaf()?;
        let holds = leaf.kind == Kind::File && leaf.content.whole() == Some(hash);
        holds.then(|| BasisRef::File { path: path.clone(), leaf: *leaf })
    }
}

pub(super) fn breach<T>(what: &str) -> Result<T, Breach> {
    Err(Breach(what.to_owned()))
}

impl Receiver {
    pub(super) fn put(&mut self, put: Put) -> Result<(), Breach> {
        if self.transfers.len() >= OPEN_TRANSFERS {
            return breach("too many open transfers");
        }
        if put.path.is_root() || put.size > FILE_BYTES || !put.meta.is_valid() {
            return breach("a file that cannot be");
        }
        let bases: Vec<Option<BasisRef>> = put.bases.iter().map(|basis| self.find(basis)).collect();
        let mut gone = bases.iter().position(Option::is_none).map(|index| index as u32);
        let resume = put.resume.map(|(name, start)| (resumed_name(name), start));
        if let (None, Some((of, start))) = (gone, resume)
            && self.partials.take(of, &put, start).is_none()
        {
            gone = Some(RESUMED);
        }
        let bases: Vec<BasisRef> = bases.into_iter().flatten().collect();
        let transfer = Transfer {
            path: put.path.clone(),
            meta: put.meta,
            size: put.size,
            hash: put.hash,
            state: if gone.is_some() { TransferState::Dead } else { TransferState::Filling },
            at: resume.map_or(0, |(_, start)| start),
            bases: bases.iter().map(BasisRef::size).collect(),
            round: 0,
        };
        match gone {
            Some(index) => {
                self.send(Down::Refused { id: put.id, item: None, why: Refusal::BasisGone { index } });
            }
            None => {
                let offer = Offer { path: put.path, size: put.size, hash: put.hash };
                self.actions.push_back(Action::Open { id: put.id, offer, bases, resume });
                if put.wait {
                    self.send(Down::Answer { id: put.id, answer: PutAnswer::Go });
                }
            }
        }
        self.transfers.insert(put.id, transfer);
        Ok(())
    }

    pub(super) fn delta(&mut self, id: ChangeId, at: u64, ops: List<Op, OPS>) -> Result<(), Breach> {
        let Some(transfer) = self.transfers.get_mut(&id) else {
            return breach("a delta without its transfer");
        };
        let wire_bytes: u64 = ops.iter().map(|op| op.wire_bytes() as u64).sum();
        if transfer.state == TransferState::Dead {
            self.charge(wire_bytes)?;
            self.give_back(id, wire_bytes);
            return Ok(());
        }
        if transfer.state != TransferState::Filling || (transfer.round == 0 && at != transfer.at) {
            return breach("a delta out of order");
        }
        // Bases that are added come first: each op may lean on one named before it.
        let added: Vec<&Basis> =
            ops.iter().filter_map(|op| if let Op::Use { basis } = op { Some(basis) } else { None }).collect();
        let mut sizes = transfer.bases.clone();
        if sizes.len() + added.len() > FILE_BASES {
            return breach("too many bases");
        }
        self.charge(wire_bytes)?;
        let mut found = Vec::new();
        for basis in added {
            let Some(basis) = self.find(basis) else {
                self.refuse_transfer(id, Refusal::BasisGone { index: sizes.len() as u32 });
                self.give_back(id, wire_bytes);
                return Ok(());
            };
            sizes.push(basis.size());
            found.push(basis);
        }
        let Some(transfer) = self.transfers.get_mut(&id) else { return Ok(()) };
        let takes_prefix = self.capabilities & CAN_PREFIX != 0;
        transfer.at = check_ops(at, &ops, &sizes, transfer.size, takes_prefix)?;
        transfer.bases = sizes;
        self.actions.extend(found.into_iter().map(|basis| Action::AddBasis { id, basis }));
        self.actions.push_back(Action::Write { id, at, ops: ops.into_vec(), wire_bytes });
        Ok(())
    }

    pub(super) fn end(&mut self, id: ChangeId) -> Result<(), Breach> {
        let Some(transfer) = self.transfers.get_mut(&id) else {
            return breach("an end without its transfer");
        };
        match transfer.state {
            TransferState::Dead => {
                self.transfers.remove(&id);
            }
            TransferState::Ended => return breach("a transfer that ended twice"),
            TransferState::Filling if transfer.round == 0 && transfer.at != transfer.size => {
                return breach("a transfer that ended early");
            }
            TransferState::Filling => {
                transfer.state = TransferState::Ended;
                self.actions.push_back(Action::Seal { id, hash: transfer.hash });
                self.complete.push(Complete { id, kind: CompleteKind::Put, is_staged: false });
            }
        }
        Ok(())
    }

    pub(super) fn cancel(&mut self, id: ChangeId, keep: bool) {
        match self.transfers.get(&id).map(|transfer| transfer.state) {
            Some(TransferState::Filling) => {
                match self.transfers.remove(&id) {
                    // In a repair what is there is not the beginning of anything.
                    Some(transfer) if keep && transfer.round == 0 && transfer.at > 0 => {
                        let Transfer { path, size, hash, at, .. } = transfer;
                        let of = PartialName::Sent(id);
                        self.keep_partial(id, Partial { of, hash, size, have: at, path });
                    }
                    _ => self.actions.push_back(Action::Drop { id }),
                }
                self.send(Down::Refused { id, item: None, why: Refusal::Cancelled });
            }
            Some(TransferState::Dead) => {
                self.transfers.remove(&id);
            }
            // Too late: `Done` or a refusal is on its way.
            Some(TransferState::Ended) | None => {}
        }
    }

    /// The disk staged a whole file whose hash is right, or could not.
    pub fn staged(&mut self, id: ChangeId, result: Result<(), Refusal>) {
        match result {
            Ok(()) => {
                self.complete.staged(id);
            }
            Err(why) => self.refuse_transfer(id, why),
        }
        self.pump();
    }

    /// What the disk staged has another hash: the sender is told the tree of what there is.
    pub fn mismatched(&mut self, id: ChangeId, level: u8, values: Vec<[u8; 32]>) {
        let Some(transfer) = self.transfers.get_mut(&id) else { return };
        transfer.round += 1;
        if transfer.round > REPAIR_ROUNDS || values.len() > MISMATCH_HASHES {
            self.refuse_transfer(id, Refusal::HashDiffers);
        } else {
            transfer.state = TransferState::Filling;
            let round = transfer.round;
            self.complete.remove(id);
            self.send(Down::Mismatch { id, round, level, first: 0, values: List::new(values) });
        }
        self.pump();
    }

    /// The disk has written bytes that cost credit.
    pub fn written(&mut self, id: ChangeId, wire_bytes: u64) {
        self.give_back(id, wire_bytes);
    }

    fn refuse_transfer(&mut self, id: ChangeId, why: Refusal) {
        let Some(transfer) = self.transfers.get_mut(&id) else { return };
        let was = transfer.state;
        transfer.state = TransferState::Dead;
        if was == TransferState::Ended {
            self.transfers.remove(&id);
        }
        if was != TransferState::Dead {
            self.complete.remove(id);
            self.actions.push_back(Action::Drop { id });
            self.send(Down::Refused { id, item: None, why });
        }
    }

    /// Takes content bytes off the sender's credit.
    pub(super) fn charge(&mut self, wire_bytes: u64) -> Result<(), Breach> {
        match self.credit_left.checked_sub(wire_bytes) {
            Some(left) => {
                self.credit_left = left;
                Ok(())
            }
            None => breach("more content than its credit"),
        }
    }

    /// Gives credit back, in half windows or when nothing is under way.
    pub(super) fn give_back(&mut self, id: ChangeId, wire_bytes: u64) {
        *self.credit_due.entry(id).or_default() += wire_bytes;
        let due: u64 = self.credit_due.values().sum();
        let window = self.config.credit_bytes;
        if due * 4 >= window || self.credit_left + due == window || self.credit_due.len() >= OPEN_TRANSFERS {
            self.credit_left += due;
            let grants = std::mem::take(&mut self.credit_due).into_iter().collect();
            self.send(Down::Credit { grants: List::new(grants) });
        }
    }

    /// The file that will hold a basis when the disk comes to open it.
    pub(super) fn find(&mut self, basis: &Basis) -> Option<BasisRef> {
        match basis {
            Basis::Path { path, tag } => match self.issued.get(path)? {
                Node::Leaf(leaf) if leaf.kind == Kind::File && leaf.content.tag() == *tag => {
                    Some(BasisRef::File { path: path.clone(), leaf: *leaf })
                }
                _ => None,
            },
            Basis::Content { hash } => self.holders.find(&self.issued, *hash),
            Basis::Partial { of, len } => {
                let partial = self.partials.find(*of).filter(|partial| *len <= partial.have)?;
                Some(BasisRef::Partial { of: *of, len: *len, hash: partial.hash })
            }
        }
    }
}

/// Checks ops against the sizes of their bases and of the target; returns where they end.
fn check_ops(at: u64, ops: &[Op], bases: &[u64], size: u64, takes_prefix: bool) -> Result<u64, Breach> {
    let mut end = at;
    for op in ops {
        op.check().map_err(|error| Breach(error.to_string()))?;
        let range = match op {
            Op::Same { len } => Some((0, end, *len)),
            Op::Copy { basis, offset, len } => Some((*basis as usize, *offset, *len)),
            Op::Blocks { basis, offset, len, .. } => Some((*basis as usize, *offset, u64::from(*len))),
            Op::Prefix { .. } if !takes_prefix => return breach("an op that was not offered"),
            Op::Prefix { basis, offset, len, .. } => Some((*basis as usize, *offset, u64::from(*len))),
            Op::Zeros { .. } | Op::Literal(_) | Op::Use { .. } => None,
        };
        if let Some((basis, offset, len)) = range {
            let Some(&basis_size) = bases.get(basis) else { return breach("a basis that was not named") };
            if offset.checked_add(len).is_none_or(|end| end > basis_size) {
                return breach("a range beyond its basis");
            }
        }
        end = end.saturating_add(op.target_len());
        if end > size {
            return breach("a delta longer than its file");
        }
    }
    if end > size { breach("a delta longer than its file") } else { Ok(end) }
}
