//! `telemetry { … }`: metrics.

use std::time::Duration;

use super::error::{Fault, Warnings};
use super::values;
use crate::hcl::Item;

/// How `sys/metrics` behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// How long Prometheus metrics are kept; zero switches the format off.
    pub prometheus_retention_time: Duration,
    /// Whether metric names go without the host's name.
    pub disable_hostname: bool,
    /// What metric names start with.
    pub metrics_prefix: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            prometheus_retention_time: Duration::from_hours(24),
            disable_hostname: false,
            metrics_prefix: "vault".to_owned(),
        }
    }
}

/// What Vault can send metrics to, or count, and this server cannot.
const NO_EFFECT: &[&str] = &[
    "statsite_address",
    "statsd_address",
    "dogstatsd_addr",
    "dogstatsd_tags",
    "circonus_api_token",
    "circonus_api_app",
    "circonus_api_url",
    "circonus_submission_interval",
    "circonus_submission_url",
    "circonus_check_id",
    "circonus_check_force_metric_activation",
    "circonus_check_instance_id",
    "circonus_check_search_tag",
    "circonus_check_display_name",
    "circonus_check_tags",
    "circonus_broker_id",
    "circonus_broker_select_tag",
    "stackdriver_project_id",
    "stackdriver_location",
    "stackdriver_namespace",
    "stackdriver_debug_logs",
    "usage_gauge_period",
    "maximum_gauge_cardinality",
    "lease_metrics_epsilon",
    "num_lease_metrics_buckets",
    "add_lease_metrics_namespace_labels",
    "add_mount_point_rollback_metrics",
    "filter_default",
    "prefix_filter",
];

/// Reads a `telemetry` stanza.
pub(super) fn read(item: &Item, warnings: &mut Warnings) -> Result<Telemetry, Fault> {
    let mut telemetry = Telemetry::default();
    for item in &values::block(item)?.items {
        match item.name() {
            "prometheus_retention_time" => {
                telemetry.prometheus_retention_time = values::duration(item)?;
            }
            "disable_hostname" => telemetry.disable_hostname = values::boolean(item)?,
            "enable_hostname_label" => {
                values::boolean(item)?;
                warnings.no_effect(item);
            }
            "metrics_prefix" => telemetry.metrics_prefix = values::string(item)?,
            name if NO_EFFECT.contains(&name) => warnings.no_effect(item),
            _ => warnings.unknown(item),
        }
    }
    Ok(telemetry)
}
