//! `control_group { … }`, an Enterprise feature that Vault's free edition checks but does
//! not act on; neither does this server.

use super::Capabilities;
use super::error::Group;
use crate::hcl::{self, Body, Item, Value, ValueKind};

/// Checks a control group of a rule with `capabilities`.
pub(super) fn check(value: &Value, capabilities: Capabilities) -> Result<(), Group> {
    let fault = |value: &Value, message: &str| Group::one(value.span, message.to_owned(), &[]);
    let body = object(value)?;
    if let Some(ttl) = body.named("ttl").last() {
        hcl::decode_duration(&ttl.value)
            .map_err(|error| fault(&ttl.value, &format!("error parsing control group max ttl: {error}")))?;
    }
    let mut factors = body.named("factor").peekable();
    if factors.peek().is_none() {
        return Err(fault(value, "no control group factors provided"));
    }
    for factor in factors {
        let factor_body = object(&factor.value)?;
        let Some(identity) = factor_body.named("identity").last() else {
            return Err(fault(&factor.value, "no control_group factor provided"));
        };
        if !is_complete(identity)? {
            return Err(fault(
                &identity.value,
                "must provide more than one identity group and approvals > 0",
            ));
        }
        for item in factor_body.named("controlled_capabilities") {
            let names = decode("controlled_capabilities", item)?;
            let known = |name: &String| {
                Capabilities::from_name(name).is_some_and(|capability| capabilities.contains(capability))
            };
            if !names.iter().all(known) {
                return Err(fault(
                    &item.value,
                    "control group factor capabilities must be a subset of the policy's capabilities",
                ));
            }
        }
    }
    Ok(())
}

/// Whether an identity names a group and a number of approvals.
fn is_complete(identity: &Item) -> Result<bool, Group> {
    let body = object(&identity.value)?;
    let mut groups = 0;
    for name in ["group_ids", "group_names"] {
        for item in body.named(name) {
            groups += decode(name, item)?.len();
        }
    }
    let approvals = body.named("approvals").last().map(|item| &item.value.kind);
    let approved = matches!(approvals, Some(ValueKind::Number { value, .. }) if *value > 0);
    Ok(groups > 0 && approved)
}

fn decode(name: &str, item: &Item) -> Result<Vec<String>, Group> {
    hcl::decode_strings(&format!("root.control_group.{name}"), &item.value)
        .map_err(|error| Group::document("", &error))
}

fn object(value: &Value) -> Result<&Body, Group> {
    if let ValueKind::Object(body) = &value.kind {
        return Ok(body);
    }
    let kind = value.node_type();
    let message = format!("root.control_group: not an object type for struct ({kind})");
    Err(Group::document("", &hcl::Error::at(value.span, message)))
}
