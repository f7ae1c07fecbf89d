use std::fmt;
use std::time::Duration;

use audit_core::{Error, ErrorKind, Result};
use reqwest::header::HeaderValue;
use serde::Deserialize;
use tokio::time::Instant;

use crate::config::{Credentials, bearer};
use crate::error;

/// The longest time before its end at which a token is renewed.
const MARGIN: Duration = Duration::from_secs(60);

/// A token that was given for a credential pair.
///
/// There is only one valid token for a pair: asking again before its end returns the same one, with
/// less time left. So a new token may be near its end as well, and is renewed again.
pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    renew_at: Instant,
}

impl Token {
    /// Reads what the API gave.
    ///
    /// # Errors
    /// When there is no usable token in it. The answer is not in the message.
    pub(crate) fn read(body: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            access_token: String,
            #[serde(default)]
            expires_in: Option<f64>,
        }
        let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
            let odd = body.trim_ascii_start().starts_with(b"{");
            return Err(if odd {
                Error::new(ErrorKind::Unavailable, "the answer holds no token")
            } else {
                error::not_json(body)
            });
        };
        let seconds = answer.expires_in.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
        let life = Duration::from_secs_f64(seconds.unwrap_or(600.0).min(86_400.0));
        let header = bearer(&answer.access_token)?;
        Ok(Self { header, renew_at: Instant::now() + life - MARGIN.min(life / 10) })
    }

    pub(crate) fn is_due(&self) -> bool {
        Instant::now() >= self.renew_at
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Takes every credential in use out of a text that somebody else wrote.
pub(crate) fn without_secrets(
    text: &str,
    credentials: &Credentials,
    token: Option<&Token>,
) -> String {
    let fixed = match credentials {
        Credentials::Pair { secret, .. } => secret.expose().trim(),
        Credentials::Token(header) => bare(header),
    };
    let given = token.map_or("", |token| bare(&token.header));
    [fixed, given]
        .into_iter()
        .filter(|secret| !secret.is_empty())
        .fold(text.to_owned(), |text, secret| text.replace(secret, "REDACTED"))
}

fn bare(header: &HeaderValue) -> &str {
    header.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use audit_core::Secret;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn n02_is_renewed_a_little_before_its_end() {
        for (expires, renewed) in [("10800", 10_740.0), ("30", 27.0), ("0.5", 0.45)] {
            let body = format!(r#"{{"ok":true,"accessToken":"t","expiresIn":{expires}}}"#);
            let token = Token::read(body.as_bytes()).unwrap();
            assert!(!token.is_due());
            tokio::time::advance(Duration::from_secs_f64(renewed - 0.01)).await;
            assert!(!token.is_due(), "{expires}");
            tokio::time::advance(Duration::from_secs_f64(0.02)).await;
            assert!(token.is_due(), "{expires}");
        }
        for odd in ["null", "-1", "1e300"] {
            let body = format!(r#"{{"accessToken":"t","expiresIn":{odd}}}"#);
            assert!(!Token::read(body.as_bytes()).unwrap().is_due());
        }
    }

    #[test]
    fn an_answer_without_a_token_is_an_error_that_does_not_repeat_it() {
        for body in ["", "{}", r#"{"accessToken":{"canary":1}}"#, r#"{"accessToken":"can ary"}"#] {
            let error = Token::read(body.as_bytes()).unwrap_err();
            assert!(!format!("{error:?}").contains("ary"), "{error:?}");
        }
    }

    #[test]
    fn n04_secrets_are_taken_out_of_what_servers_say() {
        let token = Token::read(br#"{"accessToken":"short-lived"}"#).unwrap();
        let secret = Secret::new("for-ever");
        let pair = Credentials::Pair { id: "id".to_owned(), secret };
        let text = "no short-lived and no for-ever here";
        let expected = "no REDACTED and no REDACTED here";
        assert_eq!(without_secrets(text, &pair, Some(&token)), expected);
        let fixed = Credentials::Token(bearer("for-ever").unwrap());
        assert!(!without_secrets(text, &fixed, None).contains("for-ever"));
        assert!(!format!("{token:?}").contains("short"));
    }
}
