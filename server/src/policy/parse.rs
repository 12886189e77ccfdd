//! Text to policy, refusing what Vault refuses.

use super::capability::CAPABILITY_NAMES;
use super::error::{Fault, Faults, Group};
use super::{Capabilities, Parameters, Policy, PolicyError, Rule, control_group, error, template};
use crate::hcl::{self, Body, Item, Quoted, Span, Value, ValueKind};
use std::time::Duration;

const DOCUMENT_KEYS: &[&str] = &["name", "path"];

/// The keys of a `path` block. `mfa_methods`, `control_group` and
/// `subscribe_event_types` belong to Vault's Enterprise features: the free edition
/// checks and ignores them, and so does this.
const PATH_KEYS: &[&str] = &[
    "comment",
    "policy",
    "capabilities",
    "allowed_parameters",
    "denied_parameters",
    "required_parameters",
    "min_wrapping_ttl",
    "max_wrapping_ttl",
    "mfa_methods",
    "control_group",
    "subscribe_event_types",
];

/// How much of a path its faults repeat.
const MAX_SHOWN: usize = 1024;

const LEGACY_POLICIES: &[&str] = &["read", "write", "sudo", "deny"];

impl Policy {
    /// Reads and checks a policy, in HCL or JSON.
    ///
    /// # Errors
    /// [`PolicyError`], with every fault that was found.
    pub fn parse(name: &str, text: &str) -> Result<Self, PolicyError> {
        if text.is_empty() {
            return Err(error::empty());
        }
        let mut reader = Reader::default();
        let rules = match hcl::parse(text) {
            Ok(body) => reader.document(&body),
            Err(error) => {
                reader.faults.add(Group::document("", &error));
                Vec::new()
            }
        };
        match reader.faults.into_error() {
            Some(error) => Err(error),
            None => Ok(Self { name: name.to_owned(), rules, templated: reader.templated }),
        }
    }
}

#[derive(Default)]
struct Reader {
    faults: Faults,
    templated: bool,
}

impl Reader {
    fn document(&mut self, body: &Body) -> Vec<Rule> {
        if let Some(group) = unknown_keys(body, DOCUMENT_KEYS, "") {
            self.faults.add(group);
        }
        for item in body.items.iter().filter(|item| item.name() == "name") {
            if let Err(error) = hcl::decode_string("root.name", &item.value) {
                self.faults.add(Group::document("", &error));
            }
        }
        body.items
            .iter()
            .filter(|item| item.name() == "path")
            .filter_map(|item| self.path(item).map_err(|group| self.faults.add(group)).ok())
            .collect()
    }

    fn path(&mut self, item: &Item) -> Result<Rule, Group> {
        // An unlabelled block is a rule for the path "path", as in Vault.
        let (path, span) = match item.labels() {
            [label, ..] => (label.name.as_str(), label.span),
            [] => ("path", item.key_span()),
        };
        let prefix = prefix_of(path);
        self.templated |= template::is_templated(path).ok_or_else(|| {
            let message = format!("failed to validate policy templating: {}", template::UNBALANCED);
            Group::one(span, message, &[])
        })?;
        let ValueKind::Object(body) = &item.value.kind else {
            let message = format!("{prefix}cannot check HCL keys of type {}", item.value.node_type());
            return Err(Group::one(item.value.span, message, &[]));
        };
        if let Some(group) = unknown_keys(body, PATH_KEYS, &prefix) {
            return Err(group);
        }
        let fields = Fields::read(body, &prefix)?;
        let rule_path = path.strip_prefix('/').unwrap_or(path);
        if rule_path.contains("+*") {
            let message = format!("path {}: invalid use of wildcards ('+*' is forbidden)", Quoted(rule_path));
            return Err(Group::one(span, message, &[]));
        }
        let mut rule = Rule {
            path: path.to_owned(),
            span,
            capabilities: self.capabilities(&fields, &prefix)?,
            allowed_parameters: Parameters::default(),
            denied_parameters: Parameters::default(),
            required_parameters: Vec::new(),
            min_wrapping_ttl: None,
            max_wrapping_ttl: None,
        };
        // Vault reads nothing more of a rule that denies.
        if rule.capabilities.denies() {
            return Ok(rule);
        }
        rule.min_wrapping_ttl = wrapping_ttl("min_wrapping_ttl", fields.min_wrapping_ttl)?;
        rule.max_wrapping_ttl = wrapping_ttl("max_wrapping_ttl", fields.max_wrapping_ttl)?;
        if let (Some(min), Some(max), Some(value)) =
            (rule.min_wrapping_ttl, rule.max_wrapping_ttl, fields.max_wrapping_ttl)
            && max < min
        {
            let message = "max_wrapping_ttl cannot be less than min_wrapping_ttl".to_owned();
            return Err(Group::one(value.span, message, &[]));
        }
        if let Some(value) = fields.control_group {
            control_group::check(value, rule.capabilities)?;
        }
        rule.allowed_parameters = fields.allowed;
        rule.denied_parameters = fields.denied;
        rule.required_parameters = fields.required;
        Ok(rule)
    }

    /// The rule's capabilities. Wrong names after the first are noted too, but
    /// nothing after a `deny` is looked at.
    fn capabilities(&mut self, fields: &Fields<'_>, prefix: &str) -> Result<Capabilities, Group> {
        let mut all = Capabilities::NONE;
        if let Some((policy, span)) = &fields.policy {
            all = Capabilities::from_legacy(policy).ok_or_else(|| {
                let message = format!("{prefix}invalid policy {}", Quoted(policy));
                Group::one(*span, message, LEGACY_POLICIES)
            })?;
            // The older attribute's `deny` replaces the list, the others add to it.
            if all.denies() {
                return Ok(all);
            }
        }
        let mut wrong = None;
        for (name, span) in &fields.capabilities {
            match Capabilities::from_name(name) {
                Some(Capabilities::DENY) if wrong.is_none() => return Ok(Capabilities::DENY),
                Some(capability) => all |= capability,
                None => {
                    let message = format!("{prefix}invalid capability {}", Quoted(name));
                    let group = Group::one(*span, message, CAPABILITY_NAMES);
                    if let Some(earlier) = wrong.replace(group) {
                        self.faults.add(earlier);
                    }
                }
            }
        }
        match wrong {
            Some(group) => Err(group),
            None => Ok(all),
        }
    }
}

/// The attributes of one `path` block, repetitions put together as Vault does:
/// lists add up, single values replace.
#[derive(Default)]
struct Fields<'a> {
    policy: Option<(String, Span)>,
    capabilities: Vec<(String, Span)>,
    min_wrapping_ttl: Option<&'a Value>,
    max_wrapping_ttl: Option<&'a Value>,
    control_group: Option<&'a Value>,
    allowed: Parameters,
    denied: Parameters,
    required: Vec<String>,
}

impl<'a> Fields<'a> {
    fn read(body: &'a Body, prefix: &str) -> Result<Self, Group> {
        let mut fields = Self::default();
        for item in &body.items {
            fields.read_item(item).map_err(|error| {
                let wanted = match item.name() {
                    "policy" => "a string",
                    "allowed_parameters" | "denied_parameters" => {
                        "a block of lists, as in { ttl = [\"1h\"] }"
                    }
                    _ => "a list of strings",
                };
                let message = format!("{prefix}{}: expected {wanted}", item.name());
                Group::document(prefix, &error).with_message(&message)
            })?;
        }
        Ok(fields)
    }

    fn read_item(&mut self, item: &'a Item) -> Result<(), hcl::Error> {
        let value = &item.value;
        let name = format!("root.{}", item.name());
        match item.name() {
            "policy" => {
                let policy = hcl::decode_string("root.Policy", value)?;
                // An empty one counts as absent.
                self.policy = (!policy.is_empty()).then_some((policy, value.span));
            }
            "capabilities" => {
                let names = hcl::decode_strings("root.Capabilities", value)?;
                let ValueKind::List(values) = &value.kind else {
                    return Err(hcl::not_a_list(value));
                };
                let spans = values.iter().map(|value| value.span);
                self.capabilities.extend(names.into_iter().zip(spans));
            }
            "min_wrapping_ttl" => self.min_wrapping_ttl = Some(value),
            "max_wrapping_ttl" => self.max_wrapping_ttl = Some(value),
            "allowed_parameters" => self.allowed.read(&name, item)?,
            "denied_parameters" => self.denied.read(&name, item)?,
            "required_parameters" => self.required.extend(hcl::decode_strings(&name, value)?),
            "control_group" => self.control_group = Some(value),
            "mfa_methods" => {
                hcl::decode_strings(&name, value)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// A wrapping TTL; zero counts as absent.
fn wrapping_ttl(name: &str, value: Option<&Value>) -> Result<Option<Duration>, Group> {
    let Some(value) = value else {
        return Ok(None);
    };
    hcl::decode_duration(value)
        .map(|ttl| (!ttl.is_zero()).then_some(ttl))
        .map_err(|error| Group::one(value.span, format!("error parsing {name}: {error}"), &[]))
}

/// The keys of `body` that are not in `known`, reported together as Vault does.
///
/// Vault shows the line of the `=`, which is 0 for a block.
fn unknown_keys(body: &Body, known: &'static [&'static str], prefix: &str) -> Option<Group> {
    let unknown: Vec<_> = body.items.iter().filter(|item| !known.contains(&item.name())).collect();
    if unknown.is_empty() {
        return None;
    }
    let count = match unknown.len() {
        1 => "1 error".to_owned(),
        count => format!("{count} errors"),
    };
    let mut text = format!("{count} occurred:");
    let mut faults = Vec::new();
    for item in unknown {
        let message = format!("{prefix}invalid key {}", Quoted(item.name()));
        let line = item.assign.map_or(0, |span| span.line);
        text.push_str(&format!("\n\t* {message} on line {line}"));
        faults.push(Fault { span: item.key_span(), message, known });
        if text.len() > error::MAX_TEXT {
            break;
        }
    }
    text.push_str("\n\n");
    Some(Group { text, faults })
}

/// The start of a message about a path, which is shown as far as anybody reads.
fn prefix_of(path: &str) -> String {
    if path.len() <= MAX_SHOWN {
        return format!("path {}: ", Quoted(path));
    }
    let shown = path.floor_char_boundary(MAX_SHOWN);
    format!("path {}: ", Quoted(&format!("{}…", &path[..shown])))
}

#[cfg(test)]
mod tests;
