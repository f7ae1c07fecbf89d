use std::fmt;

use audit_core::{Actor, Target, Text};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// An actor or a target: an object of one of the shapes in use, a name, or a number.
#[derive(Debug, Default)]
pub(super) struct Thing<'a> {
    id: Text<'a>,
    kind: Text<'a>,
    name: Text<'a>,
    email: Text<'a>,
    pub(super) address: Text<'a>,
}

impl Thing<'_> {
    pub(super) fn into_actor(self) -> Option<Actor> {
        let actor = Actor {
            id: self.id.into_boxed(),
            kind: self.kind.into_boxed(),
            name: self.name.into_boxed(),
            email: self.email.into_boxed(),
        };
        (actor != Actor::default()).then_some(actor)
    }

    pub(super) fn into_target(self) -> Option<Target> {
        let target = Target {
            id: self.id.into_boxed(),
            kind: self.kind.into_boxed(),
            name: self.name.into_boxed(),
            scope: None,
        };
        (target != Target::default()).then_some(target)
    }
}

/// The keys that actors and targets have in the applications that write such tables.
#[derive(Clone, Copy)]
enum Part {
    Address,
    Email,
    Id,
    Kind,
    Name,
    Other,
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PartVisitor)
    }
}

struct PartVisitor;

impl Visitor<'_> for PartVisitor {
    type Value = Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, name: &str) -> Result<Part, E> {
        Ok(match name {
            "id" | "pk" | "profile_id" | "user_id" | "uuid" | "value" => Part::Id,
            "model" | "role" | "type" => Part::Kind,
            "full_name" | "name" | "service" | "username" => Part::Name,
            "email" => Part::Email,
            "ip" | "ip_address" => Part::Address,
            _ => Part::Other,
        })
    }
}

impl<'de> Deserialize<'de> for Thing<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ThingVisitor)
    }
}

struct ThingVisitor;

impl<'de> ThingVisitor {
    fn named(name: Text<'de>) -> Thing<'de> {
        Thing { name, ..Thing::default() }
    }

    fn numbered(id: Text<'de>) -> Thing<'de> {
        Thing { id, ..Thing::default() }
    }
}

impl<'de> Visitor<'de> for ThingVisitor {
    type Value = Thing<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, v: &'de str) -> Result<Thing<'de>, E> {
        Text::deserialize(serde::de::value::BorrowedStrDeserializer::new(v)).map(Self::named)
    }

    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Thing<'de>, E> {
        Text::deserialize(serde::de::value::StrDeserializer::new(v)).map(Self::named)
    }

    fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<Thing<'de>, E> {
        Text::deserialize(serde::de::value::I64Deserializer::new(v)).map(Self::numbered)
    }

    fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<Thing<'de>, E> {
        Text::deserialize(serde::de::value::U64Deserializer::new(v)).map(Self::numbered)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Thing<'de>, E> {
        Ok(Thing::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Thing<'de>, E> {
        Ok(Thing::default())
    }

    fn visit_unit<E>(self) -> Result<Thing<'de>, E> {
        Ok(Thing::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Thing<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Thing::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Thing<'de>, A::Error> {
        let mut thing = Thing::default();
        while let Some(part) = map.next_key()? {
            let slot = match part {
                Part::Address => &mut thing.address,
                Part::Email => &mut thing.email,
                Part::Id => &mut thing.id,
                Part::Kind => &mut thing.kind,
                Part::Name => &mut thing.name,
                Part::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let value: Text<'de> = map.next_value()?;
            // Of two keys that mean the same, the one that says something stays.
            if slot.get().is_none() {
                *slot = value;
            }
        }
        Ok(thing)
    }
}
