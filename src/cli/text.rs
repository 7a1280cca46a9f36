//! Numbers as people read them: the one place that turns bytes, rates and times into text.

/// A size in binary units with three figures: `0 B`, `999 B`, `1.46 KiB`, `23.4 MiB`, `1024 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    // 999.5 would round to a fourth figure.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A rate in binary units a second.
pub fn rate(bytes_per_s: f64) -> String {
    // Saturates for anything a float can hold.
    format!("{}/s", size(bytes_per_s as u64))
}

/// A count with its noun: `1 file`, `12,345 files`.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(n), if n == 1 { one } else { many })
}

/// A number with commas.
pub fn thousands(n: u64) -> String {
    let figures = n.to_string();
    let mut text = String::with_capacity(figures.len() + figures.len() / 3);
    for (index, figure) in figures.chars().enumerate() {
        if index > 0 && (figures.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(figure);
    }
    text
}

/// A length of time: `0.4 s`, `59 s`, `3 min 05 s`, `2 h 07 min`, `3 d 04 h`.
pub fn length(ms: u64) -> String {
    let secs = ms / 1000;
    match secs {
        0..10 => format!("{}.{} s", secs, ms % 1000 / 100),
        10..60 => format!("{secs} s"),
        60..3_600 => format!("{} min {:02} s", secs / 60, secs % 60),
        3_600..86_400 => format!("{} h {:02} min", secs / 3_600, secs % 3_600 / 60),
        _ => format!("{} d {:02} h", secs / 86_400, secs % 86_400 / 3_600),
    }
}

/// A moment of the common era after 1970, to the second, in UTC: `2026-01-31 23:59:58Z`.
pub fn moment(unix_ms: u64) -> String {
    let secs = unix_ms / 1_000;
    let (days, of_day) = (secs / 86_400, secs % 86_400);
    // Years begin in March, so that the odd day is the last: eras of 400 years since 0000-03-01.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day % 3_600 / 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// A share in whole percent, rounded down so that 100 % means all; 100 of nothing.
pub fn percent(done: u64, total: u64) -> u64 {
    if done >= total { 100 } else { (u128::from(done) * 100 / u128::from(total)) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_of_the_calendar() {
        for (unix_s, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (951_868_799, "2000-02-29 23:59:59Z"),
            (1_767_225_599, "2025-12-31 23:59:59Z"),
            (1_767_225_600, "2026-01-01 00:00:00Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(moment(unix_s * 1_000), text);
        }
    }

    #[test]
    fn sizes_have_three_figures() {
        let sizes = [0, 999, 1_000, 1_500, 10_240, 1 << 20, 1_023 << 20, 1 << 30, u64::MAX];
        let texts = [
            "0 B", "999 B", "0.98 KiB", "1.46 KiB", "10.0 KiB", "1.00 MiB", "1.00 GiB", "1.00 GiB",
            "16.0 EiB",
        ];
        assert_eq!(sizes.map(size), texts);
    }

    #[test]
    fn numbers_have_commas() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(count(1, "file", "files"), "1 file");
        assert_eq!(count(0, "file", "files"), "0 files");
    }

    #[test]
    fn times_have_two_units() {
        let lengths = [0, 400, 9_999, 59_999, 185_000, 7_620_000, 273_600_000].map(length);
        assert_eq!(lengths, ["0.0 s", "0.4 s", "9.9 s", "59 s", "3 min 05 s", "2 h 07 min", "3 d 04 h"]);
    }

    #[test]
    fn a_hundred_percent_is_all() {
        assert_eq!(percent(999, 1_000), 99);
        assert_eq!(percent(0, 0), 100);
        assert_eq!(percent(u64::MAX - 1, u64::MAX), 99);
    }
}
