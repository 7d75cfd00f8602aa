//! What is stored is a contract: these bytes are in deployments, and a change of them needs a way for the old ones.

use crate::support::NOW;
use serde_json::{Value, json};
use valetkey::account::Account;
use valetkey::account::snapshot::Snapshot;
use valetkey::caller::Caller;
use valetkey::connection::Connection;

fn both_ways<T: serde::de::DeserializeOwned + serde::Serialize>(stored: &Value) -> T {
    let read: T = serde_json::from_value(stored.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), *stored);
    read
}

#[test]
fn an_account_and_its_snapshot() {
    let account: Account = both_ways(&json!({
        "v": 1, "id": "ca_abcdefghijkl234567abcdefghijklmnopqr", "connection_id": "conn_abcdefghijkl", "connection_name": "gmail",
        "connector": "gmail", "identifier": "user", "status": "ACTIVE", "status_reason": "connected", "label": "jo@example.com",
        "external_id": "1", "variables": { "site": "x" }, "scopes": ["a"],
        "tokens": { "access": "v1.k1.A", "refresh": "v1.k1.B", "previous_refresh": null, "obtained_at": NOW, "expires_at": NOW + 3_600_000 },
        "renewal": { "failures": 0, "next_attempt_at": 0, "last_error": null, "renewed_at": null },
        "user_verify_url": null, "created_at": NOW, "updated_at": NOW, "connected_at": NOW, "last_used_at": null, "links_from": 0, "unpublished": false,
    }));
    let snapshot: Snapshot = both_ways(&json!({
        "v": 1, "id": "ca_abcdefghijkl234567abcdefghijklmnopqr", "connection_name": "gmail", "connector": "gmail", "identifier": "user",
        "status": "ACTIVE", "status_reason": "connected", "label": "jo@example.com", "expires_at": NOW + 3_600_000, "created_at": NOW,
        "updated_at": NOW, "last_used_at": null, "scopes": ["a"], "variables": { "site": "x" }, "access": "v1.k1.A",
        "stale_at": NOW + 3_570_000, "renew_at": NOW + 3_300_000,
    }));
    assert_eq!(Snapshot::of(&account), Snapshot { epoch: Some(0), ..snapshot }, "a copy of before copies said it");
    let _: Snapshot = both_ways(&serde_json::to_value(Snapshot::of(&account)).unwrap());
    assert_eq!(account.epoch, 0, "a record of before accounts counted their epochs");
    let later: Account = both_ways(&{
        let mut stored = serde_json::to_value(&account).unwrap();
        stored["epoch"] = json!(3);
        stored
    });
    assert_eq!(later.epoch, 3);
    let typed = Account { authorization_type: "API_KEY".into(), ..account };
    let stored = serde_json::to_value(Snapshot::of(&typed)).unwrap();
    assert_eq!((&stored["authorization_type"], stored["v"].as_u64()), (&json!("API_KEY"), Some(1)));
}

#[test]
fn a_connection_and_a_caller() {
    let _: Connection = both_ways(&json!({
        "v": 1, "id": "conn_abcdefghijkl", "name": "gmail", "connector": "gmail", "client_id": "c", "client_secret": "v1.k1.A",
        "scopes": null, "operator": "Example Ltd.", "endpoints": { "token_url": "https://x.example/token" },
        "limits": { "requests": 3 }, "salt": "v1.k1.B", "created_at": NOW, "updated_at": NOW,
    }));
    let _: Connection = both_ways(&json!({
        "v": 1, "id": "conn_abcdefghijkl", "name": "ads", "connector": "gmail", "method": "jwt", "fields": { "tenant": "x" },
        "secrets": { "developer_token": "v1.k1.C" }, "client_id": "", "client_secret": null, "scopes": null, "operator": null,
        "endpoints": {}, "limits": {}, "salt": "v1.k1.B", "created_at": NOW, "updated_at": NOW,
    }));
    let _: Caller = both_ways(&json!({
        "v": 1, "client_id": "vkc_a", "secret_hash": "h", "name": "agent", "scopes": ["tools"], "connections": null, "created_at": NOW,
    }));
}
