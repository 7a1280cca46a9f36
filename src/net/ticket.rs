//! One-time tickets: how a first connection from another machine is let in.
//!
//! A ticket carries the server's key, so the client knows whom it talks to before it says
//! anything, and a secret that the server accepts once within fifteen minutes. The server keeps
//! its open tickets in memory only: a restart voids them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::base64::{self, Alphabet};
use super::identity::PublicKey;
use crate::model::limits::{OPEN_TICKETS, TICKET_LIFE_MS, WRONG_PERIOD_MS, WRONG_TICKETS};

const PREFIX: &str = "strait-ticket:";
const TICKET_LIFE: Duration = Duration::from_millis(TICKET_LIFE_MS);
const WRONG_PERIOD: Duration = Duration::from_millis(WRONG_PERIOD_MS);

/// Sixteen random bytes that prove something to the server. Its `Debug` text hides them.
#[derive(Clone, Copy)]
pub struct Secret(pub [u8; 16]);

/// What `serve` prints and `--ticket` (or `STRAIT_TICKET`) takes: the server's key and a
/// one-time secret. Text form: `strait-ticket:` and 64 characters of base64url.
#[derive(Clone, Copy)]
pub struct Ticket {
    pub server_key: PublicKey,
    pub secret: Secret,
}

/// A ticket was not accepted. Class: session; the text is fit to be sent to the client.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TicketError {
    #[error(
        "this ticket has been used, has expired (tickets live 15 minutes) or was never given out; \
             run `strait serve` again, or `serve --authorize KEY` with what `strait key` prints here"
    )]
    Unknown,
    #[error("too many wrong tickets; wait a minute and try again")]
    TooMany,
}

/// A text is not the text form of a ticket. Class: fatal. The text is not repeated: it may be
/// most of a secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "this is not a whole ticket: it begins with `strait-ticket:` and has 64 characters after that; \
         copy the whole line that `strait serve` printed"
)]
pub struct TicketFormError;

impl Secret {
    /// Draws a new secret.
    ///
    /// # Panics
    /// When the system's random generator fails, without which nothing here is safe.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator works");
        Self(bytes)
    }

    /// Compares in constant time.
    pub fn matches(&self, other: &[u8; 16]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, other).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Ticket {
    /// Draws a ticket for the server with this key; [`TicketBook::issue`] makes it valid there.
    pub fn new(server_key: PublicKey) -> Self {
        Self { server_key, secret: Secret::random() }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Ticket({}, ..)", self.server_key)
    }
}

/// The whole ticket with its secret: for the line that the user copies, not for logs.
impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let bytes = [&self.server_key.0[..], &self.secret.0].concat();
        write!(f, "{PREFIX}{}", base64::encode(&bytes, Alphabet::Url))
    }
}

impl FromStr for Ticket {
    type Err = TicketFormError;

    fn from_str(text: &str) -> Result<Self, TicketFormError> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(TicketFormError)?;
        let bytes = base64::decode(body, Alphabet::Url).ok_or(TicketFormError)?;
        let (key, secret) = bytes.split_at_checked(32).ok_or(TicketFormError)?;
        Ok(Self {
            server_key: PublicKey(key.try_into().map_err(|_| TicketFormError)?),
            secret: Secret(secret.try_into().map_err(|_| TicketFormError)?),
        })
    }
}

/// The server's open tickets.
#[derive(Debug, Default)]
pub struct TicketBook {
    open: Vec<(Secret, Instant)>,
    wrong: u32,
    wrong_since: Option<Instant>,
}

impl TicketBook {
    /// Draws a ticket that is good for one client within its life from `now`.
    pub fn issue(&mut self, server_key: PublicKey, now: Instant) -> Ticket {
        let ticket = Ticket::new(server_key);
        self.open.retain(|(_, until)| *until > now);
        if self.open.len() >= OPEN_TICKETS {
            self.open.remove(0);
        }
        self.open.push((ticket.secret, now + TICKET_LIFE));
        ticket
    }

    /// Takes a ticket in: from now on it is worth nothing.
    ///
    /// # Errors
    /// [`TicketError`] for an unknown, used or expired one, and for any while there were too
    /// many wrong ones of late.
    pub fn redeem(&mut self, secret: &[u8; 16], now: Instant) -> Result<(), TicketError> {
        self.open.retain(|(_, until)| *until > now);
        if self.wrong_since.is_some_and(|since| now.duration_since(since) >= WRONG_PERIOD) {
            (self.wrong, self.wrong_since) = (0, None);
        }
        if self.wrong >= WRONG_TICKETS {
            return Err(TicketError::TooMany);
        }
        // Every open ticket is compared, so that the time taken tells nothing.
        let found = self
            .open
            .iter()
            .enumerate()
            .fold(None, |found, (index, (open, _))| if open.matches(secret) { Some(index) } else { found });
        let Some(index) = found else {
            self.wrong += 1;
            self.wrong_since.get_or_insert(now);
            return Err(TicketError::Unknown);
        };
        self.open.remove(index);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PublicKey = PublicKey([3; 32]);

    #[test]
    fn a_ticket_survives_its_text_form() {
        let ticket = Ticket::new(KEY);
        let again: Ticket = ticket.to_string().parse().unwrap();
        assert_eq!(again.server_key, KEY);
        assert!(again.secret.matches(&ticket.secret.0));
    }

    #[test]
    fn a_cut_ticket_is_refused_without_being_repeated() {
        let text = Ticket::new(KEY).to_string();
        let error = text[..text.len() - 1].parse::<Ticket>().unwrap_err();
        assert!(!error.to_string().contains(&text[20..30]));
        assert!((text + "A").parse::<Ticket>().is_err());
        assert!("".parse::<Ticket>().is_err());
    }

    #[test]
    fn the_debug_text_hides_the_secret() {
        let ticket = Ticket { server_key: KEY, secret: Secret([0xab; 16]) };
        let text = format!("{ticket:?} {:?}", ticket.secret);
        assert!(!text.contains("171") && !text.contains(&ticket.to_string()));
    }

    #[test]
    fn a_ticket_is_good_once() {
        let (mut book, now) = (TicketBook::default(), Instant::now());
        let ticket = book.issue(KEY, now);
        assert_eq!(book.redeem(&ticket.secret.0, now), Ok(()));
        assert_eq!(book.redeem(&ticket.secret.0, now), Err(TicketError::Unknown));
    }

    #[test]
    fn a_ticket_expires_after_fifteen_minutes() {
        let (mut book, now) = (TicketBook::default(), Instant::now());
        let (one, two) = (book.issue(KEY, now), book.issue(KEY, now));
        let nearly = now + TICKET_LIFE - Duration::from_secs(1);
        assert_eq!(book.redeem(&one.secret.0, nearly), Ok(()));
        assert_eq!(book.redeem(&two.secret.0, now + TICKET_LIFE), Err(TicketError::Unknown));
    }

    #[test]
    fn guessing_is_stopped_for_a_minute_and_then_the_true_ticket_counts_again() {
        let (mut book, now) = (TicketBook::default(), Instant::now());
        let ticket = book.issue(KEY, now);
        for _ in 0..WRONG_TICKETS {
            assert_eq!(book.redeem(&[0; 16], now), Err(TicketError::Unknown));
        }
        assert_eq!(book.redeem(&ticket.secret.0, now), Err(TicketError::TooMany));
        assert_eq!(book.redeem(&ticket.secret.0, now + WRONG_PERIOD), Ok(()));
    }
}
