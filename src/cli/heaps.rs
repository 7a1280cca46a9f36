//! Few heaps for many threads, so that what one thread frees another can use.
//!
//! glibc gives each thread a heap of its own, up to eight for each core, and takes back little of what is freed
//! there. A push has some forty short threads: with two heaps it takes less than half the memory, and a fifth less of
//! the processor for pages that need not be made anew (`docs/architecture.md`, "Heaps", has the figures).

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// glibc reads it before `main`, and without unsafe code there is no other way to tell it.
const HEAPS_VARIABLE: &str = "MALLOC_ARENA_MAX";
/// One for those who wait for another.
const HEAPS: &str = "2";
/// From so many bytes on a piece of memory is the system's again when it is freed. Left alone glibc raises this to 32 MiB,
/// and the tables of a compressor that changes its level tear holes into the heap.
const OWN_PAGES_VARIABLE: &str = "MALLOC_MMAP_THRESHOLD_";
const OWN_PAGES_BYTES: &str = "1048576";
/// From so many free bytes at the end of the heap on these are. Once the other is given this stays at 128 KiB, and pages that
/// are wanted again at once go and come a hundred times in one push.
const KEPT_PAGES_VARIABLE: &str = "MALLOC_TRIM_THRESHOLD_";
const KEPT_PAGES_BYTES: &str = "8388608";

/// Begins this program again, in this process, where nobody has said how many heaps it is to have.
///
/// Returns where that was said, where the library is not glibc, and where the program cannot be begun again:
/// memory is all that it costs.
pub fn share(words: impl IntoIterator<Item = OsString>) {
    let is_told = std::env::var_os(HEAPS_VARIABLE).is_some();
    if is_told || cfg!(not(target_env = "gnu")) {
        return;
    }
    let mut words = words.into_iter();
    let (Ok(program), Some(name)) = (std::env::current_exe(), words.next()) else { return };
    let mut again = Command::new(program);
    again.arg0(name).args(words).env(HEAPS_VARIABLE, HEAPS);
    again.env(OWN_PAGES_VARIABLE, OWN_PAGES_BYTES).env(KEPT_PAGES_VARIABLE, KEPT_PAGES_BYTES);
    let error = again.exec();
    tracing::debug!(%error, "every thread keeps a heap of its own");
}
