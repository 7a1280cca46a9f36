//! A stand-in for ssh: it runs on this machine what ssh would run on another.

use super::running::{Ran, Running};
use super::tree::{chmod, write};
use super::{World, text};
use std::path::PathBuf;
use std::process::Command;

/// A script that stands in for ssh and writes down its words.
pub fn stand_in(world: &World) -> PathBuf {
    stand_in_below(world, "")
}

/// The same; what runs over there is run by `below`, words of a shell.
pub fn stand_in_below(world: &World, below: &str) -> PathBuf {
    let bin = world.me.program().parent().expect("it lies in a directory").to_owned();
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" > '{}'\nshift\nPATH='{}':$PATH exec {below} sh -c \"$*\"\n",
        text(&world.at("words")),
        text(&bin)
    );
    let path = write(world.at("bin/ssh"), script);
    chmod(&path, 0o755);
    path
}

/// A command that finds the stand-in on the PATH as `ssh`.
pub fn command(world: &World, words: &[&str]) -> Command {
    if !world.at("bin/ssh").exists() {
        stand_in(world);
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = world.me.strait(words);
    command.env("PATH", format!("{}:{path}", text(&world.at("bin"))));
    command
}

/// Runs it to its end.
pub fn over_ssh(world: &World, words: &[&str]) -> Ran {
    Running::start(command(world, words)).ended()
}
