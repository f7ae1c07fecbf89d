//! Events of an imaginary library's back office: the same each time, and no two alike.

use audit_core::logger::{AuditLogger, AuditRecord, Provider, User};
use audit_core::{ActionKind, Outcome, Result, Target};
use chrono::{DateTime, TimeDelta, Utc};

const STAFF: [(&str, &str, &str); 8] = [
    ("aino.korhonen@library.example", "librarian", "192.0.2.14"),
    ("bilal.haddad@library.example", "librarian", "192.0.2.27"),
    ("chiara.ricci@library.example", "admin", "198.51.100.3"),
    ("dmitri.orlov@library.example", "auditor", "198.51.100.64"),
    ("emeka.okafor@library.example", "librarian", "203.0.113.9"),
    ("freya.lindqvist@library.example", "admin", "2001:db8:7::1d"),
    ("guadalupe.reyes@library.example", "intern", "2001:db8:7::2a"),
    ("nightly-import@library.example", "service", "10.20.0.5"),
];

const TARGETS: [(&str, &str); 6] = [
    ("Loan", "loan"),
    ("Patron", "patron"),
    ("Book", "book"),
    ("Fine", "fine"),
    ("Reservation", "reservation"),
    ("Report", "report"),
];

/// Two thirds of what people do is looking.
const ACTIONS: [(ActionKind, &str); 9] = [
    (ActionKind::Read, "looked at"),
    (ActionKind::Read, "searched for"),
    (ActionKind::Read, "listed"),
    (ActionKind::Read, "exported"),
    (ActionKind::Read, "looked at"),
    (ActionKind::Create, "created"),
    (ActionKind::Update, "changed"),
    (ActionKind::Update, "extended"),
    (ActionKind::Delete, "removed"),
];

/// 2026-01-05, a Monday, 08:00 UTC.
const BEGIN: i64 = 1_767_600_000;

/// Returns the events behind the first `skip`, without end.
pub(super) fn from(skip: u64) -> impl Iterator<Item = Result<AuditRecord>> {
    let mut logger = AuditLogger::new();
    (skip..).map(move |number| event(&mut logger, number))
}

fn event(logger: &mut AuditLogger, number: u64) -> Result<AuditRecord> {
    let mut dice = Dice(number);
    let (email, role, ip) = dice.pick(&STAFF);
    let (kind, prefix) = dice.pick(&TARGETS);
    let (action, verb) = dice.pick(&ACTIONS);
    let target = format!("{prefix}-{}", 1000 + dice.roll(9000));
    let outcome = match (role, action, dice.roll(100)) {
        ("intern", ActionKind::Delete | ActionKind::Create, _) | (_, _, 0..3) => Outcome::Denied,
        (_, _, 3..5) => Outcome::Failure,
        _ => Outcome::Success,
    };
    let ending = match outcome {
        Outcome::Denied => ", but may not",
        Outcome::Failure => ", which went wrong",
        _ => "",
    };
    let user = User::authenticated(email).roles([role]).ip(ip);
    logger
        .application("library-backoffice")
        .user(user.provider(Provider::new("keycloak").realm("staff")))
        .action(action)
        .target(Target {
            id: Some(target.as_str().into()),
            kind: Some(kind.into()),
            ..Target::default()
        })
        .outcome(outcome)
        .info(format!("{verb} {target}{ending}"))
        .time(time(number, &mut dice));
    logger.record()
}

/// About an event every seven seconds, and never two at the same millisecond.
fn time(number: u64, dice: &mut Dice) -> DateTime<Utc> {
    let millis = number.saturating_mul(7_000).saturating_add(dice.roll(6_999));
    let passed = TimeDelta::milliseconds(i64::try_from(millis).unwrap_or(i64::MAX / 2));
    let begin = DateTime::from_timestamp(BEGIN, 0).unwrap_or_default();
    begin.checked_add_signed(passed).unwrap_or(begin)
}

/// A small generator of numbers that look random (splitmix64) and are the same for the same event.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15).rotate_left(17);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use audit_core::logger::Shape;

    use super::*;

    fn lines(skip: u64, number: usize) -> Vec<String> {
        from(skip).take(number).map(|r| r.unwrap().to_line(Shape::AuditEvent).unwrap()).collect()
    }

    #[test]
    fn the_same_each_time_and_no_two_alike() {
        let all = lines(0, 5000);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 5000);
        assert_eq!(lines(4000, 1000), all[4000..]);
        for word in ["SUCCESS", "FORBIDDEN", "FAILURE", "CREATE", "READ", "UPDATE", "DELETE"] {
            assert!(all.iter().any(|line| line.contains(word)), "{word}");
        }
        assert!(all[0].contains("2026-01-05T08:00:0"), "{}", all[0]);
    }
}
