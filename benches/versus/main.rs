//! strait and rsync side by side, on made data, over links of chosen rate and delay.
//!
//!     cargo bench --bench versus -- [--link NAME] [--case NAME] [--runs N] [--size MIB] [--out DIR] [--strait FILE]
//!
//! Each case is a directory before and after a change. The destination begins as a copy of "before"; the
//! one synchronisation to "after" is timed, its bytes counted by a relay through which every connection
//! goes, and the destination compared with the source. Three programs: `rsync -az` to its daemon, strait
//! by a client that made the last push too, and strait by one that knows nothing ("cold"). strait
//! encrypts, verifies and syncs to disk; rsync's daemon does none of these.
//!
//! A table and two plots go to `DIR`, the table to the terminal too. Without rsync strait runs alone.

mod cases;
mod peers;
mod plot;
mod relay;

use cases::{CASES, Case};
use peers::{PEERS, Peer, Run};
use relay::{LINKS, Link};
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// What was asked for.
struct Options {
    links: Vec<&'static Link>,
    cases: Vec<&'static Case>,
    runs: usize,
    size_bytes: usize,
    out: PathBuf,
    is_test: bool,
}

/// The median of some runs.
pub struct Figure {
    link: &'static str,
    case: &'static str,
    peer: Peer,
    wire_bytes: u64,
    seconds: f64,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(options) => {
            compare(&options);
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("versus: {text}");
            ExitCode::from(2)
        }
    }
}

fn compare(options: &Options) {
    let has_rsync = peers::rsync_version().is_some();
    if !has_rsync {
        println!("versus: rsync is not installed; strait runs alone");
    }
    let mut figures = Vec::new();
    for &link in &options.links {
        for &case in &options.cases {
            for peer in PEERS.into_iter().filter(|peer| has_rsync || *peer != Peer::Rsync) {
                figures.push(measure(link, case, peer, options));
            }
        }
    }
    let table = table(&figures, options);
    println!("{table}");
    if options.is_test {
        return;
    }
    let written = std::fs::create_dir_all(&options.out)
        .and_then(|()| std::fs::write(options.out.join("versus.md"), &table))
        .and_then(|()| std::fs::write(options.out.join("bytes.svg"), plot::bytes(&figures)))
        .and_then(|()| std::fs::write(options.out.join("seconds.svg"), plot::seconds(&figures)));
    match written {
        Ok(()) => println!("table and plots are in {}", options.out.display()),
        Err(error) => eprintln!("versus: {}: {error}", options.out.display()),
    }
}

fn measure(link: &'static Link, case: &'static Case, peer: Peer, options: &Options) -> Figure {
    let mut runs: Vec<Run> =
        (0..options.runs).map(|_| peers::run(peer, case, link, options.size_bytes)).collect();
    runs.sort_by(|left, right| left.seconds.total_cmp(&right.seconds));
    let Run { seconds, wire_bytes } = runs[runs.len() / 2];
    eprintln!(
        "{:>6}  {:<8} {:<12} {seconds:>8.2} s  {:>10} B",
        link.name,
        case.name,
        peer.name(),
        wire_bytes
    );
    Figure { link: link.name, case: case.name, peer, wire_bytes, seconds }
}

/// The figures as Markdown, the better of each row in bold.
fn table(figures: &[Figure], options: &Options) -> String {
    let mut out = String::new();
    let rsync = peers::rsync_version().unwrap_or_else(|| "no rsync".into());
    let strait = peers::strait_version();
    let _ = writeln!(
        out,
        "{strait}; {rsync}; {} MiB a case, median of {}.\n",
        options.size_bytes >> 20,
        options.runs
    );
    let _ = writeln!(out, "| link | case | program | KiB on the wire | seconds |\n|---|---|---|--:|--:|");
    for figure in figures {
        let rivals = || figures.iter().filter(|f| (f.link, f.case) == (figure.link, figure.case));
        let least_bytes = rivals().all(|rival| figure.wire_bytes <= rival.wire_bytes);
        let least_time = rivals().all(|rival| figure.seconds <= rival.seconds);
        let bold = |text: String, is_best| if is_best { format!("**{text}**") } else { text };
        let kib = bold(format!("{:.1}", figure.wire_bytes as f64 / 1024.0), least_bytes);
        let seconds = bold(format!("{:.2}", figure.seconds), least_time);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {kib} | {seconds} |",
            figure.link,
            figure.case,
            figure.peer.name()
        );
    }
    out.push('\n');
    for case in &options.cases {
        let _ = writeln!(out, "- **{}**: {}", case.name, case.about);
    }
    out
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        links: LINKS.iter().collect(),
        cases: CASES.iter().collect(),
        runs: 3,
        size_bytes: 64 << 20,
        out: PathBuf::from("target/versus"),
        is_test: false,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number = |text: String| {
            text.parse::<usize>().ok().filter(|n| (1..=4_096).contains(n)).ok_or(format!("{text}: 1 to 4096"))
        };
        match word.as_str() {
            "--link" => {
                let name = value()?;
                options.links.retain(|link| link.name == name);
            }
            "--case" => {
                let name = value()?;
                options.cases.retain(|case| case.name == name);
            }
            "--runs" => options.runs = number(value()?)?,
            "--size" => options.size_bytes = number(value()?)? << 20,
            "--strait" => drop(peers::STRAIT.set(value()?.into())),
            "--out" => options.out = value()?.into(),
            "--test" => {
                (options.is_test, options.runs, options.size_bytes) = (true, 1, 1 << 20);
                options.links.truncate(1);
            }
            // What cargo says to every bench.
            "--bench" => {}
            other => return Err(format!("{other} is not known; see the head of benches/versus/main.rs")),
        }
    }
    if options.links.is_empty() || options.cases.is_empty() {
        return Err("no such link or case".into());
    }
    Ok(options)
}
