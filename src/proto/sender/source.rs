//! The source as the machine takes it: what the destination can keep of it, and what it cannot hold.

use super::{News, Sender, Source};
use crate::model::{Node, Tree};
use crate::plan::project::{Kept, left_out, project};
use crate::plan::scope::Verdict;
use crate::proto::message::{Keeps, Refusal};

impl Sender {
    /// The source was scanned, or scanned again; each scan ends with `InStep` once more.
    pub fn source(&mut self, source: Source, now_ms: u64) {
        self.now_ms = now_ms;
        if self.config.once {
            self.first_scan.get_or_insert_with(|| source.tree.clone());
        }
        self.scanned = Some(source);
        self.awaits_source = false;
        self.told = None;
        self.project();
        self.load_acknowledged();
        self.move_on();
    }

    /// Takes the source as the destination can keep it.
    pub(super) fn project(&mut self) {
        let Some(scanned) = &self.scanned else { return };
        let mut source = scanned.clone();
        self.left_out = left_out(&source.tree, &kept(&self.keeps));
        source.tree = project(&source.tree, &kept(&self.keeps));
        self.set_aside.retain(|path, leaf| {
            leaf.is_none() || leaf.as_ref() == source.tree.get(path).and_then(Node::as_leaf)
        });
        source.untouched.extend(self.set_aside.keys().cloned());
        self.source = Some(source);
        self.replan = true;
    }

    /// What the cache holds for this destination, if anything.
    pub fn acknowledged(&mut self, tree: Option<Tree>, now_ms: u64) {
        self.now_ms = now_ms;
        // Of another scope: what is out of this one would look deleted. The source itself is in scope.
        let source = self.source.as_ref().map(|source| source.tree.root());
        let is_source = |tree: &Tree| source.is_some_and(|source| tree.root().has_same_entries(source));
        self.acknowledged = tree.filter(|tree| is_source(tree) || self.is_in_scope(tree));
        self.has_loaded = true;
        self.move_on();
    }

    pub(super) fn is_in_scope(&self, tree: &Tree) -> bool {
        let mut is_in_scope = true;
        tree.for_each(&mut |path, node| {
            is_in_scope &= self.config.scope.verdict(path, node.as_dir().is_some()) == Verdict::Take;
        });
        is_in_scope
    }

    /// Names what the destination cannot hold, or does not while nothing is deleted there, each once.
    pub(super) fn name_left_out(&mut self) {
        let in_the_way = self.in_the_way();
        self.named_left_out.retain(|path| self.left_out.contains(path) || in_the_way.contains(path));
        for path in in_the_way {
            if self.named_left_out.insert(path.clone()) {
                let why =
                    "something of another kind has its name at the destination, where nothing is deleted";
                self.tell(News::Unreadable { path, why: why.into() });
            }
        }
        for path in self.left_out.clone() {
            if self.named_left_out.insert(path.clone()) {
                self.tell(News::Refused { path, why: Refusal::KindUnfit });
            }
        }
    }
}

pub(super) fn kept(keeps: &Keeps) -> Kept {
    Kept { time_step_ns: keeps.time_step_ns, mode_mask: keeps.mode_mask, symlinks: keeps.symlinks }
}
