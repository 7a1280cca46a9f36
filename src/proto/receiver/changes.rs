//! Takes changes in: checks what can be checked before their turn comes.

use super::commit::{Complete, CompleteKind};
use super::{Action, Breach, PackedFile, Receiver};
use crate::model::limits::{OP_BYTES, PACK_FILE_BYTES, UNACKNOWLEDGED};
use crate::model::{ContentHash, Kind, Meta, RelPath};
use crate::proto::message::*;

fn breach<T>(what: &str) -> Result<T, Breach> {
    Err(Breach(what.to_owned()))
}

impl Receiver {
    pub(super) fn take_change(&mut self, up: Up) -> Result<(), Breach> {
        if self.role != Role::Push {
            return breach("a change of a sender that came only to look");
        }
        if let Some(id) = up.change_id() {
            if id <= self.last_id {
                return breach("a change's number did not rise");
            }
            if self.complete.len() >= UNACKNOWLEDGED {
                return breach("too many changes that are not acknowledged");
            }
            self.last_id = id;
        }
        match up {
            Up::Put(put) => self.put(*put)?,
            Up::Delta { id, at, ops } => self.delta(id, at, ops)?,
            Up::End { id } => self.end(id)?,
            Up::Cancel { id, keep } => self.cancel(id, keep),
            Up::Pack(pack) => self.pack(*pack)?,
            Up::MakeDir { id, path, meta } => {
                check_entry(&path, &meta)?;
                self.completed(id, CompleteKind::MakeDir { path, meta });
            }
            Up::Link { id, path, target, mtime } => {
                check_entry(&path, &Meta { mode: 0, mtime })?;
                self.completed(id, CompleteKind::Link { path, target, mtime });
            }
            Up::SetMeta(set_meta) => self.set_meta(*set_meta)?,
            Up::Move { id, from, to, kind, tag } => {
                self.completed(id, CompleteKind::Move { from, to, kind, tag });
            }
            Up::Swap { id, a, a_tag, b, b_tag } => {
                self.completed(id, CompleteKind::Rotate { ring: vec![(a, a_tag), (b, b_tag)] });
            }
            Up::Rotate { id, ring } => {
                if self.capabilities & CAN_ROTATE == 0 {
                    return breach("a ring that was not offered");
                }
                if ring.len() < 3 {
                    return breach("a ring of less than three names");
                }
                self.completed(id, CompleteKind::Rotate { ring: ring.into_vec() });
            }
            Up::Remove { id, items } => {
                if items.iter().any(|removal| removal.path.is_root()) {
                    return breach("the root cannot be removed");
                }
                self.completed(id, CompleteKind::Remove { items: items.into_vec() });
            }
            Up::Leave { id, paths } => {
                if paths.iter().any(RelPath::is_root) {
                    return breach("the root cannot be set aside");
                }
                self.completed(id, CompleteKind::Leave { paths: paths.into_vec() });
            }
            _ => return breach("a message that does not belong here"),
        }
        self.pump();
        Ok(())
    }

    fn completed(&mut self, id: ChangeId, kind: CompleteKind) {
        self.complete.push(Complete { id, kind, is_staged: true });
    }

    fn set_meta(&mut self, set_meta: SetMeta) -> Result<(), Breach> {
        let Some(rows) = set_meta.rows() else { return breach("metadata whose columns do not fit") };
        let mut items = Vec::with_capacity(rows.len());
        for (name, meta) in rows {
            let path = match name {
                Some(name) => set_meta.dir.join(&name).map_err(|error| Breach(error.to_string()))?,
                None => set_meta.dir.clone(),
            };
            items.push((path, meta));
        }
        self.completed(set_meta.id, CompleteKind::SetMeta { items });
        Ok(())
    }

    fn pack(&mut self, pack: Pack) -> Result<(), Breach> {
        let n_files: u64 = pack.dirs.iter().map(|dir| u64::from(dir.n_files)).sum();
        if n_files != pack.files.len() as u64 {
            return breach("a pack whose directories do not add up");
        }
        let mut paths = Vec::with_capacity(pack.files.len());
        let mut staged = Vec::with_capacity(pack.files.len());
        let mut wire_bytes = 0;
        let mut gone = None;
        let mut files = pack.files.into_iter();
        let mut dirs = Vec::new();
        for dir in pack.dirs {
            for file in files.by_ref().take(dir.n_files as usize) {
                let path = dir.path.join(&file.name).map_err(|error| Breach(error.to_string()))?;
                check_entry(&path, &file.meta)?;
                let (n, basis) = self.check_body(&path, &file, &mut gone)?;
                wire_bytes += n;
                paths.push((path, file.meta, u64::from(file.size)));
                staged.push(PackedFile { meta: file.meta, size: file.size, body: file.body, basis });
            }
            dirs.extend(dir.meta.map(|meta| (dir.path, meta)));
        }
        if dirs.iter().any(|(_, meta)| !meta.is_valid()) {
            return breach("metadata that cannot be");
        }
        self.charge(wire_bytes)?;
        if gone.is_some() {
            self.send(Down::Refused { id: pack.id, item: None, why: Refusal::BasisGone { index: 0 } });
            self.give_back(0, wire_bytes);
            return Ok(());
        }
        self.actions.push_back(Action::StagePack { id: pack.id, files: staged, hash: pack.hash, wire_bytes });
        let kind = CompleteKind::Pack { paths, dirs, hashes: Vec::new() };
        self.complete.push(Complete { id: pack.id, kind, is_staged: false });
        Ok(())
    }

    /// Wire bytes of a packed file, and its basis if it has one.
    fn check_body(
        &mut self,
        path: &RelPath,
        file: &PackFile,
        gone: &mut Option<()>,
    ) -> Result<(u64, Option<super::BasisRef>), Breach> {
        if u64::from(file.size) > PACK_FILE_BYTES {
            return breach("a packed file that is too long");
        }
        match &file.body {
            PackBody::Whole(bytes) if bytes.len() == file.size as usize => Ok((bytes.len() as u64, None)),
            PackBody::Whole(_) => breach("a packed file of another length"),
            PackBody::Same { basis } => {
                let found = self.find(basis);
                if found.is_none() {
                    *gone = Some(());
                }
                Ok((0, found))
            }
            PackBody::Over(_) if self.capabilities & CAN_OVER == 0 => breach("a body that was not offered"),
            PackBody::Over(frame) if frame.len() > OP_BYTES => breach("a packed file that is too long"),
            PackBody::Over(frame) => {
                let basis = self.small_basis(path);
                if basis.is_none() {
                    *gone = Some(());
                }
                Ok((frame.len() as u64, basis))
            }
            PackBody::Runs(_) if self.capabilities & CAN_RUNS == 0 => breach("a body that was not offered"),
            PackBody::Runs(_) => {
                let basis = self.small_basis(path);
                if basis.is_none() {
                    *gone = Some(());
                }
                Ok((file.body.content_bytes(), basis))
            }
        }
    }

    /// The small file that a path holds when the disk comes to it.
    pub(super) fn small_basis(&self, path: &RelPath) -> Option<super::BasisRef> {
        let leaf = *self.issued.get(path)?.as_leaf()?;
        let is_small = leaf.kind == Kind::File && leaf.size <= PACK_FILE_BYTES;
        is_small.then(|| super::BasisRef::File { path: path.clone(), leaf })
    }

    /// The disk staged the files of a pack and their one hash is right, or could not.
    pub fn pack_staged(&mut self, id: ChangeId, result: Result<Vec<ContentHash>, Refusal>) {
        match result {
            Ok(staged) => {
                let complete = self.complete.staged(id);
                if let Some(CompleteKind::Pack { hashes, .. }) = complete.map(|complete| &mut complete.kind) {
                    *hashes = staged;
                }
            }
            Err(why) => {
                if self.complete.remove(id) {
                    self.send(Down::Refused { id, item: None, why });
                }
            }
        }
        self.pump();
    }
}

fn check_entry(path: &RelPath, meta: &Meta) -> Result<(), Breach> {
    if path.is_root() {
        return breach("an entry without a name");
    }
    if !meta.is_valid() {
        return breach("metadata that cannot be");
    }
    Ok(())
}
