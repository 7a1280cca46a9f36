//! What a transfer leans on: chosen, and chosen anew after a refusal.

use super::transfer::Stream;
use super::{KnownBasis, Sender, Want};
use crate::delta::ops::Basis;
use crate::model::{ContentHash, Kind, Leaf, RelPath, Tag};
use crate::proto::message::{PackBody, Refusal};
use crate::proto::partial::Partial;
use crate::proto::receiver::RESUMED;

/// From which size on the name of a content is shorter than what a small file squeezes to, about.
const SAME_FROM_BYTES: u64 = 200;

/// On what the next transfer of a file may lean. A refusal takes away what it was about, not the rest; each
/// takes away something, so that the last try leans on nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaning {
    /// The version of its path, the same content elsewhere, what came of an earlier transfer.
    pub on_announced: bool,
    /// What its delta finds in other contents while it is made.
    pub on_chosen: bool,
}

impl Leaning {
    const FREELY: Self = Self { on_announced: true, on_chosen: true };
    const ON_NOTHING: Self = Self { on_announced: false, on_chosen: false };
}

impl Sender {
    /// On what the next transfer of a path may lean.
    pub(super) fn leaning(&self, path: &RelPath) -> Leaning {
        self.leanings.get(path).copied().unwrap_or(Leaning::FREELY)
    }

    /// What came of an earlier transfer of this very content, to go on from; not where the receiver
    /// holds the whole of it.
    pub(super) fn resumed_partial(&mut self, want: &Want, bases: &[KnownBasis]) -> Option<Partial> {
        let hash = want.leaf.content.whole()?;
        let is_held = bases.iter().any(|known| known.hash == Some(hash));
        if is_held || !self.leaning(&want.path).on_announced {
            return None;
        }
        self.partials.take(&hash, want.leaf.size)
    }

    /// The contents that a file is most like: the same content elsewhere, else what its path holds and what
    /// came of a version that was given up.
    pub(super) fn choose_bases(&mut self, want: &Want) -> Vec<KnownBasis> {
        let Some(hash) = want.leaf.content.whole() else { return Vec::new() };
        if !self.leaning(&want.path).on_announced {
            return Vec::new();
        }
        if self.holds(&hash) {
            let basis = Basis::Content { hash };
            return vec![KnownBasis { basis, hash: Some(hash), size: want.leaf.size }];
        }
        let partial = self.partials.basis(&want.path).filter(|partial| partial.hash != Some(hash));
        self.old_version(want).into_iter().chain(partial).collect()
    }

    /// What the path holds; what moves that are on their way bring there is counted in.
    fn old_version(&self, want: &Want) -> Option<KnownBasis> {
        let leaf = *self.expected.get(&want.path)?.as_leaf()?;
        if leaf.kind != Kind::File || leaf.size == 0 || leaf.content.tag() == Tag::UNKNOWN {
            return None;
        }
        let basis = match leaf.content.whole() {
            Some(hash) => Basis::Content { hash },
            None => Basis::Path { path: want.path.clone(), tag: leaf.content.tag() },
        };
        Some(KnownBasis { basis, hash: leaf.content.whole(), size: leaf.size })
    }

    /// The body of a small file whose content the destination holds, under whatever name.
    pub(super) fn held_elsewhere(&mut self, leaf: &Leaf) -> Option<PackBody> {
        let hash =
            leaf.content.whole().filter(|_| leaf.kind == Kind::File && leaf.size >= SAME_FROM_BYTES)?;
        let is_held = self.held_there.surely_holds(self.acknowledged.as_ref(), &hash);
        is_held.then_some(PackBody::Same { basis: Basis::Content { hash } })
    }

    fn holds(&mut self, hash: &ContentHash) -> bool {
        self.held_there.holds(self.acknowledged.as_ref(), hash)
    }

    /// A basis was gone, or led to another content: the next try has the others, the last one none.
    pub(super) fn basis_failed(&mut self, stream: &Stream, why: &Refusal) {
        let index = match why {
            // What was to be resumed is forgotten already.
            Refusal::BasisGone { index: RESUMED } => return,
            Refusal::BasisGone { index } => Some(*index),
            _ => None,
        };
        let announced = stream.announced(index.unwrap_or(0));
        match announced {
            Some(Basis::Partial { of, .. }) if index.is_some() => {
                return self.partials.forget(*of);
            }
            Some(Basis::Content { hash }) => {
                let was_guess = self.held_there.is_not_there(hash);
                if was_guess && stream.brings(hash) {
                    return;
                }
            }
            _ => {}
        }
        let leaning = self.leaning(stream.path());
        let left = match (index, announced) {
            (Some(_), Some(_)) => Leaning { on_announced: false, ..leaning },
            // Beyond what was announced: one of those that the delta chose.
            (Some(_), None) if leaning.on_chosen => Leaning { on_chosen: false, ..leaning },
            // Which of them led to another content is not known.
            _ => Leaning::ON_NOTHING,
        };
        self.leanings.insert(stream.path().clone(), left);
    }

    /// Whether a transfer that was refused leant on nothing at all, so that another try would be the same again.
    pub(super) fn leant_on_nothing(&self, stream: &Stream) -> bool {
        !stream.has_basis() && self.leaning(stream.path()) == Leaning::ON_NOTHING
    }
}
