//! The tokens of a record and where they stand, for changes that leave every other byte as it is.

use std::borrow::Cow;
use std::ops::Range;

/// Where in a record something stands: what its parents are called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    Root,
    /// `data`
    Data,
    /// `data.identity`
    Identity,
    /// `data.request` or `data.response`
    Exchange,
    /// The headers of one of them.
    Headers,
    /// Inside of something secret.
    Secret,
    Other,
}

/// One token.
#[derive(Debug)]
pub(crate) enum Token<'a> {
    /// The name of a field of the object that stands at `of`, without its escapes.
    Name { at: Range<usize>, of: Place, name: Cow<'a, [u8]> },
    /// A string, a number, a word, or nonsense.
    Value { at: Range<usize>, place: Place },
}

/// Goes through the tokens of a text, without recursion. Text that is not JSON yields some, too.
///
/// `inner` says where the value of a name stands.
pub(crate) fn walk<'a>(
    text: &'a [u8],
    inner: impl Fn(Place, &[u8]) -> Place,
    mut each: impl FnMut(Token<'a>),
) {
    let mut walk = Walk { text, at: 0, open: Vec::new(), deeper: 0, next: Place::Root };
    while let Some(byte) = text.get(walk.at).copied() {
        let begin = walk.at;
        walk.at += 1;
        match byte {
            b'"' => {
                let escaped = walk.string();
                let at = begin..walk.at;
                if walk.before_colon() {
                    let (of, name) = (walk.parent(), walk.name(&at, escaped));
                    walk.next = inner(of, &name);
                    each(Token::Name { at, of, name });
                } else {
                    // A value, or the broken rest of one.
                    each(Token::Value { at, place: walk.next });
                }
            }
            // The elements of an array stand where it does.
            b'{' | b'[' if walk.open.len() < MAX_DEPTH => walk.open.push(walk.next),
            b'{' | b'[' => walk.deeper += 1,
            b'}' | b']' if walk.deeper > 0 => walk.deeper -= 1,
            b'}' | b']' => {
                walk.open.pop();
            }
            b',' => walk.next = walk.open.last().copied().unwrap_or(Place::Other),
            b':' => {}
            _ if byte.is_ascii_whitespace() => {}
            _ => {
                walk.scalar();
                each(Token::Value { at: begin..walk.at, place: walk.next });
            }
        }
    }
}

/// Puts other bytes in place of ranges, which are in order.
pub(crate) fn splice<'a>(
    text: &'a [u8],
    edits: Vec<(Range<usize>, Cow<'static, [u8]>)>,
) -> Cow<'a, [u8]> {
    if edits.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len() + 8 * edits.len());
    let mut from = 0;
    for (at, new) in edits {
        out.extend_from_slice(text.get(from..at.start).unwrap_or_default());
        out.extend_from_slice(&new);
        from = at.end;
    }
    out.extend_from_slice(text.get(from..).unwrap_or_default());
    Cow::Owned(out)
}

/// Places are known up to here; deeper down only what is inside of something secret.
const MAX_DEPTH: usize = 64;

struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    /// The places of the objects and arrays that are open; of those too deep only the number.
    open: Vec<Place>,
    deeper: usize,
    /// The place of the value that comes next.
    next: Place,
}

impl<'a> Walk<'a> {
    /// Passes the rest of a string; says whether it has escapes.
    fn string(&mut self) -> bool {
        let mut escaped = false;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(n) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = self.text.len();
                return escaped;
            };
            self.at += n + 1;
            if rest.get(n) == Some(&b'"') {
                return escaped;
            }
            escaped = true;
            self.at = (self.at + 1).min(self.text.len());
        }
    }

    /// Passes the rest of a number, a word, or nonsense.
    fn scalar(&mut self) {
        let ends = |b: &u8| matches!(b, b',' | b':' | b'}' | b']' | b'{' | b'[' | b'"');
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|b| ends(b) || b.is_ascii_whitespace());
        self.at += end.unwrap_or(rest.len());
    }

    fn before_colon(&self) -> bool {
        let after = self.text.get(self.at..).unwrap_or_default();
        after.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':')
    }

    fn name(&self, at: &Range<usize>, escaped: bool) -> Cow<'a, [u8]> {
        let string = self.text.get(at.clone()).unwrap_or_default();
        let inner = string.get(1..string.len().saturating_sub(1)).unwrap_or_default();
        match escaped.then(|| serde_json::from_slice::<String>(string)) {
            Some(Ok(name)) => Cow::Owned(name.into_bytes()),
            _ => Cow::Borrowed(inner),
        }
    }

    /// The place of the object whose field comes.
    fn parent(&self) -> Place {
        match self.open.last() {
            Some(Place::Secret) => Place::Secret,
            Some(place) if self.deeper == 0 => *place,
            _ => Place::Other,
        }
    }
}

/// Returns where the value of a name stands, secrets apart.
pub(crate) fn inner(of: Place, name: &[u8]) -> Place {
    match (of, name) {
        (Place::Root, b"data") => Place::Data,
        (Place::Data, b"identity") => Place::Identity,
        (Place::Data, b"request" | b"response") => Place::Exchange,
        (Place::Exchange, b"headers") => Place::Headers,
        _ => Place::Other,
    }
}
