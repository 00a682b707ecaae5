//! `strftime_now`: the caller's time in the words of C's strftime.

use std::fmt::Write;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// A moment in UTC, broken down.
#[derive(Clone, Copy, Debug)]
struct Moment {
    year: i64,
    /// 0 … 11.
    month: usize,
    /// 1 … 31.
    day: i64,
    /// 0 (Sunday) … 6.
    weekday: usize,
    /// 1 … 366.
    day_of_year: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Moment {
    /// The proleptic Gregorian calendar, counted in eras of 400 years that begin on 1 March.
    fn at(unix_seconds: i64) -> Self {
        let days = unix_seconds.div_euclid(86_400);
        let second_of_day = unix_seconds.rem_euclid(86_400);
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_from_march + 2) / 153;
        let day = day_from_march - (153 * month_from_march + 2) / 5 + 1;
        let month = (month_from_march + 2) % 12;
        let year = year_of_era + era * 400 + i64::from(month < 2);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let january_first = if leap { 60 } else { 59 };
        let day_of_year = if month < 2 {
            day_from_march - 306 + 1
        } else {
            day_from_march + january_first + 1
        };
        Self {
            year,
            month: month as usize,
            day,
            weekday: (days + 4).rem_euclid(7) as usize,
            day_of_year,
            hour: second_of_day / 3_600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
        }
    }
}

/// The moment `unix_seconds` in the form of `format`; the first directive that is not known is the error.
pub(super) fn format(unix_seconds: i64, format: &str) -> Result<String, String> {
    let moment = Moment::at(unix_seconds);
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let directive = characters.next().unwrap_or('%');
        if directive == '-' {
            let mut padded = String::new();
            let directive = characters.next().unwrap_or('-');
            write_directive(&mut padded, moment, directive).ok_or_else(|| format!("%-{directive}"))?;
            let short = padded.trim_start_matches(['0', ' ']);
            text.push_str(if short.is_empty() { "0" } else { short });
        } else {
            write_directive(&mut text, moment, directive).ok_or_else(|| format!("%{directive}"))?;
        }
    }
    Ok(text)
}

fn write_directive(text: &mut String, moment: Moment, directive: char) -> Option<()> {
    let hour_of_12 = (moment.hour + 11) % 12 + 1;
    match directive {
        'Y' => write!(text, "{:04}", moment.year),
        'y' => write!(text, "{:02}", moment.year.rem_euclid(100)),
        'm' => write!(text, "{:02}", moment.month + 1),
        'd' => write!(text, "{:02}", moment.day),
        'e' => write!(text, "{:2}", moment.day),
        'H' => write!(text, "{:02}", moment.hour),
        'I' => write!(text, "{hour_of_12:02}"),
        'M' => write!(text, "{:02}", moment.minute),
        'S' => write!(text, "{:02}", moment.second),
        'f' => write!(text, "000000"),
        'j' => write!(text, "{:03}", moment.day_of_year),
        'p' => write!(text, "{}", if moment.hour < 12 { "AM" } else { "PM" }),
        'b' | 'h' => write!(text, "{}", &MONTHS[moment.month][..3]),
        'B' => write!(text, "{}", MONTHS[moment.month]),
        'a' => write!(text, "{}", &WEEKDAYS[moment.weekday][..3]),
        'A' => write!(text, "{}", WEEKDAYS[moment.weekday]),
        'w' => write!(text, "{}", moment.weekday),
        'F' => write!(
            text,
            "{:04}-{:02}-{:02}",
            moment.year,
            moment.month + 1,
            moment.day
        ),
        'D' => write!(
            text,
            "{:02}/{:02}/{:02}",
            moment.month + 1,
            moment.day,
            moment.year.rem_euclid(100)
        ),
        'T' => write!(
            text,
            "{:02}:{:02}:{:02}",
            moment.hour, moment.minute, moment.second
        ),
        'R' => write!(text, "{:02}:{:02}", moment.hour, moment.minute),
        'Z' => write!(text, "UTC"),
        'z' => write!(text, "+0000"),
        '%' => write!(text, "%"),
        _ => return None,
    }
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // Expected values: Python's datetime.fromtimestamp(…, timezone.utc).strftime(…).
        let cases = [
            (0, "%Y-%m-%d %H:%M:%S %A %j", "1970-01-01 00:00:00 Thursday 001"),
            (1_709_164_800, "%d %b %Y %j", "29 Feb 2024 060"),
            (1_735_689_599, "%F %T %a %j", "2024-12-31 23:59:59 Tue 366"),
            (1_735_689_600, "%B %-d, %Y, %I:%M %p", "January 1, 2025, 12:00 AM"),
            (951_782_400, "%D %e", "02/29/00 29"),
            (-86_400, "%Y-%m-%d", "1969-12-31"),
            (4_107_542_400, "%F %j", "2100-03-01 060"),
        ];
        for (seconds, pattern, expected) in cases {
            assert_eq!(format(seconds, pattern).as_deref(), Ok(expected));
        }
        assert_eq!(format(0, "%Q"), Err("%Q".to_owned()));
    }
}
