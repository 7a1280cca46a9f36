//! The built program as its users run it: over TLS on loopback, on local paths and through a stand-in for ssh.
//! Each test has users, keys, ports and directories of its own.

mod common;

#[path = "programs/answers.rs"]
mod answers;
#[path = "programs/contents.rs"]
mod contents;
#[path = "programs/drift.rs"]
mod drift;
#[path = "programs/elsewhere.rs"]
mod elsewhere;
#[path = "programs/errors.rs"]
mod errors;
#[path = "programs/identity.rs"]
mod identity;
#[path = "programs/moves.rs"]
mod moves;
#[path = "programs/options.rs"]
mod options;
#[path = "programs/serve.rs"]
mod serve;
#[path = "programs/status.rs"]
mod status;
#[path = "programs/watch.rs"]
mod watch;
#[path = "programs/ways.rs"]
mod ways;
