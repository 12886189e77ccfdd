//! Schedules of five fields, read and counted as `robfig/cron` does, which is Vault's: minute, hour, day of month,
//! month, day of week, in UTC unless `TZ=Name` stands before them.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// What a field may hold, and its names.
struct Bounds {
    least: u64,
    most: u64,
    names: &'static [&'static str],
    first_name: u64,
}

const MINUTES: Bounds = Bounds { least: 0, most: 59, names: &[], first_name: 0 };
const HOURS: Bounds = Bounds { least: 0, most: 23, names: &[], first_name: 0 };
const DAYS: Bounds = Bounds { least: 1, most: 31, names: &[], first_name: 0 };
const MONTHS: Bounds = Bounds {
    least: 1,
    most: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    first_name: 1,
};
const WEEKDAYS: Bounds =
    Bounds { least: 0, most: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"], first_name: 0 };

/// How far ahead a time is looked for. The 29th of February can be eight years away, and is not found then, by
/// Vault neither.
const YEARS: i16 = 5;

/// A field: a bit for every value, and whether any will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Field {
    bits: u64,
    any: bool,
}

impl Field {
    fn has(self, value: i8) -> bool {
        self.bits & (1 << value) != 0
    }
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
    zone: TimeZone,
}

impl Cron {
    /// Reads a schedule.
    ///
    /// # Errors
    /// `robfig/cron`'s text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        let (zone, spec) = zone(text)?;
        if spec.starts_with('@') {
            return Err(format!("parser does not accept descriptors: {spec}"));
        }
        let fields: Vec<&str> = spec.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
        };
        Ok(Self {
            minutes: field(minutes, &MINUTES)?,
            hours: field(hours, &HOURS)?,
            days: field(days, &DAYS)?,
            months: field(months, &MONTHS)?,
            weekdays: field(weekdays, &WEEKDAYS)?,
            zone,
        })
    }

    /// The first time after `time`; none within five years is never.
    pub fn after(&self, time: Timestamp) -> Timestamp {
        self.find(time).unwrap_or(Timestamp::MAX)
    }

    fn find(&self, time: Timestamp) -> Option<Timestamp> {
        let first = time.to_zoned(self.zone.clone()).date();
        let mut date = first;
        while date.year() <= first.year() + YEARS {
            if self.months.has(date.month()) && self.is_day(date) {
                let found = self.on(date).find(|found| *found > time);
                if found.is_some() {
                    return found;
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// With both restricted, either will do.
    fn is_day(&self, date: Date) -> bool {
        let day = self.days.has(date.day());
        let weekday = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        if self.days.any || self.weekdays.any { day && weekday } else { day || weekday }
    }

    /// The times of a day. Those that a change of the clocks leaves out are not there.
    fn on(&self, date: Date) -> impl Iterator<Item = Timestamp> + '_ {
        let hours = (0..24_i8).filter(|hour| self.hours.has(*hour));
        let times = hours.flat_map(|hour| (0..60_i8).map(move |minute| (hour, minute)));
        times.filter(|(_, minute)| self.minutes.has(*minute)).filter_map(move |(hour, minute)| {
            let wanted = date.at(hour, minute, 0, 0);
            let zoned = self.zone.to_zoned(wanted).ok()?;
            (zoned.datetime() == wanted).then(|| zoned.timestamp())
        })
    }
}

/// The time zone asked for, and what stands after it.
fn zone(text: &str) -> Result<(TimeZone, &str), String> {
    let Some(rest) = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) else {
        return Ok((TimeZone::UTC, text));
    };
    let (name, spec) = rest.split_once(' ').unwrap_or((rest, ""));
    let zone = match name {
        "" | "UTC" | "Local" => TimeZone::UTC,
        _ => TimeZone::get(name)
            .map_err(|_| format!("provided bad location {name}: unknown time zone {name}"))?,
    };
    Ok((zone, spec.trim()))
}

/// A list of ranges.
fn field(text: &str, bounds: &Bounds) -> Result<Field, String> {
    text.split(',').filter(|range| !range.is_empty()).try_fold(Field::default(), |all, text| {
        let one = range(text, bounds)?;
        Ok(Field { bits: all.bits | one.bits, any: all.any || one.any })
    })
}

/// `*`, `5`, `1-5`, each with `/step`.
fn range(text: &str, bounds: &Bounds) -> Result<Field, String> {
    let (span, step) = match text.split('/').collect::<Vec<_>>()[..] {
        [span] => (span, None),
        [span, step] => (span, Some(step)),
        _ => return Err(format!("too many slashes: {text}")),
    };
    let ends: Vec<&str> = span.split('-').collect();
    let is_star = matches!(ends[0], "*" | "?");
    let (start, mut end) = match ends[..] {
        _ if is_star => (bounds.least, bounds.most),
        [only] => (value(only, bounds)?, value(only, bounds)?),
        [start, end] => (value(start, bounds)?, value(end, bounds)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match step {
        None => 1,
        Some(step) => {
            if ends.len() == 1 {
                end = bounds.most;
            }
            number(step)?
        }
    };
    let (least, most) = (bounds.least, bounds.most);
    if start < least {
        return Err(format!("beginning of range ({start}) below minimum ({least}): {text}"));
    }
    if end > most {
        return Err(format!("end of range ({end}) above maximum ({most}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    let width = usize::try_from(step).unwrap_or(usize::MAX);
    if width == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let bits = (start..=end).step_by(width).fold(0, |bits, value| bits | 1 << value);
    Ok(Field { bits, any: is_star && step == 1 })
}

fn value(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let named =
        bounds.names.iter().zip(bounds.first_name..).find(|(name, _)| name.eq_ignore_ascii_case(text));
    named.map_or_else(|| number(text), |(_, value)| Ok(value))
}

/// A number as Go's `strconv.Atoi` takes it.
fn number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let fault = |why: &str| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {why}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault("invalid syntax"));
    }
    let number: i64 = text.parse().map_err(|_| fault("value out of range"))?;
    u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(spec: &str, time: &str) -> String {
        Cron::parse(spec).unwrap().after(time.parse().unwrap()).to_string()
    }

    /// The cases of `robfig/cron` that have five fields.
    #[test]
    fn the_next_time_is_the_librarys() {
        for (spec, time, next) in [
            ("0/15 * * * *", "2012-07-09T14:45:00Z", "2012-07-09T15:00:00Z"),
            ("0/15 * * * *", "2012-07-09T14:59:59Z", "2012-07-09T15:00:00Z"),
            ("20-35/15 * * * *", "2012-07-09T15:45:00Z", "2012-07-09T16:20:00Z"),
            ("20-35/15 * * * *", "2012-07-09T23:46:00Z", "2012-07-10T00:20:00Z"),
            ("30 08 ? Jul Sun", "2012-07-09T00:00:00Z", "2012-07-15T08:30:00Z"),
            ("30 08 15 Jul ?", "2012-07-16T00:00:00Z", "2013-07-15T08:30:00Z"),
            ("0 0 9 Apr-Oct ?", "2012-07-09T23:35:00Z", "2012-08-09T00:00:00Z"),
            ("0 0 29 Feb ?", "2012-07-09T23:35:00Z", "2016-02-29T00:00:00Z"),
            ("0 0 * Feb Mon", "2012-07-09T23:35:00Z", "2013-02-04T00:00:00Z"),
            // Either day will do where both are given; both must where one has a star.
            ("0 0 1,15 * Sun", "2012-07-09T12:00:00Z", "2012-07-15T00:00:00Z"),
            ("0 0 1,15 * Sun", "2012-07-15T00:00:00Z", "2012-07-22T00:00:00Z"),
            ("0 0 1,15 * *", "2012-07-15T00:00:00Z", "2012-08-01T00:00:00Z"),
            ("0 0 * * Sun", "2012-07-09T12:00:00Z", "2012-07-15T00:00:00Z"),
            ("0 0 */10 * Sun", "2012-07-09T12:00:00Z", "2012-07-11T00:00:00Z"),
            ("59 23 31 12 *", "2012-12-31T23:59:00.5Z", "2013-12-31T23:59:00Z"),
            // Zones, with an hour that is left out.
            ("TZ=America/New_York 0 9 * * *", "2012-07-09T12:00:00Z", "2012-07-09T13:00:00Z"),
            ("CRON_TZ=America/New_York 30 2 11 Mar ?", "2012-03-11T00:00:00Z", "2013-03-11T06:30:00Z"),
        ] {
            assert_eq!(after(spec, time), next, "{spec} {time}");
        }
        for never in ["0 0 30 Feb ?", "0 0 31 Apr ?", ", * * * *"] {
            assert_eq!(Cron::parse(never).unwrap().after(Timestamp::UNIX_EPOCH), Timestamp::MAX, "{never}");
        }
    }

    #[test]
    fn faults_have_the_librarys_words() {
        for (spec, text) in [
            ("", "empty spec string"),
            ("x", "expected exactly 5 fields, found 1: [x]"),
            ("0 0 * * * *", "expected exactly 5 fields, found 6: [0 0 * * * *]"),
            ("@daily", "parser does not accept descriptors: @daily"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("j * * * *", "failed to parse int from j: strconv.Atoi: parsing \"j\": invalid syntax"),
            ("*/-5 * * * *", "negative number (-5) not allowed: -5"),
            ("TZ=Nowhere/X * * * * *", "provided bad location Nowhere/X: unknown time zone Nowhere/X"),
        ] {
            assert_eq!(Cron::parse(spec).unwrap_err(), text, "{spec}");
        }
    }
}
