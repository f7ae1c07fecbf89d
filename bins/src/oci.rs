//! What the environment says to the source of Oracle Cloud, by the names that Oracle's own tools have
//! for it. It says nothing where an option does.

use std::path::PathBuf;

use audit_core::{Error, ErrorKind, Result, Secret};
use audit_source_oci::{AuthMethod, OciConfig, ResourcePrincipal};

use crate::ship;

/// Fills in the home directory, the file with profiles, the address of an instance's metadata, and
/// what the platform hands to a function or container.
///
/// # Errors
/// [`ErrorKind::Config`] that names the variable that is missing.
pub fn complete(config: &mut OciConfig) -> Result<()> {
    config.home = config.home.take().or_else(std::env::home_dir);
    let file = || variable(["OCI_CLI_CONFIG_FILE", "OCI_CONFIG_FILE"]).map(PathBuf::from);
    config.config_file = config.config_file.take().or_else(file);
    let metadata = || variable(["OCI_METADATA_BASE_URL"]);
    config.metadata_url = config.metadata_url.take().or_else(metadata);
    if config.auth == AuthMethod::ResourcePrincipal && config.resource_principal.is_none() {
        config.resource_principal = Some(resource_principal()?);
    }
    Ok(())
}

/// Takes the proxy that the environment names, unless there is one.
pub fn proxy(config: &mut OciConfig) {
    if config.proxy.is_none() {
        config.proxy = variable(["HTTPS_PROXY", "https_proxy"]).map(Secret::new);
        config.no_proxy = variable(["NO_PROXY", "no_proxy"]);
    }
}

fn resource_principal() -> Result<ResourcePrincipal> {
    let need = |variable: &str| {
        ship::secret(variable, None)?.ok_or_else(|| {
            Error::new(ErrorKind::Config, "the variable is not set")
                .with("variable", variable)
                .with_hint("the platform sets it where resource principals are allowed")
        })
    };
    let token = need("OCI_RESOURCE_PRINCIPAL_RPST")?;
    let key = need("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM")?;
    let region = need("OCI_RESOURCE_PRINCIPAL_REGION")?;
    let mut principal = ResourcePrincipal::new(token, key, region.expose());
    principal.pass_phrase = ship::secret("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM_PASSPHRASE", None)?;
    Ok(principal)
}

/// Returns the first of these variables that is set to something.
fn variable<const N: usize>(names: [&str; N]) -> Option<String> {
    names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}
