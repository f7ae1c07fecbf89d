use super::json::Json;

/// How large the parts of a record may become.
///
/// What is larger is cut or left out, visibly: a text ends in `…[+1234 bytes]`, and in the place of
/// the filter's conditions or the results stands `{"omitted_bytes": 1234567}`. With the default
/// values a record of an ordinary request stays below 1 MB, which most message brokers accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest text (message, URL, one header), in bytes. Default 64 KiB.
    pub max_text_bytes: usize,
    /// The largest filter or results, in bytes of JSON. Default 512 KiB.
    pub max_json_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_text_bytes: 64 << 10, max_json_bytes: 512 << 10 }
    }
}

impl Limits {
    /// Bounds nothing.
    pub fn none() -> Self {
        Self { max_text_bytes: usize::MAX, max_json_bytes: usize::MAX }
    }

    /// Sets [`max_text_bytes`](Self::max_text_bytes).
    #[must_use]
    pub fn max_text_bytes(mut self, bytes: usize) -> Self {
        self.max_text_bytes = bytes;
        self
    }

    /// Sets [`max_json_bytes`](Self::max_json_bytes).
    #[must_use]
    pub fn max_json_bytes(mut self, bytes: usize) -> Self {
        self.max_json_bytes = bytes;
        self
    }

    /// Replaces a text, in its own memory.
    pub(super) fn assign(self, to: &mut String, text: &str) {
        to.clear();
        if text.len() <= self.max_text_bytes {
            to.push_str(text);
        } else {
            self.push_cut(to, text);
        }
    }

    #[cold]
    fn push_cut(self, to: &mut String, text: &str) {
        let (kept, cut) = text.split_at(text.floor_char_boundary(self.max_text_bytes));
        to.push_str(kept);
        to.push_str(&format!("…[+{} bytes]", cut.len()));
    }

    /// Cuts a text that is too large.
    pub(super) fn cut(self, text: &mut String) {
        if text.len() > self.max_text_bytes {
            let whole = std::mem::take(text);
            self.assign(text, &whole);
        }
    }

    /// Leaves out JSON that is too large.
    pub(super) fn omit(self, json: &mut Json) {
        let bytes = json.get().len();
        if bytes > self.max_json_bytes {
            json.set_text(format!(r#"{{"omitted_bytes": {bytes}}}"#));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_cut_where_a_character_ends_and_says_so() {
        let limits = Limits::default().max_text_bytes(3).max_json_bytes(4);
        let mut text = String::new();
        limits.assign(&mut text, "ab");
        assert_eq!(text, "ab");
        limits.assign(&mut text, "abéd");
        assert_eq!(text, "ab…[+3 bytes]");
        let mut json = Json::of(&[1, 2, 3]).unwrap();
        limits.omit(&mut json);
        assert_eq!(json.get(), r#"{"omitted_bytes": 9}"#);
        limits.omit(&mut json);
        assert_eq!(json.get(), r#"{"omitted_bytes": 20}"#);
        let mut json = Json::of(&[1]).unwrap();
        limits.omit(&mut json);
        assert_eq!(json.get(), "[1]");
    }
}
