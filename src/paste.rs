//! What people paste into a field: the address of a page where only a part of it is asked for.

use crate::catalog::Connector;
use crate::catalog::model::Field;
use crate::template::{Piece, pieces};
use regex_lite::Regex;

/// What stands before and after a field in the host names of its connector: nothing and `.zendesk.com`. Nothing on both
/// sides when the field is a whole host name.
pub fn hosts(connector: &'static Connector, field: &Field) -> Vec<(&'static str, &'static str)> {
    let auth = &connector.auth;
    let oauth2 = auth.oauth2.iter().flat_map(|oauth2| [oauth2.authorize_url, oauth2.token_url]);
    let lookups = auth.identity.iter().map(|lookup| lookup.request.1);
    let mut hosts = Vec::new();
    for url in oauth2.chain(lookups).chain([connector.http.base_url]) {
        hosts.extend(around(url, field.name).filter(|host| !hosts.contains(host)));
    }
    hosts
}

/// What stands around `{account.<name>}` in the host of a URL template, if it stands there.
fn around(url: &'static str, name: &str) -> Option<(&'static str, &'static str)> {
    let host = url.strip_prefix("https://")?;
    let host = host.split('/').next().unwrap_or(host);
    let hole = format!("{{account.{name}}}");
    let known = host.split_once(hole.as_str())?;
    (!pieces(known.0).iter().chain(&pieces(known.1)).any(|piece| matches!(piece, Piece::Hole(_)))).then_some(known)
}

/// What was meant: the part that is asked for of an address that was pasted, or the value as it is.
///
/// Only what then fits the field's own pattern is taken, and a label of a host name only before a domain that the
/// connector names. So an address of somebody else's is not cut to something that looks right.
pub fn understood(connector: &'static Connector, field: &Field, value: &str) -> String {
    let value = value.trim();
    let fits = |text: &str| !text.is_empty() && Regex::new(field.pattern).is_ok_and(|regex| regex.is_match(text));
    if field.secret || field.multiline || field.pattern.is_empty() || value.contains('@') {
        return value.to_owned();
    }
    let host = host(value);
    let label = hosts(connector, field).into_iter().filter(|(before, after)| !format!("{before}{after}").is_empty());
    let label =
        label.filter_map(|(before, after)| host.strip_prefix(before)?.strip_suffix(after)).find(|text| fits(text));
    if let Some(label) = label {
        return label.to_owned();
    }
    if fits(value) {
        return value.to_owned();
    }
    let digits = value.replace(['-', ' '], "");
    let digits = Some(digits).filter(|text| text.chars().all(|c| c.is_ascii_digit()));
    let whole = Some(host.clone()).filter(|host| host.contains('.'));
    let origin = whole.as_ref().map(|host| format!("https://{host}"));
    let candidates = [Some(value.to_lowercase()), whole, origin, digits];
    candidates.into_iter().flatten().find(|text| fits(text)).unwrap_or_else(|| value.to_owned())
}

/// The host name of what may be an address, or what stands where it would.
fn host(value: &str) -> String {
    let value = value.to_lowercase();
    let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://")).unwrap_or(&value);
    let host = rest.split(['/', '?', '#', ':']).next().unwrap_or(rest);
    host.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{CONNECTORS, find_connector};

    fn field(connector: &str, name: &str) -> (&'static Connector, &'static Field) {
        let connector = find_connector(connector).unwrap();
        (connector, connector.auth.fields.iter().find(|field| field.name == name).unwrap())
    }

    #[test]
    fn a_pasted_address_is_cut_to_what_is_asked_for() {
        for (connector, name, typed, meant) in [
            ("freshdesk", "domain", "https://acme.freshdesk.com/", "acme"),
            ("freshdesk", "domain", " HTTPS://Acme.Freshdesk.com/a/tickets/12?x=1#y ", "acme"),
            ("freshdesk", "domain", "acme.freshdesk.com", "acme"),
            ("freshdesk", "domain", "Acme", "acme"),
            ("zendesk", "subdomain", "acme.zendesk.com:443/agent", "acme"),
            ("jira", "site", "https://acme.atlassian.net/jira/software/projects/X", "acme"),
            ("confluence", "site", "acme.atlassian.net/wiki", "acme"),
            ("servicenow", "instance", "https://acme.service-now.com/now/nav", "acme"),
            ("snowflake", "account", "https://acme-prod.snowflakecomputing.com/console", "acme-prod"),
            ("intercom", "domain", "https://app.eu.intercom.com/a/inbox", "eu.intercom"),
            ("intercom", "domain", "app.intercom.com", "intercom"),
            ("salesforce", "login_host", "https://acme.my.salesforce.com/home", "acme.my.salesforce.com"),
            ("gong", "api_base_url_for_customer", "https://us-12345.api.gong.io/", "https://us-12345.api.gong.io"),
            ("gong", "api_base_url_for_customer", "us-12345.api.gong.io/v2", "https://us-12345.api.gong.io"),
            ("googleads", "login_customer_id", "123-456-7890", "1234567890"),
        ] {
            let (connector, field) = field(connector, name);
            assert_eq!(understood(connector, field, typed), meant, "{} {name}", connector.id);
        }
    }

    #[test]
    fn what_is_no_address_of_the_provider_stays_as_it_was_typed() {
        for (connector, name, typed) in [
            ("freshdesk", "domain", "https://help.acme.com/"),
            ("freshdesk", "domain", "https://acme"),
            ("freshdesk", "domain", "acme.freshdesk.com.evil.example"),
            ("freshdesk", "domain", "a@acme.freshdesk.com"),
            ("freshdesk", "domain", "my desk"),
            ("salesforce", "login_host", "https://acme.lightning.force.com/"),
            ("zendesk", "email", "jo@acme.zendesk.com"),
            ("zendesk", "api_token", "https://acme.zendesk.com"),
        ] {
            let (connector, field) = field(connector, name);
            assert_eq!(understood(connector, field, typed), typed, "{} {name}", connector.id);
        }
    }

    #[test]
    fn every_field_that_is_part_of_a_host_name_takes_the_address() {
        let mut seen = 0;
        for connector in CONNECTORS {
            for field in connector.auth.fields.iter().filter(|field| !field.example.is_empty()) {
                for (before, after) in hosts(connector, field) {
                    let pasted = format!("https://{before}{}{after}/some/page?of=it", field.example);
                    assert_eq!(understood(connector, field, &pasted), field.example, "{} {}", connector.id, field.name);
                    seen += 1;
                }
            }
        }
        assert!(seen >= 8, "{seen}");
    }
}
