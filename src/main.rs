//! The command line becomes one verb, and the verb's end becomes the exit code. Nothing else happens here.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    strait::cli::heaps::share(std::env::args_os());
    ExitCode::from(strait::cli::run(std::env::args_os()).exit_code())
}
