use std::path::PathBuf;

use audit_core::{Error, ErrorKind, Result};
use audit_source_port::{PortConfig, PortFilter, parse_time};
use chrono::{DateTime, Utc};
use clap::Args;
use humantime::Duration;

use crate::ship::{self, given};

/// The options about Port and its records.
#[derive(Args, Debug)]
#[command(next_help_heading = "Port")]
pub struct Port {
    /// The API: eu, us, or an address
    #[arg(long, global = true, env, value_name = "URL", default_value = "https://api.getport.io")]
    port_api_url: String,
    /// The id of a credential pair; tokens are renewed
    #[arg(long, global = true, env, value_name = "ID")]
    port_client_id: Option<String>,
    /// A file with the secret of that pair [env: PORT_CLIENT_SECRET is the secret itself]
    #[arg(long, global = true, env, value_name = "FILE")]
    port_client_secret_file: Option<PathBuf>,
    /// A file with a token instead, which is not renewed [env: PORT_API_TOKEN is the token itself]
    #[arg(long, global = true, env, value_name = "FILE")]
    port_api_token_file: Option<PathBuf>,
    /// Begin here, whatever was sent before; a day, or a time: 2026-01-31T10:30:00Z
    #[arg(short, long, global = true, env, value_name = "TIME")]
    from_date: Option<String>,
    /// End here
    #[arg(short, long, global = true, env, value_name = "TIME")]
    to_date: Option<String>,
    /// How many records to ask for at once; a time with more is asked for in parts [default: 1000]
    #[arg(long, global = true, env, value_name = "RECORDS")]
    audit_limit: Option<String>,
    /// How often to look for new records
    #[arg(
        long,
        global = true,
        env = "POLL_INTERVAL",
        value_name = "TIME",
        default_value = "1m",
        help_heading = "Run"
    )]
    poll_interval: Duration,
    /// How late a record may appear and still be found
    #[arg(
        long,
        global = true,
        env = "LOOK_BACK",
        value_name = "TIME",
        default_value = "10m",
        help_heading = "Run"
    )]
    look_back: Duration,
    /// Which records.
    #[command(flatten)]
    filter: Filter,
}

/// The API's own filters.
#[derive(Args, Debug)]
#[command(next_help_heading = "Which records")]
struct Filter {
    /// What they are about: entity, blueprint, run, webhook, scorecard, action, integration…
    #[arg(long, global = true, value_name = "KIND", value_delimiter = ',')]
    resources: Vec<String>,
    /// CREATE, UPDATE or DELETE
    #[arg(long, global = true, value_name = "ACTION")]
    action: Option<String>,
    /// automation or self-service
    #[arg(long, global = true, value_name = "TYPE")]
    action_type: Option<String>,
    /// SUCCESS or FAILURE
    #[arg(long, global = true, value_name = "STATUS")]
    status: Option<String>,
    /// Of this blueprint
    #[arg(long, global = true, value_name = "ID")]
    blueprint: Option<String>,
    /// Of this entity
    #[arg(long, global = true, value_name = "ID")]
    entity: Option<String>,
    /// Of this run of an action
    #[arg(long, global = true, value_name = "ID")]
    run_id: Option<String>,
    /// Of this webhook
    #[arg(long, global = true, value_name = "ID")]
    webhook_id: Option<String>,
    /// Of this event of a webhook
    #[arg(long, global = true, value_name = "ID")]
    webhook_event_id: Option<String>,
    /// Of this installation of an integration
    #[arg(long, global = true, value_name = "ID")]
    installation_id: Option<String>,
    /// Caused from here: UI, or an integration
    #[arg(long, global = true, value_name = "ORIGIN", value_delimiter = ',')]
    origin: Vec<String>,
    /// Only these fields of each record
    #[arg(long, global = true, value_name = "FIELD", value_delimiter = ',')]
    includes: Vec<String>,
    /// Also of entities that are deleted (with --entity, --blueprint and --status)
    #[arg(long, global = true)]
    include_deleted_entities: bool,
}

impl Port {
    /// Makes the source's configuration.
    pub(super) fn config(&self) -> Result<PortConfig> {
        let token = ship::secret("PORT_API_TOKEN", self.port_api_token_file.as_deref())?;
        let secret = ship::secret("PORT_CLIENT_SECRET", self.port_client_secret_file.as_deref())?;
        let mut config = match (given(&self.port_client_id), secret, token) {
            (Some(id), Some(secret), _) => PortConfig::new(id, secret),
            (None, None, Some(token)) => PortConfig::with_token(token),
            _ => {
                return Err(Error::new(ErrorKind::Config, "no credentials for Port are given")
                    .with("variable", "PORT_CLIENT_ID, PORT_CLIENT_SECRET")
                    .with_hint(
                        "set both, as Port shows them under Credentials; or PORT_API_TOKEN, which \
                         ends after some hours",
                    ));
            }
        };
        self.port_api_url.trim().clone_into(&mut config.url);
        (config.from, config.to) = (self.from()?, self.to()?);
        if let Some(limit) = given(&self.audit_limit) {
            config.limit = limit.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                Error::new(ErrorKind::Config, "not a number of records")
                    .with("variable", "AUDIT_LIMIT")
                    .with_hint("write digits only, as in 1000")
            })?;
        }
        config.proxy = ship::secret("HTTPS_PROXY", None)?.or(ship::secret("https_proxy", None)?);
        config.poll_interval = self.poll_interval.into();
        config.look_back = self.look_back.into();
        config.filter = self.filter.config();
        Ok(config)
    }

    /// Returns the name of the time that is asked for, if it begins at a given one.
    pub(super) fn range(&self) -> Result<Option<String>> {
        let name = |time: DateTime<Utc>| time.format("%Y%m%dT%H%M%S%3fZ").to_string();
        let to = self.to()?.map(|to| format!("-{}", name(to))).unwrap_or_default();
        Ok(self.from()?.map(|from| format!("from-{}{to}", name(from))))
    }

    fn from(&self) -> Result<Option<DateTime<Utc>>> {
        time("FROM_DATE", &self.from_date)
    }

    fn to(&self) -> Result<Option<DateTime<Utc>>> {
        time("TO_DATE", &self.to_date)
    }
}

fn time(variable: &str, text: &Option<String>) -> Result<Option<DateTime<Utc>>> {
    given(text).map(parse_time).transpose().map_err(|e| e.with("variable", variable))
}

impl Filter {
    fn config(&self) -> PortFilter {
        let mut filter = PortFilter::default();
        filter.action.clone_from(&self.action);
        filter.action_type.clone_from(&self.action_type);
        filter.blueprint.clone_from(&self.blueprint);
        filter.entity.clone_from(&self.entity);
        filter.include_deleted_entities = self.include_deleted_entities;
        filter.includes.clone_from(&self.includes);
        filter.installation_id.clone_from(&self.installation_id);
        filter.origin.clone_from(&self.origin);
        filter.resources.clone_from(&self.resources);
        filter.run_id.clone_from(&self.run_id);
        filter.status.clone_from(&self.status);
        filter.webhook_event_id.clone_from(&self.webhook_event_id);
        filter.webhook_id.clone_from(&self.webhook_id);
        filter
    }
}
