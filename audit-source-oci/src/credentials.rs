use std::path::{Path, PathBuf};
use std::sync::Arc;

use audit_core::{Clock, Error, ErrorKind, Result, Secret};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::config::{AuthMethod, OciConfig};
use crate::key::PrivateKey;
use crate::principal;
use crate::profile::{Profile, expand, read_text};
use crate::region;

/// A token is renewed when it has less than this left.
const MARGIN: TimeDelta = TimeDelta::seconds(60);

/// As whom requests are signed.
#[derive(Debug)]
pub(crate) struct Signer {
    /// Says whose key it is; holds the token, where there is one.
    pub(crate) key_id: Secret,
    pub(crate) key: PrivateKey,
    pub(crate) tenancy: String,
    /// The home region of the credentials.
    pub(crate) region: String,
    /// When the token ends.
    pub(crate) expires: Option<DateTime<Utc>>,
    /// What will be the reason if these are refused.
    pub(crate) suspicion: Option<String>,
}

/// Where signers come from; holds the current one.
pub(crate) struct Credentials {
    config: Arc<OciConfig>,
    current: Mutex<Option<Arc<Signer>>>,
}

impl Credentials {
    pub(crate) fn new(config: Arc<OciConfig>) -> Self {
        Self { config, current: Mutex::new(None) }
    }

    /// Returns the signer, a new one if the last has ended or is about to.
    pub(crate) async fn signer(
        &self,
        http: &reqwest::Client,
        clock: &Clock,
    ) -> Result<Arc<Signer>> {
        let mut current = self.current.lock().await;
        let fresh =
            |signer: &&Arc<Signer>| signer.expires.is_none_or(|at| clock.now() + MARGIN < at);
        if let Some(signer) = current.as_ref().filter(fresh) {
            return Ok(Arc::clone(signer));
        }
        let signer = Arc::new(self.load(http, clock).await?);
        if let Some(ended) = signer.expires.filter(|at| *at <= clock.now()) {
            return Err(Error::new(ErrorKind::Auth, "the session token has ended")
                .with("ended", ended)
                .with_hint("renew it: `oci session refresh`, or `oci session authenticate`"));
        }
        *current = Some(Arc::clone(&signer));
        Ok(signer)
    }

    /// Looks whether there are other credentials than those just refused.
    pub(crate) async fn renew(
        &self,
        refused: &Arc<Signer>,
        http: &reqwest::Client,
        clock: &Clock,
    ) -> Result<Option<Arc<Signer>>> {
        let mut current = self.current.lock().await;
        match current.as_ref() {
            Some(signer) if !Arc::ptr_eq(signer, refused) => return Ok(Some(Arc::clone(signer))),
            _ if refused.expires.is_none() => return Ok(None),
            _ => {}
        }
        let signer = Arc::new(self.load(http, clock).await?);
        let changed = signer.key_id.expose() != refused.key_id.expose();
        *current = Some(Arc::clone(&signer));
        Ok(changed.then_some(signer))
    }

    async fn load(&self, http: &reqwest::Client, clock: &Clock) -> Result<Signer> {
        let config = Arc::clone(&self.config);
        let signer = match config.auth {
            AuthMethod::InstancePrincipal => principal::instance(&config, http, clock).await,
            AuthMethod::Profile => blocking(move || of_profile(&config)).await,
            AuthMethod::ResourcePrincipal => blocking(move || of_resource(&config)).await,
        };
        signer.map_err(|e| e.while_doing("load the credentials"))
    }
}

async fn blocking(load: impl FnOnce() -> Result<Signer> + Send + 'static) -> Result<Signer> {
    tokio::task::spawn_blocking(load).await.map_err(|e| {
        Error::new(ErrorKind::Unexpected, "loading the credentials was interrupted").because(e)
    })?
}

fn of_profile(config: &OciConfig) -> Result<Signer> {
    let home = config.home.as_deref();
    let given = [&config.tenancy, &config.user, &config.fingerprint, &config.region];
    let has_key = config.key.is_some() || config.key_file.is_some();
    let complete = has_key && given.iter().all(|option| option.is_some());
    // Everything may stand in the options; then no file is needed.
    let profile = if complete && config.config_file.is_none() {
        None
    } else {
        let path = config.config_file.clone().unwrap_or_else(|| PathBuf::from("~/.oci/config"));
        Some(Profile::load(&expand(&path, home)?, &config.profile)?)
    };
    let value = |option: &Option<String>, key: &str| -> Result<String> {
        if let Some(value) = option {
            return Ok(value.clone());
        }
        let profile = profile.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Config, "an option is missing").with("option", key)
        })?;
        profile.get(key).map(str::to_owned).ok_or_else(|| profile.missing(key))
    };
    let file = |option: &Option<PathBuf>, key: &str| -> Option<PathBuf> {
        option.clone().or_else(|| profile.as_ref()?.get(key).map(PathBuf::from))
    };
    let tenancy = value(&config.tenancy, "tenancy")?;
    let region = region::full_name(&value(&config.region, "region")?);
    let phrase = config.pass_phrase.as_ref().or_else(|| profile.as_ref()?.secret("pass_phrase"));
    let pem = match (&config.key, file(&config.key_file, "key_file")) {
        (Some(key), _) => key.clone(),
        (None, Some(path)) => secret_of_file(&expand(&path, home)?, "the private key")?,
        (None, None) => {
            let missing = |p: &Profile| p.missing("key_file");
            return Err(profile.as_ref().map_or_else(
                || Error::new(ErrorKind::Config, "an option is missing").with("option", "key_file"),
                missing,
            ));
        }
    };
    let key = PrivateKey::from_pem(&pem, phrase)?;
    let own_user = config.user.is_some() && config.security_token_file.is_none();
    let token_file = file(&config.security_token_file, "security_token_file");
    if let Some(path) = token_file.filter(|_| !own_user) {
        let token = secret_of_file(&expand(&path, home)?, "the session token")?;
        let claims = Claims::of(&token)?;
        return Ok(claims.signer(&token, key, Some(tenancy), region));
    }
    let user = value(&config.user, "user")?;
    let fingerprint = value(&config.fingerprint, "fingerprint")?;
    let own = key.fingerprint();
    let suspicion = (!fingerprint.eq_ignore_ascii_case(&own)).then(|| {
        format!("the fingerprint configured is {fingerprint}, that of the private key is {own}")
    });
    let key_id = Secret::new(format!("{tenancy}/{user}/{fingerprint}"));
    Ok(Signer { key_id, key, tenancy, region, expires: None, suspicion })
}

fn of_resource(config: &OciConfig) -> Result<Signer> {
    let given = config.resource_principal.as_ref().ok_or_else(|| {
        Error::new(ErrorKind::Config, "an option is missing").with("option", "resource_principal")
    })?;
    let value = |secret: &Secret, what: &str| {
        let path = Path::new(secret.expose());
        if path.is_absolute() { secret_of_file(path, what) } else { Ok(secret.clone()) }
    };
    let token = value(&given.token, "the session token")?;
    let pem = value(&given.private_key, "the private key")?;
    let phrase = given.pass_phrase.as_ref().map(|p| value(p, "the pass phrase")).transpose()?;
    let key = PrivateKey::from_pem(&pem, phrase.as_ref())?;
    let claims = Claims::of(&token)?;
    Ok(claims.signer(&token, key, config.tenancy.clone(), region::full_name(&given.region)))
}

fn secret_of_file(path: &Path, what: &str) -> Result<Secret> {
    read_text(path, what).map(|text| Secret::new(text.trim()))
}

/// What a session token says of itself; it is a JWT, and its signature is for others to check.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Claims {
    exp: Option<i64>,
    tenant: Option<String>,
    res_tenant: Option<String>,
}

impl Claims {
    /// # Errors
    /// [`ErrorKind::Config`] for what is not a token; it is not in the message.
    pub(crate) fn of(token: &Secret) -> Result<Self> {
        let claims = token.expose().split('.').nth(1);
        let claims = claims.and_then(|part| BASE64URL.decode(part.trim_end_matches('=')).ok());
        claims
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or_else(|| Error::new(ErrorKind::Config, "the session token is not a JWT"))
    }

    pub(crate) fn signer(
        self,
        token: &Secret,
        key: PrivateKey,
        tenancy: Option<String>,
        region: String,
    ) -> Signer {
        Signer {
            key_id: Secret::new(format!("ST${}", token.expose())),
            key,
            tenancy: tenancy.or(self.res_tenant).or(self.tenant).unwrap_or_default(),
            region,
            // One that does not say ends when it is refused.
            expires: Some(
                self.exp
                    .and_then(|s| DateTime::from_timestamp(s, 0))
                    .unwrap_or(DateTime::<Utc>::MAX_UTC),
            ),
            suspicion: Some("the session token may have ended; renew it".to_owned()),
        }
    }
}
