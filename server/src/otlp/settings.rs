//! Where traces go and what they say of the server: from flags and OpenTelemetry's own variables.

use dyno_core::{Error, ErrorKind, Result};
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::span::text;
use crate::config::Config;

/// Under an endpoint that is for all signals.
const PATH: &str = "v1/traces";
/// The service's name, where nothing else names it.
const SERVICE: &str = "dyno-server";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const TRACES_HEADERS: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
const RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// What an exporter needs to know. Headers may be secrets: nothing prints them.
pub(super) struct Settings {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// Says which server it is.
    pub(super) resource: Vec<KeyValue>,
    /// From 0 to 1.
    pub(super) ratio: f64,
}

impl Settings {
    /// None where neither a flag nor a variable names a collector, or a variable turns traces off.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] where what is said makes no sense.
    pub(super) fn of(
        config: &Config,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>> {
        // An empty variable is one that is not set, says OpenTelemetry.
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let Some(url) = url(config, &variable)? else {
            return Ok(None);
        };
        let protocol = PROTOCOLS.into_iter().find_map(variable);
        if let Some(protocol) = protocol.filter(|protocol| protocol != "http/protobuf") {
            tracing::warn!(
                "traces are sent as http/protobuf, and not as {}",
                protocol.escape_debug()
            );
        }
        Ok(Some(Self {
            url,
            headers: headers(&variable)?,
            resource: resource(&variable)?,
            ratio: config.otlp_sample,
        }))
    }
}

fn url(config: &Config, variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Url>> {
    if let Some(endpoint) = &config.otlp_endpoint {
        return parse("--otlp-endpoint", endpoint)
            .and_then(|url| under(url).ok_or_else(|| no_url("--otlp-endpoint")))
            .map(Some);
    }
    let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|is| is.eq_ignore_ascii_case("true"))
        || variable("OTEL_TRACES_EXPORTER").is_some_and(|name| name == "none");
    if is_off {
        return Ok(None);
    }
    if let Some(endpoint) = variable(TRACES_ENDPOINT) {
        return parse(TRACES_ENDPOINT, &endpoint).map(Some);
    }
    variable(ENDPOINT)
        .map(|endpoint| {
            let url = parse(ENDPOINT, &endpoint)?;
            under(url).ok_or_else(|| no_url(ENDPOINT))
        })
        .transpose()
}

fn parse(name: &str, endpoint: &str) -> Result<Url> {
    let url = Url::parse(endpoint).map_err(|_| no_url(name))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(no_url(name));
    }
    // Settings are printed and logged.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(format!(
            "{name} has a password in it: say {HEADERS}=authorization=... instead"
        )));
    }
    Ok(url)
}

/// The path of traces, under an endpoint's own.
fn under(mut url: Url) -> Option<Url> {
    url.path_segments_mut()
        .ok()?
        .pop_if_empty()
        .extend(PATH.split('/'));
    Some(url)
}

/// The value is not repeated: an address may have a password in it.
fn no_url(name: &str) -> Error {
    invalid(format!(
        "{name} must be the collector's address, such as http://localhost:4318"
    ))
}

fn headers(variable: &dyn Fn(&str) -> Option<String>) -> Result<HeaderMap> {
    let (name, list) = match (variable(TRACES_HEADERS), variable(HEADERS)) {
        (Some(list), _) => (TRACES_HEADERS, list),
        (None, Some(list)) => (HEADERS, list),
        (None, None) => return Ok(HeaderMap::new()),
    };
    let wrong = || invalid(format!("{name} must be a list of NAME=VALUE, with commas"));
    pairs(&list)
        .map(|pair| {
            let (key, value) = pair.ok_or_else(wrong)?;
            let key = HeaderName::try_from(key).map_err(|_| wrong())?;
            let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            Ok((key, value))
        })
        .collect()
}

fn resource(variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<KeyValue>> {
    let list = variable(RESOURCE).unwrap_or_default();
    let mut said = pairs(&list).collect::<Option<Vec<_>>>().ok_or_else(|| {
        invalid(format!(
            "{RESOURCE} must be a list of NAME=VALUE, with commas"
        ))
    })?;
    if let Some(name) = variable(SERVICE_NAME) {
        said.retain(|(key, _)| key != "service.name");
        said.push(("service.name".into(), name));
    }
    for (key, usual) in [
        ("service.name", SERVICE),
        ("service.version", env!("CARGO_PKG_VERSION")),
    ] {
        if said.iter().all(|(said, _)| said != key) {
            said.push((key.into(), usual.into()));
        }
    }
    Ok(said
        .into_iter()
        .map(|(key, value)| text(&key, value))
        .collect())
}

/// `a=b,c=d`, with values as in URLs; none for an entry that is something else.
fn pairs(list: &str) -> impl Iterator<Item = Option<(String, String)>> {
    let entries = list.split(',').map(str::trim);
    entries.filter(|entry| !entry.is_empty()).map(|entry| {
        let (key, value) = entry.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let key = key.trim();
        (!key.is_empty()).then(|| (key.to_owned(), value.into_owned()))
    })
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use opentelemetry_proto::tonic::common::v1::any_value::Value;

    use super::*;

    type Variables<'a> = &'a [(&'a str, &'a str)];

    fn of(flag: Option<&str>, variables: Variables<'_>) -> Result<Option<Settings>> {
        let mut config = Config::new("bundles");
        config.otlp_endpoint = flag.map(Into::into);
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        Settings::of(&config, &|name| {
            variables.get(name).map(|&value| value.to_owned())
        })
    }

    #[test]
    fn the_first_that_names_a_collector_counts() {
        let all = [
            (ENDPOINT, "http://a:4318/base/"),
            (TRACES_ENDPOINT, "http://b:4318/exact"),
        ];
        let off = |name, value| [all[0], (name, value)];
        let cases: [(Option<&str>, Variables<'_>, Option<&str>); 9] = [
            (None, &[], None),
            (None, &[(ENDPOINT, "")], None),
            (None, &all[..1], Some("http://a:4318/base/v1/traces")),
            (None, &all, Some("http://b:4318/exact")),
            (Some("http://c:4318"), &all, Some("http://c:4318/v1/traces")),
            (Some("https://c"), &all, Some("https://c/v1/traces")),
            (None, &off("OTEL_SDK_DISABLED", "true"), None),
            (None, &off("OTEL_TRACES_EXPORTER", "none"), None),
            (
                Some("http://c:1"),
                &off("OTEL_SDK_DISABLED", "true"),
                Some("http://c:1/v1/traces"),
            ),
        ];
        for (flag, variables, url) in cases {
            let settings = of(flag, variables).unwrap();
            let got = settings.as_ref().map(|settings| settings.url.as_str());
            assert_eq!(got, url, "{flag:?} {variables:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_without_being_repeated() {
        let at = (ENDPOINT, "http://a:4318");
        let cases: [(Option<&str>, Variables<'_>, &str); 7] = [
            (Some("secret"), &[], "--otlp-endpoint"),
            (Some("http://me:secret@a:4318"), &[], "--otlp-endpoint"),
            (Some("unix:/secret"), &[], "--otlp-endpoint"),
            (None, &[(ENDPOINT, "secret:4318")], ENDPOINT),
            (None, &[(TRACES_ENDPOINT, "grpc://secret")], TRACES_ENDPOINT),
            (None, &[at, (HEADERS, "secret")], HEADERS),
            (None, &[at, (RESOURCE, "a=b,secret")], RESOURCE),
        ];
        for (flag, variables, name) in cases {
            let error = of(flag, variables).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            let error = error.to_string();
            assert!(error.contains(name) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn headers_and_resource_are_as_opentelemetry_writes_them() {
        let settings = of(
            Some("http://a:4318"),
            &[
                (HEADERS, "x-other=1"),
                (TRACES_HEADERS, "authorization=Basic%20YTpi, x-tenant = a"),
                (RESOURCE, "service.name=from-list,site=a%2Cb"),
                (SERVICE_NAME, "edge"),
            ],
        );
        let settings = settings.unwrap().unwrap();
        assert_eq!(settings.headers["authorization"], "Basic YTpi");
        assert_eq!(settings.headers["x-tenant"], "a");
        assert_eq!(settings.headers.len(), 2);
        let mut resource: Vec<_> = settings
            .resource
            .into_iter()
            .map(|KeyValue { key, value, .. }| match value.unwrap().value {
                Some(Value::StringValue(text)) => (key, text),
                other => panic!("{other:?}"),
            })
            .collect();
        resource.sort();
        let text = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            resource,
            [
                text("service.name", "edge"),
                text("service.version", env!("CARGO_PKG_VERSION")),
                text("site", "a,b"),
            ]
        );
    }
}
