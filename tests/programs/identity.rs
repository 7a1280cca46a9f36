//! Who may talk to whom: same user, ticket, keys by hand; and that nobody else learns anything.

use crate::common::running::Ran;
use crate::common::tree::*;
use crate::common::{Server, User, World, assert_same, text};
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
