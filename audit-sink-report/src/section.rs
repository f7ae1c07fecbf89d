use std::fmt;
use std::str::FromStr;

use audit_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// A part of a report: which events it counts, and by what.
///
/// The first four are the classic ones. The order here is the order in every report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Section {
    /// Requests for a permission, by principal and operation: `u-1-Describe`.
    AuthEvents,
    /// Sign-ins that failed, by user and status: `ann@example.com (UNAUTHENTICATED)`.
    SigninFail,
    /// Sign-ins that succeeded, by user.
    SigninSuccess,
    /// Every event, also those of the other sections, by method or action.
    OtherEvents,
    /// What was refused or failed, sign-ins apart, by principal and operation.
    Denied,
    /// Every event with a client's address, by that address.
    ClientAddresses,
    /// Every event, by principal.
    Principals,
    /// Principals that were never seen before this day.
    NewPrincipals,
    /// Methods that were never seen before this day.
    NewMethods,
}

impl Section {
    /// Every section, in the order of a report.
    pub const ALL: &[Self] = &[
        Self::AuthEvents,
        Self::SigninFail,
        Self::SigninSuccess,
        Self::OtherEvents,
        Self::Denied,
        Self::ClientAddresses,
        Self::Principals,
        Self::NewPrincipals,
        Self::NewMethods,
    ];

    /// The four classic sections.
    pub const CLASSIC: &[Self] =
        &[Self::AuthEvents, Self::SigninFail, Self::SigninSuccess, Self::OtherEvents];

    /// Returns the name in reports and paths: `AUTH_EVENTS`.
    pub fn name(self) -> &'static str {
        match self {
            Self::AuthEvents => "AUTH_EVENTS",
            Self::SigninFail => "SIGNIN_FAIL",
            Self::SigninSuccess => "SIGNIN_SUCCESS",
            Self::OtherEvents => "OTHER_EVENTS",
            Self::Denied => "DENIED",
            Self::ClientAddresses => "CLIENT_ADDRESSES",
            Self::Principals => "PRINCIPALS",
            Self::NewPrincipals => "NEW_PRINCIPALS",
            Self::NewMethods => "NEW_METHODS",
        }
    }

    /// Returns the title for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::AuthEvents => "MDS Authorize Events",
            Self::SigninFail => "Sign-In Failure Events",
            Self::SigninSuccess => "Sign-In Success Events",
            Self::OtherEvents => "All CC Audit Events",
            Self::Denied => "Denied and Failed Operations",
            Self::ClientAddresses => "Events by Client Address",
            Self::Principals => "Events by Principal",
            Self::NewPrincipals => "Principals not seen before",
            Self::NewMethods => "Methods not seen before",
        }
    }

    /// Returns the section whose counts this one shows a part of; itself if it has its own.
    pub(crate) fn counted_as(self) -> Self {
        match self {
            Self::NewPrincipals => Self::Principals,
            Self::NewMethods => Self::OtherEvents,
            own => own,
        }
    }
}

impl FromStr for Section {
    type Err = Error;

    /// Takes the name in either case.
    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().copied().find(|s| s.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|s| s.name().to_ascii_lowercase()).collect();
            Error::new(ErrorKind::Config, "unknown report section")
                .with("section", name.escape_debug())
                .with_hint(format!("use {}", known.join(", ")))
        })
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_everywhere_and_in_order() {
        for (place, section) in Section::ALL.iter().enumerate() {
            assert_eq!(*section as usize, place);
            assert_eq!(serde_json::to_value(section).unwrap(), section.name().to_ascii_lowercase());
            assert_eq!(section.name().parse::<Section>().unwrap(), *section);
        }
        assert_eq!(&Section::ALL[..4], Section::CLASSIC);
        assert!("EVENTS".parse::<Section>().is_err());
    }
}
