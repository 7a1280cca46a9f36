//! Small files that changed: before they travel, the receiver is asked to name the blocks of what it
//! holds, many files in one question, coarse blocks first and then fine ones of what did not match.
//!
//! Two round trips for a batch, while others flow. It is not done for a few files: there the round trips
//! cost more than the bytes.

use super::{Breach, Sender, Want};
use crate::delta::small::{Likeness, NAME_BYTES, Part, n_names};
use crate::model::limits::*;
use crate::model::{Kind, List, Node};
use crate::plan::change::Change;
use crate::proto::message::*;

/// Changed small files of a plan together, from which on asking pays.
const ASKS_FROM_BYTES: u64 = 128 * KIB as u64;
/// A file from this size on.
const FILE_FROM_BYTES: u64 = KIB as u64;
/// A basis so many times as large as the target is not asked about: its names would cost more.
const BASIS_TIMES: u64 = 4;
/// Batches that wait for answers; they hold their files.
pub(super) const ASKING: usize = 24;
/// Bytes of one question beside its paths: what does not fit is not asked a second time.
const PARTS_BYTES: usize = OP_BYTES / 2;
/// Bytes of one range in a question, at most.
const PART_BYTES: usize = 10;

/// Files that wait for the names of blocks.
pub(super) struct Asking {
    halves: Vec<Half>,
    /// Of which of them, and what.
    asked: Vec<(usize, Vec<Part>, u32)>,
    is_fine: bool,
}

impl Asking {
    /// The files that wait.
    pub(super) fn wants(&self) -> impl Iterator<Item = &Want> {
        self.halves.iter().map(|half| &half.want)
    }
}

/// A file that was read, and what of it the destination holds.
struct Half {
    want: Want,
    bytes: Vec<u8>,
    /// `None` when its basis is not there.
    likeness: Option<Likeness>,
}

impl Sender {
    /// Whether the small files of this plan are worth asking about.
    pub(super) fn judge_asking(&mut self, changes: &[Change]) {
        let small = changes.iter().map(|change| match change {
            Change::File { path, size, .. }
                if *size <= PACK_FILE_BYTES && self.expected.get(path).is_some() =>
            {
                *size
            }
            _ => 0,
        });
        self.asks_names = self.capabilities & CAN_RUNS != 0 && small.sum::<u64>() >= ASKS_FROM_BYTES;
    }

    /// Size of what the destination holds in the place of a small file, if its blocks are to be named.
    pub(super) fn basis_to_ask(&self, want: &Want) -> Option<u64> {
        if !self.asks_names || want.leaf.kind != Kind::File || want.leaf.size < FILE_FROM_BYTES {
            return None;
        }
        let held = self.acknowledged.as_ref()?.get(&want.path).and_then(Node::as_leaf)?;
        // What is on its way to the path would be the basis by then.
        let is_at_rest = self.expected.get(&want.path).and_then(Node::as_leaf) == Some(held);
        let fits = held.kind == Kind::File
            && (FILE_FROM_BYTES..=PACK_FILE_BYTES.min(BASIS_TIMES * want.leaf.size)).contains(&held.size);
        (is_at_rest && fits).then_some(held.size)
    }

    /// Asks for the coarse blocks of the bases of these files: what was read, and the size of the basis.
    pub(super) fn ask_names(&mut self, files: Vec<(Want, Vec<u8>, u64)>) {
        let halves: Vec<Half> = files
            .into_iter()
            .map(|(want, bytes, basis_size)| Half { want, bytes, likeness: Some(Likeness::new(basis_size)) })
            .collect();
        let question = |(index, half): (usize, &Half)| {
            let (parts, block_bytes) = half.likeness.as_ref()?.first_question();
            Some((index, parts, block_bytes))
        };
        let asked = halves.iter().enumerate().filter_map(question).collect();
        self.send_question(Asking { halves, asked, is_fine: false });
    }

    fn send_question(&mut self, asking: Asking) {
        let request = self.next_request;
        self.next_request += 1;
        let files = asking.asked.iter().map(|(index, parts, block_bytes)| AskedFile {
            path: asking.halves[*index].want.path.clone(),
            parts: List::new(parts.clone()),
            block_bytes: *block_bytes,
        });
        let files = List::new(files.collect());
        self.asking.insert(request, asking);
        self.send(Up::AskBlocks { request, files });
    }

    /// The names that were asked for came.
    pub(super) fn names(
        &mut self,
        request: RequestId,
        answers: List<Option<BlockNames>, PACK_FILES>,
    ) -> Result<(), Breach> {
        let Some(mut asking) = self.asking.remove(&request) else {
            return Err(Breach("an answer to a question that was not asked".into()));
        };
        let asked = std::mem::take(&mut asking.asked);
        if asked.len() != answers.len() {
            return Err(Breach("an answer for other files than were asked for".into()));
        }
        for ((index, parts, block_bytes), answer) in asked.into_iter().zip(answers) {
            let half = &mut asking.halves[index];
            match answer {
                Some(BlockNames(names)) if names.len() == answer_bytes(&parts, block_bytes) => {
                    if let Some(likeness) = &mut half.likeness {
                        likeness.learn(&half.bytes, &parts, block_bytes, &names);
                    }
                }
                Some(_) => return Err(Breach("more or fewer names than were asked for".into())),
                None => half.likeness = None,
            }
        }
        if !std::mem::replace(&mut asking.is_fine, true) {
            asking.asked = fine_questions(&asking.halves);
            if !asking.asked.is_empty() {
                self.send_question(asking);
                return Ok(());
            }
        }
        self.send_named(asking.halves);
        Ok(())
    }

    fn send_named(&mut self, halves: Vec<Half>) {
        let files = halves.into_iter().map(|half| {
            let runs = half.likeness.and_then(|likeness| likeness.runs(&half.bytes)).map(PackBody::Runs);
            let runs = runs.filter(|runs| runs.content_bytes() < half.want.leaf.size * 7 / 8);
            (half.want, runs.unwrap_or(PackBody::Whole(half.bytes)))
        });
        self.send_pack(files.collect());
    }
}

/// What is still missing, as much as fits a message.
fn fine_questions(halves: &[Half]) -> Vec<(usize, Vec<Part>, u32)> {
    let mut questions = Vec::new();
    let (mut question_bytes, mut names_bytes) = (0, 0);
    for (index, half) in halves.iter().enumerate() {
        let Some(likeness) = &half.likeness else { continue };
        let (parts, block_bytes) = likeness.next_question(&half.bytes);
        question_bytes += parts.len() * PART_BYTES;
        names_bytes += answer_bytes(&parts, block_bytes) + PART_BYTES;
        if question_bytes > PARTS_BYTES || names_bytes > OP_BYTES {
            break;
        }
        if !parts.is_empty() {
            questions.push((index, parts, block_bytes));
        }
    }
    questions
}

fn answer_bytes(parts: &[Part], block_bytes: u32) -> usize {
    parts.iter().map(|(_, len)| n_names(*len, block_bytes) * NAME_BYTES).sum()
}
