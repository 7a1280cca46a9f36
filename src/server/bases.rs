//! What a transfer leans on, opened: bases as the destination holds them, if they are still what was said.

use crate::delta::rebuild::Bases;
use crate::delta::sieve::ReadAt;
use crate::disk::{Destination, File};
use crate::model::{Leaf, RelPath};
use crate::net::squeeze::expand_over;
use std::io;

/// The open bases of one transfer, by number.
pub struct OpenBases {
    pub files: Vec<File>,
    /// Holes of the first few bases, as they are asked for.
    holes: Vec<Vec<(u64, u64)>>,
}

impl OpenBases {
    pub fn new(files: Vec<File>) -> Self {
        Self { files, holes: Vec::new() }
    }
}

impl Bases for OpenBases {
    fn len(&self, basis: u32) -> Option<u64> {
        self.files.get(basis as usize).map(|file| file.opened().size)
    }

    fn hole_at(&mut self, basis: u32, offset: u64) -> u64 {
        while self.holes.len() <= basis as usize && self.holes.len() < self.files.len() {
            let file = &self.files[self.holes.len()];
            let holes = if file.opened().has_holes() { file.holes().unwrap_or_default() } else { Vec::new() };
            self.holes.push(holes);
        }
        let Some(holes) = self.holes.get(basis as usize) else { return 0 };
        let next = holes.partition_point(|(at, len)| at + len <= offset);
        let hole = holes.get(next).filter(|(at, _)| *at <= offset);
        hole.map_or(0, |(at, len)| at + len - offset)
    }

    fn read_at(&mut self, basis: u32, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.files.get(basis as usize) {
            Some(file) => file.read_at(buf, offset),
            None => Ok(0),
        }
    }

    fn content(&self, basis: u32, offset: u64) -> Option<(&dyn ReadAt, u64)> {
        let file = self.files.get(basis as usize)?;
        let holes = self.holes.get(basis as usize)?;
        let next = holes.get(holes.partition_point(|(at, len)| at + len <= offset));
        let end = next.map_or(file.opened().size, |(at, _)| *at);
        Some((file, end.saturating_sub(offset)))
    }

    fn expand(&self, prefix: &[u8], frame: &[u8], target_bytes: usize) -> Option<Vec<u8>> {
        expand_over(prefix, frame, target_bytes)
    }
}

/// Opens a file if it is still what the tree says.
pub fn open_file(destination: &Destination, path: &RelPath, leaf: &Leaf) -> Option<File> {
    let file = destination.root().open_file(path).ok()?;
    let stat = file.opened();
    let is_same = stat.size == leaf.size && stat.mtime == leaf.meta.mtime;
    is_same.then_some(file)
}

/// Reads until the buffer is full or the file ends.
pub fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match file.read_at(&mut buffer[n..], offset + n as u64)? {
            0 => break,
            more => n += more,
        }
    }
    Ok(n)
}
