/// The regions and the realms they belong to, without those of oc1. From the region table of the
/// `oci` package for Python, 2.189.0.
const OTHER_REALMS: &[(&str, &[&str])] = &[
    ("oraclegovcloud.com", &["us-langley-1", "us-luke-1"]),
    ("oraclegovcloud.com", &["us-gov-ashburn-1", "us-gov-chicago-1", "us-gov-phoenix-1"]),
    ("oraclegovcloud.uk", &["uk-gov-london-1", "uk-gov-cardiff-1"]),
    ("oraclecloud8.com", &["ap-chiyoda-1", "ap-ibaraki-1"]),
    ("oraclecloud9.com", &["me-dcc-muscat-1", "me-ibri-1"]),
    ("oraclecloud10.com", &["ap-dcc-canberra-1"]),
    (
        "oraclecloud14.com",
        &[
            "eu-dcc-milan-1",
            "eu-dcc-milan-2",
            "eu-dcc-dublin-1",
            "eu-dcc-dublin-2",
            "eu-dcc-rating-1",
            "eu-dcc-rating-2",
        ],
    ),
    ("oraclecloud15.com", &["ap-dcc-gazipur-1"]),
    ("oraclecloud.eu", &["eu-madrid-2", "eu-frankfurt-2"]),
    ("oraclecloud20.com", &["eu-jovanovac-1"]),
    ("oraclecloud21.com", &["me-dcc-doha-1", "me-alrayyan-1"]),
    ("oraclecloud23.com", &["us-somerset-1", "us-thames-1"]),
    ("oraclecloud24.com", &["eu-dcc-zurich-1", "eu-crissier-1"]),
    ("oraclecloud26.com", &["me-abudhabi-3", "me-alain-1"]),
    ("oraclecloud29.com", &["me-abudhabi-2", "me-abudhabi-4"]),
    ("oraclecloud35.com", &["ap-seoul-2", "ap-suwon-1", "ap-chuncheon-2"]),
    ("oraclecloud42.com", &["us-ashburn-2", "us-newark-1"]),
    ("oraclecloud51.com", &["eu-budapest-1"]),
    ("oraclecloud52.com", &["sa-riodejaneiro-1"]),
];

/// The short names of regions, as the instance metadata and old configuration files give them.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("yny", "ap-chuncheon-1"),
    ("hyd", "ap-hyderabad-1"),
    ("mel", "ap-melbourne-1"),
    ("bom", "ap-mumbai-1"),
    ("kix", "ap-osaka-1"),
    ("icn", "ap-seoul-1"),
    ("syd", "ap-sydney-1"),
    ("nrt", "ap-tokyo-1"),
    ("yul", "ca-montreal-1"),
    ("yyz", "ca-toronto-1"),
    ("ams", "eu-amsterdam-1"),
    ("fra", "eu-frankfurt-1"),
    ("zrh", "eu-zurich-1"),
    ("jed", "me-jeddah-1"),
    ("dxb", "me-dubai-1"),
    ("gru", "sa-saopaulo-1"),
    ("cwl", "uk-cardiff-1"),
    ("lhr", "uk-london-1"),
    ("iad", "us-ashburn-1"),
    ("phx", "us-phoenix-1"),
    ("sjc", "us-sanjose-1"),
    ("vcp", "sa-vinhedo-1"),
    ("scl", "sa-santiago-1"),
    ("mtz", "il-jerusalem-1"),
    ("mrs", "eu-marseille-1"),
    ("sin", "ap-singapore-1"),
    ("auh", "me-abudhabi-1"),
    ("lin", "eu-milan-1"),
    ("arn", "eu-stockholm-1"),
    ("jnb", "af-johannesburg-1"),
    ("cdg", "eu-paris-1"),
    ("qro", "mx-queretaro-1"),
    ("mad", "eu-madrid-1"),
    ("ord", "us-chicago-1"),
    ("mty", "mx-monterrey-1"),
    ("bog", "sa-bogota-1"),
    ("vap", "sa-valparaiso-1"),
    ("ruh", "me-riyadh-1"),
];

/// Returns the full name of a region, in lower case.
pub(crate) fn full_name(region: &str) -> String {
    let region = region.trim().to_ascii_lowercase();
    let known = SHORT_NAMES.iter().find(|(short, _)| *short == region);
    known.map_or(region, |(_, full)| (*full).to_owned())
}

/// Returns the domain of a region's services; unknown ones are taken for the commercial realm.
pub(crate) fn domain(region: &str) -> &'static str {
    let realm = OTHER_REALMS.iter().find(|(_, regions)| regions.contains(&region));
    realm.map_or("oraclecloud.com", |(domain, _)| domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_found_in_their_realms() {
        for (region, expected) in [
            ("eu-frankfurt-1", "oraclecloud.com"),
            ("eu-frankfurt-2", "oraclecloud.eu"),
            ("us-gov-phoenix-1", "oraclegovcloud.com"),
            ("uk-gov-london-1", "oraclegovcloud.uk"),
            ("ap-suwon-1", "oraclecloud35.com"),
            ("moon-base-1", "oraclecloud.com"),
        ] {
            assert_eq!(domain(region), expected, "{region}");
        }
        assert_eq!(full_name(" FRA "), "eu-frankfurt-1");
        assert_eq!(full_name("eu-Paris-1"), "eu-paris-1");
    }
}
