use std::sync::{Arc, LazyLock};

use serde::Serialize;

use super::json::Json;
use super::text::contains_either;
use super::{HttpRequest, HttpResponse, Limits, Masking, User};

/// What everything passes on its way into a record: it is masked, then cut.
#[derive(Clone, Default)]
pub(super) struct Admission {
    /// None is the default.
    pub(super) masking: Option<Arc<Masking>>,
    pub(super) limits: Limits,
}

impl Admission {
    fn masking(&self) -> &Masking {
        static DEFAULT: LazyLock<Masking> = LazyLock::new(Masking::default);
        self.masking.as_deref().unwrap_or(&DEFAULT)
    }

    pub(super) fn url(&self, to: &mut String, url: &str) {
        // Most have nothing that could be masked.
        match contains_either(url, b'?', b'@') {
            true => self.masked_url(to, url),
            false => self.limits.assign(to, url),
        }
    }

    #[inline(never)]
    fn masked_url(&self, to: &mut String, url: &str) {
        self.limits.assign(to, &self.masking().url(url));
    }

    /// Replaces headers, in their own memory. A name that comes again gets its values joined.
    pub(super) fn headers<'a>(
        &self,
        kept: &mut Vec<(String, String)>,
        headers: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        let mut n = 0;
        for (name, value) in headers {
            let Some(value) = self.masking().header(name, value) else { continue };
            let before = kept.iter_mut().take(n).find(|(k, _)| k.eq_ignore_ascii_case(name));
            if let Some((_, before)) = before {
                before.push_str(", ");
                before.push_str(&value);
                self.limits.cut(before);
                continue;
            }
            if kept.len() == n {
                kept.push(Default::default());
            }
            let (to_name, to_value) = &mut kept[n];
            self.limits.assign(to_name, name);
            self.limits.assign(to_value, &value);
            n += 1;
        }
        kept.truncate(n);
    }

    /// Takes a value; returns why it cannot be written as JSON.
    pub(super) fn json(&self, to: &mut Json, value: &impl Serialize) -> Option<Box<str>> {
        let failed = to.set(value).err().map(|e| e.to_string().into());
        self.admit(to);
        failed
    }

    pub(super) fn admit(&self, json: &mut Json) {
        if let Some(masked) = self.masking().json(json.get()) {
            json.set_text(masked);
        }
        self.limits.omit(json);
    }

    pub(super) fn request(&self, request: &mut HttpRequest) {
        let url = std::mem::take(&mut request.url);
        self.url(&mut request.url, &url);
        self.limits.cut(&mut request.method);
        self.limits.cut(&mut request.user_agent);
    }

    pub(super) fn response(&self, response: &mut HttpResponse) {
        self.limits.cut(&mut response.reason);
        if let Some(headers) = &mut response.headers {
            let given = std::mem::take(headers);
            self.headers(headers, given.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        }
    }

    pub(super) fn user(&self, user: &mut User) {
        let provider = &mut user.provider;
        for text in [&mut user.email, &mut user.ip, &mut provider.name, &mut provider.realm] {
            self.limits.cut(text);
        }
        user.roles.iter_mut().flatten().for_each(|role| self.limits.cut(role));
    }
}
