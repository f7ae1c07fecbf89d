use audit_core::{Error, ErrorKind, Result};
use serde::Deserialize;

/// Which records the API is asked for, by its own parameters; all that are given have to fit.
///
/// Empty texts and lists count as not given. Names and values are those of `GET /v1/audit-log`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct PortFilter {
    /// `CREATE`, `UPDATE`, `DELETE`.
    pub action: Option<String>,
    /// `automation` or `self-service`.
    pub action_type: Option<String>,
    /// The identifier of a blueprint.
    pub blueprint: Option<String>,
    /// The identifier of an entity.
    pub entity: Option<String>,
    /// The identifier of one record.
    pub identifier: Option<String>,
    /// Also entities that are deleted. The API wants `entity`, `blueprint` and `status` beside it,
    /// and windows of a day at most, which are kept to.
    pub include_deleted_entities: bool,
    /// The fields that come back; all of them if none is named. `identifier` and `trigger`, which
    /// say which record it is and when it happened, are always asked for.
    pub includes: Vec<String>,
    /// The identifier of an integration's installation.
    pub installation_id: Option<String>,
    /// What caused the change: `UI`, or an integration. Any of these.
    pub origin: Vec<String>,
    /// `blueprint`, `entity`, `run`, `webhook`, `scorecard`, `action`, `integration` and others. Any
    /// of these.
    pub resources: Vec<String>,
    /// The identifier of an action's run.
    pub run_id: Option<String>,
    /// `SUCCESS` or `FAILURE`.
    pub status: Option<String>,
    /// The identifier of one event of a webhook.
    pub webhook_event_id: Option<String>,
    /// The identifier of a webhook.
    pub webhook_id: Option<String>,
}

/// The fields without which a record can be neither recognised nor dated.
const ALWAYS: [&str; 2] = ["identifier", "trigger"];

impl PortFilter {
    /// Returns the parameters under the API's own names, lists as one pair for each element.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a combination that the API refuses.
    pub(crate) fn pairs(&self) -> Result<Vec<(&'static str, &str)>> {
        let mut pairs = Vec::new();
        for (name, value) in [
            ("identifier", &self.identifier),
            ("entity", &self.entity),
            ("blueprint", &self.blueprint),
            ("run_id", &self.run_id),
            ("webhookId", &self.webhook_id),
            ("webhookEventId", &self.webhook_event_id),
            ("InstallationId", &self.installation_id),
            ("action", &self.action),
            ("status", &self.status),
            ("actionType", &self.action_type),
        ] {
            pairs.extend(given(value).map(|value| (name, value)));
        }
        let includes: Vec<_> = listed(&self.includes).collect();
        for (name, values) in [("origin", &self.origin), ("resources", &self.resources)] {
            pairs.extend(listed(values).map(|value| (name, value)));
        }
        if !includes.is_empty() {
            let missing = ALWAYS.into_iter().filter(|field| !includes.contains(field));
            pairs.extend(includes.iter().copied().chain(missing).map(|field| ("includes", field)));
        }
        if self.include_deleted_entities {
            let needed = [
                ("entity", &self.entity),
                ("blueprint", &self.blueprint),
                ("status", &self.status),
            ];
            if let Some((option, _)) = needed.into_iter().find(|(_, v)| given(v).is_none()) {
                return Err(Error::new(
                    ErrorKind::Config,
                    "deleted entities are only found together with another filter",
                )
                .with("missing", option)
                .with_hint("give entity, blueprint and status beside include_deleted_entities"));
            }
            pairs.push(("include_deleted_entities", "true"));
        }
        Ok(pairs)
    }

    /// Returns whether one record is asked for, which the API answers with 404 if it is not there.
    pub(crate) fn is_for_one(&self) -> bool {
        given(&self.identifier).is_some()
    }
}

fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().map(str::trim).filter(|value| !value.is_empty())
}

fn listed(values: &[String]) -> impl Iterator<Item = &str> {
    values.iter().map(|value| value.trim()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_has_the_name_of_the_api() {
        let filter: PortFilter = serde_json::from_str(
            r#"{"identifier":"i","entity":"e","include_deleted_entities":true,"blueprint":"b",
                "run_id":"r","webhook_id":"w","webhook_event_id":"v","origin":["UI","x&y"],
                "installation_id":"n","resources":["entity","run"],"includes":["diff"],
                "action":"CREATE","status":"SUCCESS","action_type":"automation"}"#,
        )
        .unwrap();
        let text: Vec<_> =
            filter.pairs().unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            text.join(" "),
            "identifier=i entity=e blueprint=b run_id=r webhookId=w webhookEventId=v \
             InstallationId=n action=CREATE status=SUCCESS actionType=automation origin=UI \
             origin=x&y resources=entity resources=run includes=diff includes=identifier \
             includes=trigger include_deleted_entities=true"
        );
    }

    #[test]
    fn empty_values_are_not_sent() {
        let json = r#"{"entity":" ","resources":["", "run"],"includes":[]}"#;
        let filter: PortFilter = serde_json::from_str(json).unwrap();
        assert_eq!(filter.pairs().unwrap(), [("resources", "run")]);
        assert!(PortFilter::default().pairs().unwrap().is_empty());
    }

    #[test]
    fn deleted_entities_need_what_the_api_needs() {
        let mut filter = PortFilter { include_deleted_entities: true, ..Default::default() };
        filter.entity = Some("e".to_owned());
        filter.blueprint = Some("b".to_owned());
        let error = filter.pairs().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("status"), "{error}");
        filter.status = Some("SUCCESS".to_owned());
        assert!(filter.pairs().is_ok());
        assert!(serde_json::from_str::<PortFilter>(r#"{"webhookID":"x"}"#).is_err());
    }
}
