//! Who may talk to whom: same user, ticket, keys by hand; and that nobody else learns anything.

use crate::common::running::Ran;
use crate::common::tree::*;
use crate::common::{Server, User, World, assert_same, is_root, text};
use std::io;
use std::net::{TcpListener, TcpStream};

fn world_with_a_file() -> World {
    let world = World::new();
    write(world.src.join("a"), "a");
    world
}

#[track_caller]
fn is_turned_away(ran: &Ran, server: &Server) {
    ran.ended_with(5);
    assert!(ran.events("connected").is_empty(), "it learns nothing: {}", ran.all());
    assert_eq!(ran.events("error").len(), 1);
    server.running.wait_for_event("client_refused");
    assert_eq!(server.running.count("client_connected"), 0);
}

/// Carries bytes from a port of its own to another, as a tunnel does. Ends with the tests' process.
fn relay_to(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let own = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (mut from, mut to) =
                    (from.try_clone().expect("a descriptor"), to.try_clone().expect("a descriptor"));
                std::thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    own
}

fn key_of(user: &User) -> String {
    let ran = user.run(&["key"]);
    ran.ended_with(0);
    assert_eq!((ran.out.len(), ran.err.len()), (1, 0), "the key and nothing else");
    ran.out[0].clone()
}

#[test]
fn the_same_user_needs_nothing_whatever_the_way() {
    let world = world_with_a_file();
    let server = world.serve(&[]);
    world.push_in_step(&server, &[]);
    write(world.src.join("b"), "b");
    world.me.push(&world.src, relay_to(server.port), &[]).ended_with(0);
    assert_same(&world.src, &world.dst);
    // Two servers of one user: each is found at its own port.
    let other = world.me.serve(&world.at("other"), &[]);
    world.me.push(&world.src, other.port, &[]).ended_with(0);
    assert_same(&world.src, &world.at("other"));
    world.push_in_step(&server, &[]);
}

#[test]
fn a_client_with_a_key_of_its_own_finds_the_server_of_its_user() {
    let world = world_with_a_file();
    let server = world.serve(&[]);
    let key = world.at("own key");
    world.push_in_step(&server, &["--identity", text(&key)]);
    assert!(key.exists(), "it is made when there is none");
}

#[test]
fn somebody_else_is_turned_away_before_learning_anything() {
    let world = world_with_a_file();
    let server = world.serve(&[]);
    let ran = world.user("eve").push(&world.src, server.port, &[]);
    ran.says("ticket").says("--server-key");
    is_turned_away(&ran, &server);
    assert!(!world.dst.join("a").exists());
}

#[test]
fn somebody_else_who_knows_the_servers_key_is_turned_away_too() {
    let world = world_with_a_file();
    let server = world.serve(&[]);
    let key = key_of(&world.me);
    let ran = world.user("eve").push(&world.src, server.port, &["--server-key", &key]);
    ran.says("--authorize").says("ticket");
    is_turned_away(&ran, &server);
}

#[test]
fn a_ticket_is_good_once_and_then_the_two_know_each_other() {
    let world = world_with_a_file();
    let server = world.serve(&[]);
    let (friend, third) = (world.user("friend"), world.user("third"));
    friend.push(&world.src, server.port, &["--ticket", &server.ticket]).ended_with(0);
    assert_same(&world.src, &world.dst);
    write(world.src.join("b"), "b");
    friend.push(&world.src, server.port, &[]).ended_with(0);
    // Giving it again does no harm to whom it was for.
    friend.push(&world.src, server.port, &["--ticket", &server.ticket]).ended_with(0);
    assert_same(&world.src, &world.dst);

    let ran = third.push(&world.src, server.port, &["--ticket", &server.ticket]);
    ran.ended_with(5).says("ticket");
    assert!(ran.events("connected").is_empty());
    // The server knows its friend after a restart too, and the ticket is still no good.
    let (port, ticket) = (server.port, server.ticket.clone());
    server.stop().ended_with(0);
    let server = world.me.serve_at(&world.dst, port, &[]);
    friend.push(&world.src, server.port, &[]).ended_with(0);
    third.push(&world.src, server.port, &["--ticket", &ticket]).ended_with(5);
}

#[test]
fn a_ticket_can_come_through_the_environment() {
    let world = world_with_a_file();
    let server = world.serve(&[]);
    let friend = world.user("friend");
    let port = server.port.to_string();
    let words = ["push", text(&world.src), "--host", "127.0.0.1", "--port", &port];
    let mut command = friend.strait(&words);
    command.env("STRAIT_TICKET", &server.ticket);
    crate::common::Running::start(command).ended().ended_with(0);
    assert_same(&world.src, &world.dst);
}

#[test]
fn keys_can_be_pinned_by_hand() {
    let world = world_with_a_file();
    let friend = world.user("friend");
    let server = world.serve(&["--authorize", &key_of(&friend)]);
    let key = key_of(&world.me);
    friend.push(&world.src, server.port, &["--server-key", &key]).ended_with(0);
    assert_same(&world.src, &world.dst);
}

#[test]
fn a_server_with_another_key_than_the_pinned_one_is_refused() {
    let world = world_with_a_file();
    let server = world.serve(&[]);
    let wrong = key_of(&world.user("somebody"));
    let ran = world.push(&server, &["--server-key", &wrong]);
    ran.says("--server-key");
    is_turned_away(&ran, &server);
}

#[test]
fn keys_and_tickets_that_are_none_are_refused_as_usage() {
    let world = world_with_a_file();
    for words in [["--server-key", "rubbish"], ["--ticket", "rubbish"], ["--server-key", "strait-key:AAAA"]] {
        world.me.push(&world.src, 1, &words).ended_with(2).says(words[0]);
    }
    let ran = world.me.run(&["serve", text(&world.dst), "--port", "0", "--authorize", "rubbish"]);
    ran.ended_with(2).says("--authorize");
}

#[test]
fn the_key_is_private_and_stays_the_same() {
    let world = World::new();
    let key = key_of(&world.me);
    assert_eq!(key_of(&world.me), key);
    assert_ne!(key_of(&world.user("other")), key);
    let file = world.me.home.join(".config/strait/identity");
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().expect("it stands").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let own = world.at("elsewhere");
    let ran = world.me.run(&["key", "--identity", text(&own)]);
    assert_ne!(ran.ended_with(0).out[0], key);
    chmod(&file, 0o644);
    world.me.run(&["key"]).ended_with(1).says("chmod");
}

#[test]
fn a_key_of_another_user_is_not_used_and_the_owner_and_the_next_step_are_named() {
    if !is_root() {
        println!("skipped: needs root to give a file away: a key of another user");
        return;
    }
    let world = world_with_a_file();
    key_of(&world.me);
    let own = world.me.home.join(".config/strait/identity");
    let named = write(world.at("named"), std::fs::read(&own).expect("it was made"));
    chmod(&named, 0o600);
    for key in [&own, &named] {
        std::os::unix::fs::chown(key, Some(65_534), None).expect("root may do that");
    }
    let named = text(&named);
    let serve = ["serve", text(&world.dst), "--host", "127.0.0.1", "--port", "0"];
    let ways: [&[&str]; 4] = [
        &["key"],
        &["key", "--identity", named],
        &["push", text(&world.src), "--host", "127.0.0.1", "--port", "1", "--identity", named],
        &[&serve[..], &["--identity", named]].concat(),
    ];
    for words in ways {
        let ran = world.me.run(words);
        ran.ended_with(1).says("belongs to user 65534, not to user 0").says("chown 0");
    }
    assert!(!world.dst.exists(), "nothing was begun");
}

/// The ways in which some bytes may be written down.
fn written_forms(bytes: &[u8], base64: &str) -> [String; 4] {
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let listed = |bytes: &[u8]| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    [base64.to_owned(), hex, listed(bytes), listed(base64.as_bytes())]
}

/// The bytes of base64 without an end, of either alphabet.
fn bytes_of(base64: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' | b'-' => 62,
        _ => 63,
    };
    let join = |group: &[u8]| group.iter().fold(0_u32, |bits, c| bits << 6 | u32::from(value(*c)));
    base64
        .as_bytes()
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|group| join(group).to_be_bytes().into_iter().skip(1))
        .collect()
}

#[test]
fn neither_ticket_nor_private_key_is_written_to_a_log() {
    let world = world_with_a_file();
    let friend = world.user("friend");
    let server = world.serve(&["-v"]);
    let mut command = friend.strait(&["push", text(&world.src), "--host", "127.0.0.1", "--json", "-vv"]);
    command.args(["--port", &server.port.to_string()]).env("STRAIT_TICKET", &server.ticket);
    let pushed = crate::common::Running::start(command).ended();
    pushed.ended_with(0);
    let ticket = server.ticket.split_once(':').expect("a head").1.to_owned();
    let served = server.stop();
    let printed = |line: &&String| line.contains("ticket_line");
    assert_eq!(served.out.iter().filter(printed).count(), 1);
    let said: Vec<String> = [&served.err, &pushed.out, &pushed.err].into_iter().flatten().cloned().collect();
    let said = [said, served.out.iter().filter(|line| !printed(line)).cloned().collect()].concat().join("\n");
    // The secret is what follows the server's key; of a private key, what follows its head.
    let mut secrets = vec![written_forms(&bytes_of(&ticket[44..]), &ticket[44..])];
    for user in [&world.me, &friend] {
        let pem = std::fs::read_to_string(user.home.join(".config/strait/identity")).expect("it was made");
        let body = pem.lines().nth(1).expect("a body").to_owned();
        secrets.push(written_forms(&bytes_of(&body[24..]), &body[24..]));
    }
    for form in secrets.iter().flatten() {
        assert!(!said.contains(form), "{form} in:\n{said}");
    }
}

#[test]
fn what_is_no_client_is_dropped_and_the_server_goes_on() {
    let world = world_with_a_file();
    let server = world.serve(&[]);
    for bytes in [&b"GET / HTTP/1.0\r\n\r\n"[..], &noise(1, 5_000), b""] {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
        let _ = io::Write::write_all(&mut stream, bytes);
    }
    server.running.wait_for_nth("client_refused", 3);
    world.push_in_step(&server, &[]);
}
