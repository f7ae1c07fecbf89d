use super::fields::Fields;
use super::text::{append_number, append_quoted, append_text};
use super::{HttpRequest, HttpResponse, Level};

/// Where the provider of a user stands.
#[derive(Clone, Copy)]
pub(super) enum User {
    /// Directly in the user, as two texts.
    Flat,
    /// In an object of its own.
    Nested,
}

/// Appends the line with the seven keys.
pub(super) fn append(out: &mut Vec<u8>, fields: &Fields, form: User) {
    match fields.http_request.get() {
        Some(request) => append_request(out, request),
        None => out.extend_from_slice(br#"{"audit": {"http_request": null, "http_response": "#),
    }
    let (response, user) = (fields.http_response.get(), fields.user.get());
    let (filter, results) = (fields.filter.get(), fields.results.get());
    if let (None, None, None, None) = (response, user, filter, results) {
        const NONE: &[u8] = br#"null, "user": null, "filter": null, "results": null"#;
        out.extend_from_slice(NONE);
        return append_end(out, fields);
    }
    match response {
        Some(response) => append_response(out, response),
        None => out.extend_from_slice(br#"null, "user": "#),
    }
    match user {
        Some(user) => append_user(out, user, form),
        None => out.extend_from_slice(br#"null, "filter": "#),
    }
    match filter {
        Some(filter) => {
            out.extend_from_slice(br#"{"object": "#);
            append_quoted(out, &filter.object);
            out.extend_from_slice(br#", "kwargs": "#);
            out.extend_from_slice(filter.kwargs_json().as_bytes());
            out.extend_from_slice(br#"}, "results": "#);
        }
        None => out.extend_from_slice(br#"null, "results": "#),
    }
    match results {
        Some(results) => out.extend_from_slice(results.get().as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
    append_end(out, fields);
}

fn append_end(out: &mut Vec<u8>, fields: &Fields) {
    // The level most records have goes by a branch that is foreseen.
    if fields.level == Level::Info {
        out.extend_from_slice(br#", "type": "INFO", "message": ""#);
    } else {
        out.extend_from_slice(br#", "type": ""#);
        out.extend_from_slice(fields.level.as_str().as_bytes());
        out.extend_from_slice(br#"", "message": ""#);
    }
    append_text(out, &fields.message);
    out.extend_from_slice(br#""}}"#);
}

fn append_request(out: &mut Vec<u8>, request: &HttpRequest) {
    out.extend_from_slice(br#"{"audit": {"http_request": {"method": ""#);
    append_text(out, &request.method);
    out.extend_from_slice(br#"", "url": ""#);
    append_text(out, &request.url);
    out.extend_from_slice(br#"", "user_agent": ""#);
    append_text(out, &request.user_agent);
    out.extend_from_slice(br#""}, "http_response": "#);
}

fn append_response(out: &mut Vec<u8>, response: &HttpResponse) {
    out.extend_from_slice(br#"{"status_code": "#);
    append_number(out, response.status_code);
    out.extend_from_slice(br#", "reason": "#);
    append_quoted(out, &response.reason);
    out.extend_from_slice(br#", "headers": "#);
    match &response.headers {
        Some(headers) => {
            for (n, (name, value)) in headers.iter().enumerate() {
                out.extend_from_slice(if n == 0 { b"{" } else { b", " });
                append_quoted(out, name);
                out.extend_from_slice(b": ");
                append_quoted(out, value);
            }
            out.extend_from_slice(if headers.is_empty() { b"{}" } else { b"}" });
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(br#"}, "user": "#);
}

fn append_user(out: &mut Vec<u8>, user: &super::User, form: User) {
    let authenticated: &[u8] = if user.authenticated { b"true" } else { b"false" };
    out.extend_from_slice(br#"{"authenticated": "#);
    out.extend_from_slice(authenticated);
    if let User::Flat = form {
        append_provider(out, br#", "provider": "#, user);
    }
    out.extend_from_slice(br#", "email": "#);
    append_quoted(out, &user.email);
    out.extend_from_slice(br#", "roles": "#);
    match &user.roles {
        Some(roles) => {
            out.push(b'[');
            for (n, role) in roles.iter().enumerate() {
                if n > 0 {
                    out.extend_from_slice(b", ");
                }
                append_quoted(out, role);
            }
            out.push(b']');
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(br#", "ip": "#);
    append_quoted(out, &user.ip);
    if let User::Nested = form {
        append_provider(out, br#", "provider": {"name": "#, user);
        out.push(b'}');
    }
    out.extend_from_slice(br#"}, "filter": "#);
}

fn append_provider(out: &mut Vec<u8>, key: &[u8], user: &super::User) {
    out.extend_from_slice(key);
    append_quoted(out, &user.provider.name);
    out.extend_from_slice(br#", "realm": "#);
    append_quoted(out, &user.provider.realm);
}
