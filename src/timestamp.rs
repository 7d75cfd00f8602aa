//! Times as text: RFC 3339 in UTC, both ways, without a calendar library.

use crate::ports::Millis;

/// Days from 1970-01-01 to a date (H. Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted_month + 2) / 5 + 1)
}

/// `2027-01-15T08:00:00Z`; parts of a second are dropped.
pub fn format(at: Millis) -> String {
    let seconds = (at / 1000).cast_signed();
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// Reads RFC 3339, to the millisecond. `None` for anything else and for times before 1970.
pub fn parse(text: &str) -> Option<Millis> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.parse::<i64>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))
    };
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if bytes.len() < 20
        || !text.is_ascii()
        || !marks.iter().all(|(at, mark)| bytes[*at] == *mark)
        || !matches!(bytes[10], b'T' | b't' | b' ')
    {
        return None;
    }
    let (month, day, hour, minute, second) =
        (number(5, 7)?, number(8, 10)?, number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let year = number(0, 4)?;
    // The thirty-first of April is no day, and neither is the twenty-ninth of February in most years.
    let is_day = (1..=12).contains(&month) && day >= 1 && date(days(year, month, day)) == (year, month, day);
    if !is_day || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = &text[19..];
    let mut millis = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
        millis = format!("{:0<3}", &fraction[..length.min(3)]).parse().ok()?;
        rest = &fraction[length..];
    }
    let offset = match rest.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let two = |digits: &str| digits.parse::<u8>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
            let (hours, minutes) = (i64::from(two(&rest[1..3])?), i64::from(two(&rest[4..6])?));
            if hours > 23 || minutes > 59 {
                return None;
            }
            let minutes = hours * 60 + minutes;
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + (minute - offset) * 60 + second;
    u64::try_from(seconds * 1000 + millis).ok()
}

/// Reads an HTTP date, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7, the form that is sent today).
pub fn parse_http(text: &str) -> Option<Millis> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = parts[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    parse(&format!("{year}-{month:02}-{day:0>2}T{time}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_both_ways() {
        for text in ["1970-01-01T00:00:00Z", "2000-02-29T23:59:59Z", "2026-11-23T16:49:01Z", "2100-12-31T00:00:00Z"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(parse("2026-11-23T18:49:01.5+02:00"), parse("2026-11-23T16:49:01.500Z"));
        assert_eq!(parse_http("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        for wrong in [
            "",
            "2026-11-23",
            "2026-13-23T00:00:00Z",
            "2026-11-23T00:00:00",
            "2026-11-23T00:00:00+0200",
            "2026-11-23T00:00:00+99:00",
            "2026-11-23T00:00:00+-2:00",
            "2027-02-29T00:00:00Z",
            "2027-02-30T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-11-00T00:00:00Z",
            "2026-11-23T00:+1:00Z",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
