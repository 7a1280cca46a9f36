//! What a user pastes: tickets and destinations. Nothing panics, a ticket is written as it was read, and
//! no host or user begins like an option of ssh.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use strait::net::destination::Destination;
use strait::net::{PublicKey, Ticket};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(ticket) = text.parse::<Ticket>() {
            let again: Ticket = ticket.to_string().parse().expect("our own form is read");
            assert_eq!((again.server_key, again.secret.0), (ticket.server_key, ticket.secret.0));
            assert!(!format!("{ticket:?}").contains(&ticket.to_string()), "a log would show the secret");
        }
        if let Ok(key) = text.parse::<PublicKey>() {
            assert_eq!(key.to_string().parse::<PublicKey>().as_ref().map(|key| key.0), Ok(key.0));
        }
    }
    if let Ok(Destination::Ssh(ssh)) = Destination::parse(OsStr::from_bytes(bytes)) {
        assert!(!ssh.host.starts_with('-') && !ssh.host.is_empty());
        assert!(ssh.user.as_ref().is_none_or(|user| !user.starts_with('-')));
        assert!(!ssh.path.is_empty());
    }
});
