//! `sys/metrics`, as JSON or for Prometheus.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::json;

use super::Endpoint;
use crate::core::active::Active;
use crate::core::mounts::Table;
use crate::framework::Call;
use crate::logical::{Error, Response};

/// One gauge: its name with dots, its value, its labels.
struct Gauge {
    name: &'static str,
    value: usize,
    labels: Vec<(&'static str, &'static str)>,
}

/// The gauges in the format asked for.
///
/// # Errors
/// 400 for a format there is not.
pub fn handle(active: &Active, call: &Call<'_, Endpoint>) -> Result<Response, Error> {
    let gauges = gauges(active);
    match call.fields().string("format")?.as_deref() {
        None | Some("") => Ok(Response::raw("application/json", json_body(&gauges))),
        Some("prometheus") => {
            Ok(Response::raw("text/plain; version=0.0.4; charset=utf-8", prometheus_body(&gauges)))
        }
        Some(other) => Err(Error::bad_request(format!("metric response format {other:?} unknown"))),
    }
}

fn gauges(active: &Active) -> Vec<Gauge> {
    let entries = active.entries();
    let mounts = |table| entries.iter().filter(|entry| entry.table == table).count();
    let (tokens, leases, irrevocable) = {
        let index = active.index();
        let irrevocable = index.leases_below("").filter(|(_, node)| node.irrevocable).count();
        (index.token_count(), index.lease_count(), irrevocable)
    };
    let plain = |name, value| Gauge { name, value, labels: Vec::new() };
    let table = |kind, value| Gauge {
        name: "vault.core.mount_table.num_entries",
        value,
        labels: vec![("type", kind)],
    };
    vec![
        plain("vault.core.active", 1),
        plain("vault.core.unsealed", 1),
        table("auth", mounts(Table::Auth)),
        table("logical", mounts(Table::Secret)),
        plain("vault.expire.num_irrevocable_leases", irrevocable),
        plain("vault.expire.num_leases", leases + tokens),
        plain("vault.token.count", tokens),
    ]
}

fn json_body(gauges: &[Gauge]) -> String {
    let shown: Vec<_> = gauges
        .iter()
        .map(|gauge| {
            let labels: crate::logical::Object =
                gauge.labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
            json!({ "Name": gauge.name, "Value": gauge.value, "Labels": labels })
        })
        .collect();
    let body = json!({
        "Timestamp": Timestamp::now().to_string(),
        "Gauges": shown,
        "Points": [],
        "Counters": [],
        "Samples": [],
    });
    body.to_string()
}

fn prometheus_body(gauges: &[Gauge]) -> String {
    let mut text = String::new();
    let mut last = "";
    for gauge in gauges {
        let name = gauge.name.replace('.', "_");
        if gauge.name != last {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# HELP {name} {name}\n# TYPE {name} gauge");
            last = gauge.name;
        }
        let labels: Vec<String> =
            gauge.labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(text, "{name}{labels} {}", gauge.value);
    }
    text
}
