//! Questions about contents: what must hold before the disk is asked.

use super::transfer::breach;
use super::{Action, Breach, Question, Receiver};
use crate::delta::blocks::check_sizes;
use crate::delta::ops::Basis;
use crate::model::limits::*;
use crate::model::{List, Tag};
use crate::proto::message::*;

impl Receiver {
    fn put_question(&mut self, question: Question) -> Result<(), Breach> {
        if self.n_asks >= UNANSWERED {
            return breach("too many questions that are not answered");
        }
        self.n_asks += 1;
        self.actions.push_back(Action::Ask(question));
        Ok(())
    }

    pub(super) fn ask_have(&mut self, request: RequestId, tags: Vec<Tag>) -> Result<(), Breach> {
        let tree = self.issued.clone();
        self.put_question(Question::Have { request, tags, tree })
    }

    pub(super) fn ask_groups(
        &mut self,
        request: RequestId,
        basis: &Basis,
        level: u8,
        first: u64,
        n: u32,
    ) -> Result<(), Breach> {
        if level > GROUP_LEVEL || n as usize > ASK_GROUPS || first > FILE_BYTES / GROUP_BYTES as u64 {
            return breach("a question for too many groups");
        }
        match self.find(basis) {
            Some(basis) => {
                let question = Question::Groups { request, basis, level, first, n };
                self.put_question(question)?;
            }
            None => self.send(Down::Groups { request, found: None, level, first, tags: List::default() }),
        }
        Ok(())
    }

    pub(super) fn ask_blocks(
        &mut self,
        request: RequestId,
        files: List<AskedFile, PACK_FILES>,
    ) -> Result<(), Breach> {
        if self.capabilities & CAN_RUNS == 0 {
            return breach("a question that was not offered");
        }
        if files.iter().any(|file| !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&file.block_bytes)) {
            return breach("a question for blocks that cannot be");
        }
        // Each part is of a small file, so that the sum stays within bounds of memory too.
        let parts = files.iter().flat_map(|file| file.parts.iter());
        if parts.clone().any(|(offset, len)| u64::from(*offset) + u64::from(*len) > PACK_FILE_BYTES) {
            return breach("a question for a range that cannot be");
        }
        let answer_bytes: usize = files.iter().map(|file| file.answer_bytes() + 4).sum();
        if answer_bytes > OP_BYTES {
            return breach("a question for too many names");
        }
        let files = files.into_iter().map(|file| (self.small_basis(&file.path), file)).collect();
        self.put_question(Question::Blocks { request, files })
    }

    pub(super) fn ask_signature(
        &mut self,
        request: RequestId,
        basis: &Basis,
        ranges: &[(u64, u64)],
        block_bytes: u32,
        strong_bytes: u8,
    ) -> Result<(), Breach> {
        if check_sizes(block_bytes, strong_bytes).is_err() {
            return breach("a question for a signature that cannot be");
        }
        if ranges.iter().any(|(offset, len)| offset.checked_add(*len).is_none_or(|end| end > FILE_BYTES)) {
            return breach("a question for a range that cannot be");
        }
        let row_bytes = 4 + u64::from(strong_bytes);
        let answer_bytes = ranges
            .iter()
            .try_fold(0u64, |sum, (_, len)| sum.checked_add(len.div_ceil(block_bytes.into()) * row_bytes));
        if answer_bytes.is_none_or(|n| n > ASK_ANSWER_BYTES as u64) {
            return breach("a question for too long a signature");
        }
        match self.find(basis) {
            Some(basis) => {
                let ranges = ranges.to_vec();
                let question = Question::Signature { request, basis, ranges, block_bytes, strong_bytes };
                self.put_question(question)?;
            }
            None => self.send(Down::no_signature(request, block_bytes, strong_bytes)),
        }
        Ok(())
    }
}
