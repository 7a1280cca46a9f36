//! Base64 without padding (RFC 4648): the text form of keys, tickets and key files.
//!
//! Only whole values of a few dozen bytes pass here; not for content.

/// The alphabet of sections 4 and 5 of RFC 4648.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// `+` and `/`: PEM.
    Standard,
    /// `-` and `_`: safe in a shell, a URL and a file name.
    Url,
}

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Encodes bytes as base64 text without padding.
pub(super) fn encode(bytes: &[u8], alphabet: Alphabet) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let mut group = [0u8; 3];
        group[..three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for at in 0..=three.len() {
            text.push(letter(((bits >> (18 - 6 * at)) & 63) as u8, alphabet));
        }
    }
    text
}

/// Decodes base64 text without padding; `None` for a foreign character, an impossible length or
/// bits left over at the end (so that every value has exactly one text).
pub(super) fn decode(text: &str, alphabet: Alphabet) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for four in text.as_bytes().chunks(4) {
        if four.len() == 1 {
            return None;
        }
        let mut bits = 0u32;
        for (at, &character) in four.iter().enumerate() {
            bits |= u32::from(value(character, alphabet)?) << (18 - 6 * at);
        }
        let group = bits.to_be_bytes();
        let (whole, rest) = group[1..].split_at(four.len() - 1);
        if rest.iter().any(|&byte| byte != 0) {
            return None;
        }
        bytes.extend_from_slice(whole);
    }
    Some(bytes)
}

fn letter(value: u8, alphabet: Alphabet) -> char {
    match (value, alphabet) {
        (0..=61, _) => char::from(LETTERS[usize::from(value)]),
        (62, Alphabet::Standard) => '+',
        (62, Alphabet::Url) => '-',
        (_, Alphabet::Standard) => '/',
        (_, Alphabet::Url) => '_',
    }
}

fn value(character: u8, alphabet: Alphabet) -> Option<u8> {
    match (character, alphabet) {
        (b'A'..=b'Z', _) => Some(character - b'A'),
        (b'a'..=b'z', _) => Some(character - b'a' + 26),
        (b'0'..=b'9', _) => Some(character - b'0' + 52),
        (b'+', Alphabet::Standard) | (b'-', Alphabet::Url) => Some(62),
        (b'/', Alphabet::Standard) | (b'_', Alphabet::Url) => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values_encode_as_in_the_rfc() {
        assert_eq!(encode(b"foobar", Alphabet::Standard), "Zm9vYmFy");
        assert_eq!(encode(b"fo", Alphabet::Standard), "Zm8");
        assert_eq!(encode(&[0xfb, 0xff], Alphabet::Url), "-_8");
    }

    #[test]
    fn a_text_with_bits_left_over_is_no_value() {
        assert_eq!(decode("Zm8", Alphabet::Url), Some(b"fo".to_vec()));
        assert_eq!(decode("Zm9", Alphabet::Url), None);
        assert_eq!(decode("Z", Alphabet::Url), None);
        assert_eq!(decode("Zm+8", Alphabet::Url), None);
    }

    proptest! {
        #[test]
        fn every_value_survives_the_round_trip(bytes: Vec<u8>) {
            let text = encode(&bytes, Alphabet::Url);
            prop_assert_eq!(decode(&text, Alphabet::Url), Some(bytes));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = decode(&text, Alphabet::Standard);
        }
    }
}
