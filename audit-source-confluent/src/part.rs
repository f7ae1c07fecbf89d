use std::fmt;
use std::marker::PhantomData;

use audit_core::Text;
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// What is wanted of a value that may be of any shape.
pub(crate) trait Wanted<'de>: Default {
    /// Takes the value of a field. `false`: the field is not wanted, and its value not taken.
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        let _ = (name, map);
        Ok(false)
    }

    /// Takes the value itself, where it is a text, a number or a truth value.
    fn text(&mut self, text: Text<'de>) {
        drop(text);
    }
}

/// A part of a record, read with patience: a value of another type counts as absent, of a list the
/// first element counts, of equal names the last; so that no odd field costs its neighbours.
#[derive(Debug, Default)]
pub(crate) struct Part<T, const LIST: bool = true>(pub(crate) T);

impl<'de, T: Wanted<'de>, const LIST: bool> Deserialize<'de> for Part<T, LIST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartVisitor::<T, LIST>(PhantomData)).map(Self)
    }
}

struct PartVisitor<T, const LIST: bool>(PhantomData<T>);

fn scalar<'de, T: Wanted<'de>, E: serde::de::Error>(
    value: impl IntoDeserializer<'de, E>,
) -> Result<T, E> {
    let mut wanted = T::default();
    wanted.text(Text::deserialize(value.into_deserializer())?);
    Ok(wanted)
}

impl<'de, T: Wanted<'de>, const LIST: bool> Visitor<'de> for PartVisitor<T, LIST> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut wanted = T::default();
        while let Some(name) = map.next_key::<Text<'_>>()? {
            if !wanted.field(name.get().unwrap_or_default(), &mut map)? {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(wanted)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<T, A::Error> {
        // Lists in lists are of no use, and would nest as deep as a record likes.
        let first = if LIST { list.next_element::<Part<T, false>>()? } else { None };
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first.map(|part| part.0).unwrap_or_default())
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<T, E> {
        let mut wanted = T::default();
        wanted.text(Text::deserialize(BorrowedStrDeserializer::new(text))?);
        Ok(wanted)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        let mut wanted = T::default();
        wanted.text(Text::deserialize(text.to_owned().into_deserializer())?);
        Ok(wanted)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<T, E> {
        scalar::<T, E>(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<T, E> {
        scalar::<T, E>(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<T, E> {
        scalar::<T, E>(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<T, E> {
        scalar::<T, E>(value)
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }
}

/// The first few parts of a list; of a single value that value, of nothing none.
#[derive(Debug)]
pub(crate) struct Parts<T>(pub(crate) Vec<T>);

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Wanted<'de>> Deserialize<'de> for Parts<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartsVisitor(PhantomData)).map(Self)
    }
}

struct PartsVisitor<T>(PhantomData<T>);

impl<'de, T: Wanted<'de>> Visitor<'de> for PartsVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
        PartVisitor::<T, false>(PhantomData).visit_map(map).map(|one| vec![one])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        const MAX: usize = 8;
        let mut parts = Vec::new();
        while let Some(Part(part)) = list.next_element::<Part<T, false>>()? {
            if parts.len() < MAX {
                parts.push(part);
            }
        }
        Ok(parts)
    }

    fn visit_str<E>(self, _: &str) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_unit<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }
}

/// Declares what is wanted of an object, with every spelling of each field's name.
macro_rules! wanted {
    ($($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty = $($key:literal)|+,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub(crate) struct $name<'a> { $(pub(crate) $field: $type,)* }

        impl<'a> $crate::part::Wanted<'a> for $name<'a> {
            fn field<A: serde::de::MapAccess<'a>>(
                &mut self,
                name: &str,
                map: &mut A,
            ) -> Result<bool, A::Error> {
                match name {
                    $($($key)|+ => self.$field = map.next_value()?,)*
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    )*};
}
pub(crate) use wanted;
