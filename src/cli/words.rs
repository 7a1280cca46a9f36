//! Single words of the command line that need more than clap's own parsers: places, hosts, rates, commands.

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::client::options::ShadowSize;
use crate::server::options::TrashSize;

/// Where DEST is, as written.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    Local(PathBuf),
    /// `host` may carry `user@`; an IPv6 address stands without its brackets.
    Remote {
        host: String,
        path: String,
    },
}

/// Tells a local path from `[user@]host:path`: remote is what has a colon before its first slash.
///
/// An empty path there is the home directory, written `.`.
///
/// # Errors
/// A sentence for the user.
pub fn parse_place(word: OsString) -> Result<Place, String> {
    let bytes = word.as_encoded_bytes();
    if bytes.is_empty() {
        return Err("DEST is empty: name a directory, or leave it out for a server".into());
    }
    let first_part = bytes.split(|&byte| byte == b'/').next().unwrap_or_default();
    if !first_part.contains(&b':') {
        return Ok(Place::Local(PathBuf::from(word)));
    }
    let text = String::from_utf8(word.into_vec())
        .map_err(|_| "DEST on another machine must be UTF-8: give that directory another name".to_string())?;
    parse_remote(&text)
}

fn parse_remote(text: &str) -> Result<Place, String> {
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(format!(
            "DEST is no address with {scheme}://: write [user@]host:path for ssh, or --host and --port for `strait serve`"
        ));
    }
    let (login, path) = match split_bracketed(text) {
        Some((login, path)) => (login, path),
        None => {
            let (login, path) = text.split_once(':').expect("the caller saw a colon");
            (login.to_string(), path)
        }
    };
    let host = login.rsplit_once('@').map_or(login.as_str(), |(_, host)| host);
    if path.starts_with(':') {
        return Err(format!("strait speaks no rsync modules: write {login}:path, with one colon"));
    }
    if host.is_empty() {
        return Err(format!(
            "DEST names no host before the colon: write host:path, or ./{text} for a path here"
        ));
    }
    if login.starts_with(['-', '@'])
        || host.starts_with('-')
        || login.chars().any(is_odd)
        || path.contains('\0')
    {
        return Err("DEST names a host that ssh would not take for one: write [user@]host:path".into());
    }
    let path = if path.is_empty() { "." } else { path };
    Ok(Place::Remote { host: login, path: path.to_string() })
}

/// A time like `500ms`, `10s`, `5m` or `1h`, at most a day.
///
/// # Errors
/// A sentence for the user.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let n_digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(n_digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("write a number and one of ms, s, m, h: for example 10s".into()),
    };
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
    match ms {
        Some(ms) if ms <= 86_400_000 => Ok(Duration::from_millis(ms)),
        _ => Err("at most a day: for example 10s".into()),
    }
}

/// Splits `[user@][v6]:path` into `user@v6` and the path.
fn split_bracketed(text: &str) -> Option<(String, &str)> {
    let (user, rest) = text.split_once('[')?;
    let (address, path) = rest.split_once("]:")?;
    let is_whole = (user.is_empty() || user.ends_with('@')) && address.parse::<IpAddr>().is_ok();
    is_whole.then(|| (format!("{user}{address}"), path))
}

fn is_odd(letter: char) -> bool {
    letter.is_whitespace() || letter.is_control()
}

/// Takes a host name or an address; brackets around an IPv6 address fall away.
pub fn parse_host(word: &str) -> Result<String, String> {
    let host = word.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(word);
    if host.is_empty() {
        return Err("name a host or an address".into());
    }
    if host.contains(':') && host.parse::<IpAddr>().is_err() {
        return Err("a host holds no colon: say the port with --port".into());
    }
    if host.contains(['/', '@']) || host.chars().any(is_odd) {
        return Err("a host is a name or an address, without user or path".into());
    }
    Ok(host.to_string())
}

/// Takes a rate in bytes a second: `500K`, `2M`, `1.5MiB` count in 1024s, `500KB`, `2MB` in 1000s, `900B` is plain.
///
/// A number without a unit is refused: some programs take it for bytes, some for KiB.
pub fn parse_rate(word: &str) -> Result<u64, String> {
    let unit_at = word.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(word.len());
    let (number, unit) = word.split_at(unit_at);
    let number: f64 =
        number.parse().map_err(|_| "write a number and a unit, for example 500K or 2M".to_string())?;
    let unit_bytes: f64 = match unit.trim_end_matches("/s").to_ascii_lowercase().as_str() {
        "" if number == 0.0 => 1.0,
        "" => return Err(format!("say the unit: {word}K for KiB a second, {word}B for bytes a second")),
        "b" => 1.0,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        _ => return Err("the units are B, K, M and G (or KB, MB and GB in thousands), each a second".into()),
    };
    let bytes_per_s = number * unit_bytes;
    if bytes_per_s < 1.0 {
        return Err("a limit below one byte a second sends nothing: leave it out for no limit".into());
    }
    if bytes_per_s > 1e15 {
        return Err("a limit above 1000 TB a second is none: leave it out for no limit".into());
    }
    // In range, as just checked.
    Ok(bytes_per_s as u64)
}

/// Takes the bound of the trash: `10%`, `20G`, or `0` for none.
pub fn parse_trash_size(word: &str) -> Result<TrashSize, String> {
    if word == "0" {
        return Ok(TrashSize::Bytes(0));
    }
    let Some(percent) = word.strip_suffix('%') else {
        return match parse_rate(word) {
            Ok(bytes) if !word.contains('/') => Ok(TrashSize::Bytes(bytes)),
            _ => Err("write a share of the disk or a size, for example 10% or 20G; 0 keeps nothing".into()),
        };
    };
    match percent.parse() {
        Ok(percent) if percent <= 90 => Ok(TrashSize::Percent(percent)),
        _ => Err("a share of the disk is a whole number from 0% to 90%".into()),
    }
}

/// A size of the shadow: a number and a unit, or 0 for none.
pub fn parse_shadow(word: &str) -> Result<ShadowSize, String> {
    match parse_rate(word) {
        _ if word == "0" => Ok(ShadowSize::Bytes(0)),
        Ok(bytes) if !word.contains('/') => Ok(ShadowSize::Bytes(bytes)),
        _ => Err("write a size, for example 20G; 0 keeps nothing".into()),
    }
}

/// Takes the size of `--inplace`, in bytes.
pub fn parse_size(word: &str) -> Result<u64, String> {
    match parse_rate(word) {
        Ok(bytes) if !word.contains('/') => Ok(bytes),
        _ => Err("write a size, for example 500M or 2G".into()),
    }
}

/// Takes the command of `--rsh`: at least one word.
pub fn parse_rsh(word: &str) -> Result<String, String> {
    if word.trim().is_empty() {
        return Err("name a command, for example \"ssh -p 2222\"".into());
    }
    Ok(word.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(word: &str) -> Result<Place, String> {
        parse_place(word.into())
    }

    fn remote(host: &str, path: &str) -> Result<Place, String> {
        Ok(Place::Remote { host: host.into(), path: path.into() })
    }

    #[test]
    fn a_duration_has_a_number_and_a_unit() {
        let ms = |text| parse_duration(text).map(|duration| duration.as_millis());
        let read = ["500ms", "10s", "5m", "24h", "0s"].map(|text| ms(text).expect(text));
        assert_eq!(read, [500, 10_000, 300_000, 86_400_000, 0]);
        for wrong in ["", "10", "s", "-1s", "1.5s", "25h", "99999999999999999999s", "10 s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_colon_before_the_first_slash_is_another_machine() {
        assert_eq!(place("host:dir"), remote("host", "dir"));
        assert_eq!(place("me@host:/srv/a:b"), remote("me@host", "/srv/a:b"));
        assert_eq!(place("host:"), remote("host", "."));
        for local in ["/srv/a:b", "./a:b", "dir", "a/b:c", "~"] {
            assert_eq!(place(local), Ok(Place::Local(local.into())), "{local}");
        }
    }

    #[test]
    fn an_address_in_brackets_loses_them() {
        assert_eq!(place("[::1]:/srv"), remote("::1", "/srv"));
        assert_eq!(place("me@[fe80::1]:dir"), remote("me@fe80::1", "dir"));
        assert_eq!(parse_host("[::1]"), Ok("::1".into()));
    }

    #[test]
    fn a_host_that_would_be_an_option_of_ssh_is_refused() {
        for word in ["-oProxyCommand=x:dir", "me@-oProxyCommand=x:dir", "-l@host:dir", "a b:dir", "@host:dir"]
        {
            assert!(place(word).is_err(), "{word}");
        }
        assert_eq!(place("host:-dir"), remote("host", "-dir"), "the path is guarded where it is used");
    }

    #[test]
    fn what_is_not_spoken_is_named() {
        assert!(place("host::module").is_err_and(|text| text.contains("one colon")));
        assert!(place("rsync://host/a").is_err_and(|text| text.contains("rsync://")));
        assert!(place(":dir").is_err_and(|text| text.contains("./:dir")));
        assert!(place("").is_err());
        assert!(parse_host("host:5000").is_err_and(|text| text.contains("--port")));
    }

    #[test]
    fn the_trash_is_bounded_by_a_share_or_a_size() {
        assert_eq!(parse_trash_size("10%"), Ok(TrashSize::Percent(10)));
        assert_eq!(parse_trash_size("20G"), Ok(TrashSize::Bytes(20 << 30)));
        assert_eq!(parse_trash_size("0"), Ok(TrashSize::Bytes(0)));
        for word in ["", "20", "%", "91%", "-1%", "1.5%", "20G/s"] {
            assert!(parse_trash_size(word).is_err(), "{word}");
        }
    }

    #[test]
    fn rates_have_units() {
        assert_eq!(parse_rate("500K"), Ok(512_000));
        assert_eq!(parse_rate("1.5MiB/s"), Ok(1_572_864));
        assert_eq!(parse_rate("2MB"), Ok(2_000_000));
        assert_eq!(parse_rate("900b"), Ok(900));
        assert!(parse_rate("500").is_err_and(|text| text.contains("500K")));
        for word in
            ["", "K", "0K", "0.1B", "-1K", "1.2.3K", "5X", "inf", "nan", "9e99G", "99999999999999999999G"]
        {
            assert!(parse_rate(word).is_err(), "{word}");
        }
    }
}
