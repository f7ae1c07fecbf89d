use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use audit_core::{ActionKind, Outcome};
use chrono::{DateTime, Utc};

use crate::fields::{Fields, Slot};
use crate::json;
use crate::time;

/// A longer identifier is none: sinks use it as a key.
const MAX_ID: usize = 400;

/// What a record says: its line, and where in it the fields are.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    line: &'a [u8],
    fields: &'a Fields,
}

impl<'a> View<'a> {
    /// `fields` are those that were found in `line`.
    pub(crate) fn new(line: &'a [u8], fields: &'a Fields) -> Self {
        Self { line, fields }
    }

    pub(crate) fn line(&self) -> &'a [u8] {
        self.line
    }

    /// Returns a text; none if it is absent, null, empty, or has half of a surrogate pair.
    pub(crate) fn text(&self, slot: Slot) -> Option<Cow<'a, str>> {
        match self.bytes(slot)? {
            Cow::Borrowed(bytes) => str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        }
    }

    /// Returns a text, under the same conditions, for those who only compare it.
    fn bytes(&self, slot: Slot) -> Option<Cow<'a, [u8]>> {
        let (span, escaped) = self.fields.get(slot)?;
        let content = self.line.get(span).filter(|content| !content.is_empty())?;
        if !escaped {
            return Some(Cow::Borrowed(content));
        }
        json::text(content, true).map(|text| Cow::Owned(text.into_owned().into_bytes()))
    }

    /// Returns the first text there is.
    pub(crate) fn first<const N: usize>(&self, slots: [Slot; N]) -> Option<Cow<'a, str>> {
        slots.into_iter().find_map(|slot| self.text(slot))
    }

    /// Returns whether a text is this one.
    fn is(&self, slot: Slot, text: &str) -> bool {
        self.bytes(slot).is_some_and(|found| *found == *text.as_bytes())
    }

    /// Returns the CloudEvents identifier: `id` alone where it is a UUID; else it is only promised to
    /// be unique within its `source`.
    pub(crate) fn id(&self) -> Option<Cow<'a, str>> {
        let id = self.text(Slot::ID)?;
        let source = if is_uuid(&id) { None } else { self.text(Slot::SOURCE) };
        let whole = match source {
            Some(source) => Cow::Owned(format!("{source}#{id}")),
            None => id,
        };
        Some(whole).filter(|id| id.len() <= MAX_ID)
    }

    pub(crate) fn time(&self) -> Option<DateTime<Utc>> {
        time::parse(&self.bytes(Slot::TIME)?)
    }

    /// Returns the method, or the type of a record that has none.
    pub(crate) fn method(&self) -> Option<Cow<'a, str>> {
        self.first([Slot::METHOD, Slot::TYPE])
    }

    pub(crate) fn action_kind(&self) -> ActionKind {
        let class = self.bytes(Slot::TYPE).unwrap_or_default();
        if class.ends_with(b"/authentication") || *class == *b"authentication" {
            return ActionKind::Login;
        }
        if class.ends_with(b"/authorization") || *class == *b"authorization" {
            return ActionKind::Authorize;
        }
        of_method(&self.text(Slot::METHOD).unwrap_or_default(), self)
    }

    /// Returns who did it, and what kind of actor that is.
    pub(crate) fn principal(&self) -> Option<(Cow<'a, str>, Option<&'static str>)> {
        const KINDS: [(Slot, &str); 6] = [
            (Slot::USER, "user"),
            (Slot::SERVICE_ACCOUNT, "service"),
            (Slot::POOL, "pool"),
            (Slot::GROUP, "group"),
            (Slot::EXTERNAL, "external"),
            (Slot::INTERNAL, "system"),
        ];
        if let Some(text) = self.text(Slot::PRINCIPAL) {
            let kind = kind_of(&text);
            return Some((text, kind));
        }
        let object = |(slot, kind)| self.text(slot).map(|id| (id, Some(kind)));
        let object = KINDS.into_iter().find_map(object);
        object.or_else(|| self.text(Slot::EMAIL).map(|email| (email, None)))
    }

    pub(crate) fn outcome(&self) -> Outcome {
        const DENIALS: [&[u8]; 3] = [b"PERMISSION_DENIED", b"UNAUTHORIZED", b"FORBIDDEN"];
        let ends = [self.bytes(Slot::STATUS), self.bytes(Slot::AUTHENTICATION)];
        let mut ends = ends.iter().flatten().map(AsRef::<[u8]>::as_ref);
        if self.is(Slot::GRANTED, "false")
            || self.is(Slot::VERDICT, "DENY")
            || ends.clone().any(|end| DENIALS.contains(&end))
        {
            return Outcome::Denied;
        }
        if ends.clone().any(|end| end != b"SUCCESS") {
            return Outcome::Failure;
        }
        if ends.next().is_some()
            || self.is(Slot::GRANTED, "true")
            || self.is(Slot::VERDICT, "ALLOW")
        {
            return Outcome::Success;
        }
        Outcome::Unknown
    }

    /// Returns the client's address.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        let address = |slot| self.text(slot)?.trim_start_matches('/').parse().ok();
        address(Slot::CLIENT).or_else(|| address(Slot::DATA_CLIENT))
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The line is audit data: it does not belong in logs.
        write!(f, "View({} bytes)", self.line.len())
    }
}

fn is_uuid(text: &str) -> bool {
    let dash = |place: usize| matches!(place, 8 | 13 | 18 | 23);
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match dash(place) {
            true => byte == b'-',
            false => byte.is_ascii_hexdigit(),
        })
}

fn of_method(method: &str, record: &View<'_>) -> ActionKind {
    let verb = method.rsplit('.').next().unwrap_or_default();
    if let Some(kind) = of_verb(verb) {
        return kind;
    }
    match record.bytes(Slot::ACCESS).as_deref() {
        Some(b"READ_ONLY") => ActionKind::Read,
        Some(b"MODIFICATION") => ActionKind::Update,
        _ => ActionKind::Other,
    }
}

/// What a method does, by how its name begins.
fn of_verb(verb: &str) -> Option<ActionKind> {
    const VERBS: [(&str, ActionKind); 29] = [
        ("Activate", ActionKind::Update),
        ("Add", ActionKind::Create),
        ("Alter", ActionKind::Update),
        ("Authenticat", ActionKind::Login),
        ("Authorize", ActionKind::Authorize),
        ("Bind", ActionKind::Create),
        ("Change", ActionKind::Update),
        ("Create", ActionKind::Create),
        ("Delete", ActionKind::Delete),
        ("Describe", ActionKind::Read),
        ("Fetch", ActionKind::Read),
        ("Get", ActionKind::Read),
        ("Grant", ActionKind::Create),
        ("Incremental", ActionKind::Update),
        ("Invite", ActionKind::Create),
        ("List", ActionKind::Read),
        ("Modify", ActionKind::Update),
        ("Pause", ActionKind::Execute),
        ("Register", ActionKind::Create),
        ("Remove", ActionKind::Delete),
        ("Restart", ActionKind::Execute),
        ("Resume", ActionKind::Execute),
        ("Revoke", ActionKind::Delete),
        ("Set", ActionKind::Update),
        ("SignIn", ActionKind::Login),
        ("SignOut", ActionKind::Login),
        ("UnBind", ActionKind::Delete),
        ("Unbind", ActionKind::Delete),
        ("Update", ActionKind::Update),
    ];
    let first = verb.as_bytes().first();
    let mut alike = VERBS.iter().filter(|(prefix, _)| prefix.as_bytes().first() == first);
    alike.find(|(prefix, _)| verb.starts_with(prefix)).map(|(_, kind)| *kind)
}

/// What a principal's identifier says of its kind: `User:sa-1`, `u-1`, `pool-1`.
fn kind_of(principal: &str) -> Option<&'static str> {
    let id = principal.strip_prefix("User:").unwrap_or(principal);
    let kinds = [("u-", "user"), ("sa-", "service"), ("pool-", "pool"), ("group-", "group")];
    kinds.iter().find(|(prefix, _)| id.starts_with(prefix)).map(|(_, kind)| *kind)
}
