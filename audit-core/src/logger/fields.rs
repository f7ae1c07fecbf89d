use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;

use super::json::Json;
use super::{Filter, HttpRequest, HttpResponse, Level, User};
use crate::{Action, Actor, Outcome, Target};

/// What a logger knows and a record holds.
#[derive(Default, PartialEq)]
pub(super) struct Fields {
    pub(super) http_request: Part<HttpRequest>,
    pub(super) http_response: Part<HttpResponse>,
    pub(super) user: Part<User>,
    pub(super) filter: Part<Filter>,
    pub(super) results: Part<Json>,
    pub(super) level: Level,
    pub(super) message: String,
    envelope: Part<Envelope>,
}

/// What the default line has no place for.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Envelope {
    pub(super) action: Action,
    pub(super) actor: Option<Actor>,
    pub(super) target: Option<Target>,
    pub(super) outcome: Option<Outcome>,
    pub(super) application: Option<Box<str>>,
    pub(super) correlation_id: Option<Box<str>>,
}

impl Fields {
    pub(super) fn envelope(&self) -> &Envelope {
        // As long as it is not set, it is the default.
        &self.envelope.value
    }

    pub(super) fn envelope_mut(&mut self) -> &mut Envelope {
        self.envelope.renew()
    }

    fn copy(&self) -> Box<Self> {
        let mut copy = take();
        copy.http_request.copy(&self.http_request);
        copy.http_response.copy(&self.http_response);
        copy.user.copy(&self.user);
        copy.filter.copy(&self.filter);
        copy.results.copy(&self.results);
        copy.level = self.level;
        copy.message.clone_from(&self.message);
        copy.envelope.copy(&self.envelope);
        copy
    }

    fn clear(&mut self) {
        self.http_request.clear();
        self.http_response.clear();
        self.user.clear();
        self.filter.clear();
        self.results.clear();
        self.level = Level::default();
        self.message.clear();
        if self.envelope.set {
            self.envelope = Part::default();
        }
    }

    /// How much memory is kept by the parts that may be large.
    fn capacity(&self) -> usize {
        let headers = self.http_response.value.headers.iter().flatten();
        self.http_request.value.url.capacity()
            + headers.map(|(name, value)| name.capacity() + value.capacity()).sum::<usize>()
            + self.filter.value.kwargs.capacity()
            + self.results.value.capacity()
            + self.message.capacity()
    }
}

/// A value that may be unset, and then keeps its memory for the next.
#[derive(Default)]
pub(super) struct Part<T> {
    value: T,
    set: bool,
}

impl<T> Part<T> {
    pub(super) fn get(&self) -> Option<&T> {
        self.set.then_some(&self.value)
    }

    /// Marks the value as set, and returns the old one to be overwritten.
    pub(super) fn renew(&mut self) -> &mut T {
        self.set = true;
        &mut self.value
    }

    pub(super) fn set(&mut self, value: T) {
        *self.renew() = value;
    }

    fn clear(&mut self) {
        self.set = false;
    }
}

impl<T: Clone> Part<T> {
    /// Takes over what is set, where nothing is.
    fn copy(&mut self, from: &Self) {
        if from.set {
            self.set = true;
            self.value.clone_from(&from.value);
        }
    }
}

impl<T: PartialEq> PartialEq for Part<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

/// Fields whose memory goes from one logger or record of a thread to the next, so that a program
/// that makes one for each event does not allocate for each event.
#[derive(Default)]
pub(super) struct Scratch(Option<Box<Fields>>);

/// So many a thread may keep, none of more than so many bytes.
const MAX_SPARE: usize = 16;
const MAX_SPARE_BYTES: usize = 8 << 10;

thread_local! {
    #[expect(clippy::vec_box, reason = "the boxes go in and out, and are large")]
    static SPARE: RefCell<Vec<Box<Fields>>> = const { RefCell::new(Vec::new()) };
}

/// Takes what a logger or a record of this thread has left, or memory of its own.
fn take() -> Box<Fields> {
    // A thread that ends, or a logger made while one is dropped, goes without.
    let spare = SPARE.try_with(|spare| spare.try_borrow_mut().ok()?.pop());
    spare.ok().flatten().unwrap_or_default()
}

fn give_back(mut fields: Box<Fields>) {
    if fields.capacity() > MAX_SPARE_BYTES {
        return;
    }
    fields.clear();
    let keep = |spare: &RefCell<Vec<Box<Fields>>>| {
        if let Ok(mut spare) = spare.try_borrow_mut()
            && spare.len() < MAX_SPARE
        {
            spare.push(fields);
        }
    };
    // A thread that ends keeps nothing.
    SPARE.try_with(keep).unwrap_or_default();
}

impl Deref for Scratch {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        match &self.0 {
            Some(fields) => fields,
            None => nothing(),
        }
    }
}

#[cold]
fn nothing() -> &'static Fields {
    static NOTHING: LazyLock<Fields> = LazyLock::new(Fields::default);
    &NOTHING
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Fields {
        self.0.get_or_insert_with(take)
    }
}

impl Clone for Scratch {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.as_deref().map(Fields::copy))
    }
}

impl PartialEq for Scratch {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Drop for Scratch {
    #[inline]
    fn drop(&mut self) {
        if let Some(fields) = self.0.take() {
            give_back(fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_handed_on_without_what_was_in_it() {
        let mut fields = Scratch::default();
        fields.http_request.renew().url.push_str("https://secret");
        fields.http_response.renew().headers = Some(vec![("a".into(), "b".into())]);
        fields.user.renew().roles = Some(vec!["r".into()]);
        fields.results.renew().set(&[1]).unwrap();
        fields.message.push('x');
        fields.envelope_mut().application = Some("x".into());
        drop(fields);
        let next = take();
        assert!(next.message.capacity() > 0, "the memory is there");
        assert!(*next == Fields::default());
    }

    #[test]
    fn much_memory_is_given_back() {
        let mut fields = Scratch::default();
        fields.message = "x".repeat(MAX_SPARE_BYTES + 1);
        drop(fields);
        assert!(take().message.capacity() <= MAX_SPARE_BYTES);
    }
}
