use std::path::PathBuf;

use audit_core::{Error, ErrorKind, Result, Secret};
use audit_source_oci::{AuthMethod, Keys, OciConfig, Preset};
use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use humantime::Duration;

use super::output::Format;
use crate::cli::Global;
use crate::{app, exit, oci};

/// Export the audit events of Oracle Cloud Infrastructure of a time range to one file.
///
/// Every event of the range is there once, or the run fails and says what is missing. A run that was
/// cut short goes on where it was when it is started again.
#[derive(Debug, Parser)]
#[command(
    name = "oci-export",
    version,
    propagate_version = true,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = exit::HELP,
    after_long_help = format!("{EXAMPLES}\n{}", exit::HELP),
)]
pub struct Cli {
    /// What to do instead of an export.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Which events, and where to.
    #[command(flatten)]
    pub export: Export,
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
}

const EXAMPLES: &str = "\
Examples:
  oci-export --startdate 2026-01-01 --enddate 2026-01-31 --outputfile january.json
  oci-export --startdate 2026-01-01 --enddate 2026-01-31 --all-compartments --all-regions \\
      --preset iam --outputfile iam.ndjson.zst
  oci-export --startdate 2026-01-31T10:00:00Z --enddate 2026-01-31T11:00:00Z --outputfile - | jq .
  oci-export --startdate 2026-01-01 --outputfile january.json --check
";

/// What to do instead of an export.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a completion script for a shell to stdout
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual page to stdout, or a page a command to a directory
    Man {
        /// Write one page a command to this directory
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Which events, and where to.
#[derive(Args, Debug)]
pub struct Export {
    /// The first day (UTC), or a time: 2026-01-31 or 2026-01-31T10:00:00Z
    #[arg(long, visible_alias = "start", value_name = "DAY")]
    startdate: Option<String>,
    /// The last day (UTC), or the time to end before [default: 10 minutes ago, when all is there]
    #[arg(long, visible_alias = "end", value_name = "DAY")]
    enddate: Option<String>,
    /// The file; `.json`, `.ndjson` and `.csv` say the format, `.gz` and `.zst` compress; `-` is
    /// stdout
    #[arg(long, short, value_name = "FILE")]
    pub outputfile: Option<PathBuf>,
    /// The format [default: by the ending of the file, else json; ndjson for stdout]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Begin anew, though an export to this file was cut short
    #[arg(long, conflicts_with = "resume")]
    pub restart: bool,
    /// Go on with an export that was cut short, which is the default
    #[arg(long)]
    pub resume: bool,
    /// Find out whether an export could work, and write nothing
    #[arg(long)]
    pub check: bool,
    /// Write what was done to stdout, as one line of JSON
    #[arg(long)]
    pub summary_json: bool,
    /// Which events.
    #[command(flatten)]
    select: Select,
    /// As whom.
    #[command(flatten)]
    login: Login,
    /// How they are fetched.
    #[command(flatten)]
    fetch: Fetch,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Which events")]
struct Select {
    /// A compartment's OCID; may be given more than once [default: the root of the tenancy]
    #[arg(long, value_name = "OCID")]
    compartment: Vec<String>,
    /// All compartments, from the root down
    #[arg(long, conflicts_with = "compartment")]
    all_compartments: bool,
    /// A compartment's OCID, as an earlier program had it; other text is a pattern as for --event
    #[arg(long, value_name = "OCID")]
    eventfilter: Option<String>,
    /// Only events whose type or name is like this: *.LaunchInstance*, com.oraclecloud.…; may be
    /// given more than once
    #[arg(long, value_name = "PATTERN")]
    event: Vec<String>,
    /// Only events of this group
    #[arg(long, value_enum, value_name = "NAME")]
    preset: Option<Group>,
    /// A region: eu-frankfurt-1, or fra; may be given more than once [default: the profile's]
    #[arg(long, value_name = "REGION")]
    region: Vec<String>,
    /// All regions the tenancy is subscribed to
    #[arg(long, conflicts_with = "region")]
    all_regions: bool,
    /// Keep credentials, tokens and signatures in the events, which are blanked otherwise
    #[arg(long)]
    no_redact: bool,
    /// How the events' own keys are spelled; names inside of tags, headers and payloads stay
    #[arg(long, value_enum, value_name = "HOW", default_value = "camel")]
    keys: Spelling,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Login")]
struct Login {
    /// How requests are authorised
    #[arg(long, env = "OCI_CLI_AUTH", value_enum, value_name = "HOW", default_value = "profile")]
    auth: Auth,
    /// The profile
    #[arg(long, env = "OCI_CLI_PROFILE", value_name = "NAME", default_value = "DEFAULT")]
    profilename: String,
    /// The file with profiles [default: ~/.oci/config]
    #[arg(long, env = "OCI_CLI_CONFIG_FILE", value_name = "FILE")]
    ociconfig: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Fetching")]
struct Fetch {
    /// The longest time asked for at once
    #[arg(long, value_name = "TIME", default_value = "14d")]
    window: Duration,
    /// How many of these are fetched at the same time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: u16,
    /// Leave out what cannot be read, list it in a manifest beside the file, and end with exit code
    /// 10
    #[arg(long)]
    allow_gaps: bool,
    /// The address of the Audit service; may hold {region}
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The address of the Identity service
    #[arg(long, value_name = "URL")]
    identity_endpoint: Option<String>,
    /// An authority (PEM) to trust beside the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The proxy to go through; for one with a password set the variable HTTPS_PROXY [default: that
    /// of HTTPS_PROXY, but for what NO_PROXY names]
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Sign-ins, MFA, tokens, API keys, passwords, sessions and locks of users
    Iam,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Spelling {
    /// As the service sends them: eventType
    Camel,
    /// As Oracle's SDK for Python has them: event_type
    Snake,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Auth {
    /// A profile of the configuration file, with an API key or a session token
    #[value(alias = "api_key", alias = "security_token")]
    Profile,
    /// The instance that this runs on
    #[value(name = "instance_principal")]
    InstancePrincipal,
    /// The function or container that this runs in
    #[value(name = "resource_principal")]
    ResourcePrincipal,
}

impl Export {
    /// Returns whether the end of the range is given.
    pub(super) fn has_end(&self) -> bool {
        self.enddate.is_some()
    }

    /// Makes the source's configuration.
    pub(super) fn config(&self, now: DateTime<Utc>) -> Result<OciConfig> {
        let mut config = OciConfig::new();
        let start = self.startdate.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::Config, "no start is given")
                .with("option", "--startdate")
                .with_hint("give the first day, as in --startdate 2026-01-01")
        })?;
        config.start = Some(instant("--startdate", start, 0)?);
        config.end = Some(match self.enddate.as_deref() {
            Some(end) => instant("--enddate", end, 1)?,
            None => now,
        });
        if config.start > config.end {
            return Err(Error::new(ErrorKind::Config, "the range ends before it begins")
                .with("option", "--enddate"));
        }
        self.select.apply(&mut config);
        self.login.apply(&mut config)?;
        let fetch = &self.fetch;
        config.window = fetch.window.into();
        config.concurrency = fetch.concurrency.into();
        config.allow_gaps = fetch.allow_gaps;
        config.endpoint.clone_from(&fetch.endpoint);
        config.identity_endpoint.clone_from(&fetch.identity_endpoint);
        config.ca_file.clone_from(&fetch.ca_file);
        config.proxy = fetch.proxy.as_deref().map(Secret::new);
        oci::proxy(&mut config);
        Ok(config)
    }
}

/// Reads a time, or a day of which `days` later counts.
fn instant(option: &str, text: &str, days: u64) -> Result<DateTime<Utc>> {
    let day = text.parse::<NaiveDate>().ok().and_then(|day| day.checked_add_days(Days::new(days)));
    let time = || DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
    day.map(|day| day.and_time(NaiveTime::MIN).and_utc()).or_else(time).ok_or_else(|| {
        Error::new(ErrorKind::Config, "neither a day nor a time")
            .with("option", option)
            .with("text", text.escape_debug())
            .with_hint("write 2026-01-31, or 2026-01-31T10:00:00Z")
    })
}

impl Select {
    fn apply(&self, config: &mut OciConfig) {
        config.compartments.clone_from(&self.compartment);
        config.all_compartments = self.all_compartments;
        config.events.clone_from(&self.event);
        let filter = self.eventfilter.as_deref().map(str::trim).filter(|text| !text.is_empty());
        if let Some(filter) = filter {
            let is_compartment = filter.starts_with("ocid1.");
            let there = self.all_compartments || self.compartment.iter().any(|c| c == filter);
            if !is_compartment {
                config.events.push(filter.to_owned());
            } else if !there {
                config.compartments.push(filter.to_owned());
            }
        }
        config.preset = self.preset.map(|Group::Iam| Preset::Iam);
        config.regions.clone_from(&self.region);
        config.all_regions = self.all_regions;
        config.redact = !self.no_redact;
        config.keys = match self.keys {
            Spelling::Camel => Keys::Camel,
            Spelling::Snake => Keys::Snake,
        };
    }
}

impl Login {
    fn apply(&self, config: &mut OciConfig) -> Result<()> {
        config.profile.clone_from(&self.profilename);
        config.config_file.clone_from(&self.ociconfig);
        config.auth = match self.auth {
            Auth::Profile => AuthMethod::Profile,
            Auth::InstancePrincipal => AuthMethod::InstancePrincipal,
            Auth::ResourcePrincipal => AuthMethod::ResourcePrincipal,
        };
        oci::complete(config)
    }
}

impl app::Options for Cli {
    fn global(&self) -> &Global {
        &self.global
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &str) -> Result<OciConfig> {
        let cli = Cli::parse_from(["oci-export"].into_iter().chain(args.split_whitespace()));
        cli.export.config("2026-03-01T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn the_last_day_is_part_of_the_range_and_a_time_is_its_end() {
        let days = config("--startdate 2026-01-01 --enddate 2026-01-31").unwrap();
        assert_eq!(days.start.unwrap().to_rfc3339(), "2026-01-01T00:00:00+00:00");
        assert_eq!(days.end.unwrap().to_rfc3339(), "2026-02-01T00:00:00+00:00");
        let times = config("--startdate 2026-01-01T10:00:00Z --end 2026-01-01T12:00:00+01:00");
        assert_eq!(times.unwrap().end.unwrap().to_rfc3339(), "2026-01-01T11:00:00+00:00");
        let open = config("--startdate 2026-01-01").unwrap();
        assert_eq!(open.end.unwrap().to_rfc3339(), "2026-03-01T00:00:00+00:00");
        for wrong in [
            "--startdate 01.01.26",
            "--startdate 2026-02-01 --enddate 2026-01-01",
            "--outputfile x",
        ] {
            assert_eq!(config(wrong).unwrap_err().kind(), ErrorKind::Config, "{wrong}");
        }
    }

    #[test]
    fn the_old_event_filter_is_a_compartment_or_a_pattern() {
        let old = config("--startdate 2026-01-01 --eventfilter ocid1.compartment.oc1..x").unwrap();
        assert_eq!((old.compartments.len(), old.events.len()), (1, 0));
        let pattern = config("--startdate 2026-01-01 --eventfilter *.Login").unwrap();
        assert_eq!((pattern.compartments.len(), &*pattern.events[0]), (0, "*.Login"));
    }
}
