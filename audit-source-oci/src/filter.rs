use serde::Deserialize;

/// A named group of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Preset {
    /// Sign-ins, MFA, auth tokens, API keys, passwords, sessions and locks of users.
    Iam,
}

impl Preset {
    fn patterns(self) -> &'static [&'static str] {
        match self {
            Self::Iam => &[
                "LoginSuccess",
                "LoginFailure",
                "UpdateUserMfaStatus",
                "CreateAuthToken",
                "DeleteAuthToken",
                "CreateApiKey",
                "DeleteApiKey",
                "UploadApiKey",
                "UpdateUserPassword",
                "CreateOrResetUIPassword",
                "SessionStart",
                "SessionTimeout",
                "LockUser",
            ],
        }
    }
}

/// Decides which events are delivered, by their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    patterns: Vec<Box<str>>,
}

impl Filter {
    pub(crate) fn new(events: &[String], preset: Option<Preset>) -> Self {
        let preset = preset.into_iter().flat_map(|p| p.patterns().iter().copied());
        let patterns = events.iter().map(String::as_str).chain(preset).map(str::trim);
        Self {
            patterns: patterns
                .filter(|p| !p.is_empty())
                .map(str::to_lowercase)
                .map(Into::into)
                .collect(),
        }
    }

    /// Returns whether an event is wanted: all are, if there are no patterns.
    ///
    /// The name of an operation's begin or end matches as that of the operation does.
    pub(crate) fn keeps(&self, event_type: Option<&str>, event_name: Option<&str>) -> bool {
        if self.patterns.is_empty() {
            return true;
        }
        let kind = event_type.unwrap_or_default().to_lowercase();
        let name = event_name.unwrap_or_default().to_lowercase();
        let bare = |text: &str| -> Option<String> {
            let (before, last) = text.rsplit_once('.')?;
            matches!(last, "begin" | "end").then(|| before.to_owned())
        };
        let last = |text: &str| text.rsplit('.').next().unwrap_or_default().to_owned();
        let operation = bare(&kind).unwrap_or_else(|| kind.clone());
        let short = last(&operation);
        let names = [kind.as_str(), &name, &operation, &short, &bare(&name).unwrap_or_default()]
            .map(str::to_owned);
        names
            .iter()
            .filter(|name| !name.is_empty())
            .any(|name| self.patterns.iter().any(|p| matches(p.as_bytes(), name.as_bytes())))
    }
}

/// Matches `*` and `?`. Time is at most the product of the lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on if the text after the last star does not match: one byte later.
    let mut star = None;
    while let Some(byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(want) if *want == b'?' || want == byte => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((at, from)) => {
                    *from += 1;
                    (p, t) = (*at + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(patterns: &[&str]) -> Filter {
        Filter::new(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>(), None)
    }

    #[test]
    fn names_match_whatever_their_case_and_stage() {
        let kind = Some("com.oraclecloud.ComputeApi.LaunchInstance.begin");
        for pattern in [
            "LaunchInstance",
            "launchinstance",
            "*.launchinstance.begin",
            "com.oraclecloud.computeapi.*",
            "*computeapi*",
            "launch?nstance",
            "com.oraclecloud.ComputeApi.LaunchInstance",
        ] {
            assert!(filter(&[pattern]).keeps(kind, None), "{pattern}");
        }
        for pattern in ["Launch", "Instance", "launch?instance", "*.end", "begin"] {
            assert!(!filter(&[pattern]).keeps(kind, None), "{pattern}");
        }
        assert!(filter(&["GetInstance"]).keeps(None, Some("GetInstance")));
        assert!(!filter(&["*"]).keeps(None, None), "an event without a name has none that matches");
        assert!(Filter::default().keeps(None, None));
    }

    #[test]
    fn the_preset_holds_what_its_name_says() {
        let iam = Filter::new(&[], Some(Preset::Iam));
        assert!(iam.keeps(Some("com.oraclecloud.identitySignOn.LoginFailure"), None));
        assert!(iam.keeps(None, Some("DeleteApiKey")));
        assert!(!iam.keeps(Some("com.oraclecloud.ComputeApi.GetInstance"), Some("GetInstance")));
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let pattern = "*a".repeat(30) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(10_000).as_bytes()));
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab?*]{0,6}", text in "[abc]{0,7}") {
            fn slow(p: &[u8], t: &[u8]) -> bool {
                match p.split_first() {
                    None => t.is_empty(),
                    Some((b'*', rest)) => (0..=t.len()).any(|n| slow(rest, &t[n..])),
                    Some((c, rest)) => t.first().is_some_and(|b| *c == b'?' || c == b) && slow(rest, &t[1..]),
                }
            }
            proptest::prop_assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                slow(pattern.as_bytes(), text.as_bytes())
            );
        }
    }
}
