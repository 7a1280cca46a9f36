//! Tests that lose packets: run again in a network namespace of their own, which is gone with its last process, also
//! when the test fails.

use super::mounts::{Place, lacking, run, run_again, run_quietly};
use std::process::Command;

const INSIDE: &str = "STRAIT_OWN_NET";

/// Runs the test of this name once more with a loopback of its own, whose packets are as large as on an Ethernet.
pub fn own_net(test: &str) -> Place {
    if std::env::var_os(INSIDE).is_some() {
        // One packet is one segment: the kernel would carry dozens as one over a loopback, and lose them together.
        run("ip", &["link", "set", "lo", "mtu", "1500", "gso_max_segs", "1", "gso_max_size", "1500", "up"]);
        return Place::Inside;
    }
    if let Some(lacks) = lacking(&["unshare", "ip", "iptables"]) {
        println!("skipped: needs {lacks}");
        return Place::Done;
    }
    let rule = ["iptables", "-A", "INPUT"].into_iter().chain(ONE_IN_TWENTY).chain(DROP).collect::<Vec<_>>();
    let may_drop = format!("PATH=$PATH:/usr/sbin:/sbin; {}", rule.join(" "));
    if !run_quietly(unshare().args(["sh", "-c", &may_drop])) {
        println!("skipped: needs the right to drop packets in a network namespace");
        return Place::Done;
    }
    run_again(test, unshare().env(INSIDE, "1"));
    Place::Done
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.arg("--net");
    command
}

const ONE_IN_TWENTY: [&str; 6] = ["-m", "statistic", "--mode", "random", "--probability", "0.05"];
const DROP: [&str; 2] = ["-j", "DROP"];

/// From now on one packet in twenty is lost, in each direction.
pub fn lose_one_in_twenty() {
    run("iptables", &[&["-A", "INPUT"][..], &ONE_IN_TWENTY, &DROP].concat());
}

/// From now on every packet is lost, and nobody is told.
pub fn lose_all() {
    run("iptables", &[&["-A", "INPUT"][..], &DROP].concat());
}

/// From now on none is.
pub fn lose_none() {
    run("iptables", &["-F", "INPUT"]);
}

/// Packets lost by the rule that is in force.
pub fn n_lost() -> u64 {
    let listed = run("iptables", &["-L", "INPUT", "-v", "-x", "-n"]);
    let rule = listed.lines().find(|line| line.contains("DROP")).expect("there is a rule");
    rule.split_whitespace().next().and_then(|n| n.parse().ok()).expect("its packets come first")
}
