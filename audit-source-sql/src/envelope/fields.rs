use std::fmt;

use audit_core::Text;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Draft;
use super::thing::Thing;

/// Where in a record the event is, and which field says when it happened.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    parent: Box<str>,
    date_time: Box<str>,
}

impl Fields {
    /// An empty parent is the record itself.
    pub(crate) fn new(parent: &str, date_time: &str) -> Self {
        Self { parent: parent.into(), date_time: date_time.into() }
    }
}

/// Reads a whole record: the parent object, or the root when there is none.
pub(super) struct Record<'f>(pub(super) &'f Fields);

/// Reads the event object.
struct Event<'f>(&'f Fields);

/// One key, compared without being copied.
struct Name<'f> {
    fields: &'f Fields,
    at_root: bool,
}

#[derive(Clone, Copy)]
enum Field {
    Actor,
    DateTime,
    Environment,
    Epoch,
    Information,
    Message,
    Operation,
    Origin,
    Other,
    Parent,
    Status,
    Target,
}

impl Name<'_> {
    fn field(&self, name: &str) -> Field {
        if self.at_root && name == &*self.fields.parent {
            return Field::Parent;
        }
        if name == &*self.fields.date_time {
            return Field::DateTime;
        }
        match name {
            "actor" => Field::Actor,
            "additional_information" => Field::Information,
            "date_time_epoch" => Field::Epoch,
            "environment" => Field::Environment,
            "message" => Field::Message,
            "operation" => Field::Operation,
            "origin" => Field::Origin,
            "status" => Field::Status,
            "target" => Field::Target,
            _ => Field::Other,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, name: &str) -> Result<Field, E> {
        Ok(self.field(name))
    }
}

impl<'de> Draft<'de> {
    fn take<A: MapAccess<'de>>(&mut self, field: Field, map: &mut A) -> Result<(), A::Error> {
        let slot: &mut Text<'de> = match field {
            Field::Actor => {
                self.actor = map.next_value::<Thing<'de>>()?;
                return Ok(());
            }
            Field::Target => {
                self.target = map.next_value::<Thing<'de>>()?;
                return Ok(());
            }
            Field::Other | Field::Parent => return map.next_value::<IgnoredAny>().map(|_| ()),
            Field::DateTime => &mut self.date_time,
            Field::Environment => &mut self.environment,
            Field::Epoch => &mut self.epoch,
            Field::Information => &mut self.information,
            Field::Message => &mut self.message,
            Field::Operation => &mut self.operation,
            Field::Origin => &mut self.origin,
            Field::Status => &mut self.status,
        };
        *slot = map.next_value()?;
        Ok(())
    }
}

/// What is not an object has no fields, and is no error.
macro_rules! any_scalar_is {
    ($empty:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any JSON value")
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($empty)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($empty)
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($empty)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($empty)
        }

        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($empty)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($empty)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok($empty)
        }
    };
}

impl<'de> DeserializeSeed<'de> for Record<'_> {
    type Value = Draft<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Draft<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Record<'_> {
    type Value = Draft<'de>;

    any_scalar_is!(Draft::default());

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Draft<'de>, A::Error> {
        let at_root = !self.0.parent.is_empty();
        let (mut root, mut inner) = (Draft::default(), None);
        while let Some(field) = map.next_key_seed(Name { fields: self.0, at_root })? {
            match field {
                Field::Parent => inner = map.next_value_seed(Event(self.0))?,
                field => root.take(field, &mut map)?,
            }
        }
        Ok(inner.unwrap_or(root))
    }
}

impl<'de> DeserializeSeed<'de> for Event<'_> {
    type Value = Option<Draft<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Event<'_> {
    type Value = Option<Draft<'de>>;

    any_scalar_is!(None);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut draft = Draft::default();
        while let Some(field) = map.next_key_seed(Name { fields: self.0, at_root: false })? {
            draft.take(field, &mut map)?;
        }
        Ok(Some(draft))
    }
}
