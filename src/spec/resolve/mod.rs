//! From the lab file as written to the model: files are read, names resolved, defaults filled in,
//! and every rule checked.

mod access;
mod databases;
mod delivery;
mod sql;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use super::SpecError;
use super::decode::{At, Decode as _, Problems, did_you_mean};
use super::diagnostic::{Diagnostic, Place};
use super::files::Files;
use super::load::{self, Node, Value};
use super::model::{AuditSpec, LabSpec, Origin, Protection, RuntimeChoice, VaultSpec};
use super::names::{self, ServiceName};
use super::values::{self, API_VERSION, ApiVersion, Number, Ttl};
use super::wire::{Audit, KeyStore, LabFile, Vault};

/// Vault's own longest TTL, which no role may exceed (`max_lease_ttl` of its configuration).
const SYSTEM_MAX_TTL: Duration = Duration::from_hours(768);

/// A lab file's text and surroundings.
pub(super) struct Input<'a> {
    /// The file's name as the user knows it.
    pub shown: &'a str,
    /// Its content.
    pub text: &'a str,
    /// Where its paths lead.
    pub files: &'a Files,
    /// Where it came from.
    pub origin: Origin,
}

/// Reads a lab file.
pub(super) fn lab(input: &Input<'_>) -> Result<LabSpec, SpecError> {
    let mut problems = Problems::new(input.shown, input.text);
    let spec = read(input, &mut problems);
    match spec {
        Some(spec) if problems.is_empty() => Ok(spec),
        _ => Err(SpecError::new(problems.into_list())),
    }
}

fn read(input: &Input<'_>, problems: &mut Problems<'_>) -> Option<LabSpec> {
    let blank = |line: &str| {
        let line = line.trim();
        line.is_empty() || line == "---" || line.starts_with('#')
    };
    if input.text.lines().all(blank) {
        let message = "this lab file is empty";
        let help = "`vaultlab init` writes one to start from";
        problems.push(Diagnostic::of_file(input.shown, message).help(help));
        return None;
    }
    let root = match load::parse(input.text) {
        Ok(root) => root,
        Err(error) => {
            syntax(&error, problems);
            return None;
        }
    };
    let file = LabFile::decode(&root, problems)?;
    if problems.is_full() {
        return None;
    }
    if file.api_version == ApiVersion::Missing {
        let help = format!("add `apiVersion: {API_VERSION}` as the first line");
        problems.add_help(start_of(&root), "the lab file lacks the key `apiVersion`", help);
    }

    let name = lab_name(file.name.as_ref(), input, problems);
    let vault = vault(file.vault.as_ref(), input, problems);
    for (lists, what) in [
        (&["databases"][..], "database name"),
        (&["roles", "static_roles"], "role name"),
        (&["policies"], "policy name"),
        (&["approles"], "AppRole name"),
    ] {
        let names: Vec<_> = lists.iter().filter_map(|list| declared(&root, list)).flatten().collect();
        check_unique(&names, what, problems);
        if lists != ["policies"] {
            check_variables(&names, what, problems);
        }
    }
    let mut databases = databases::resolve(&file, input, problems);
    databases::resolve_roles(&file, &root, input, &mut databases, problems);
    databases::resolve_static_roles(&file, &root, input, &mut databases, problems);
    let policies = access::policies(&file, input, problems);
    let approles = access::approles(&file, &root, input, problems);
    check_ports(&file, problems);
    let sources = databases.iter().flat_map(delivery::sources);
    let sources = sources.chain(policies.iter().map(|policy| policy.origin.as_str())).map(Path::new);
    let identity = match &vault.key_store {
        Protection::Recipients { identity, .. } => identity.as_deref(),
        _ => None,
    };
    delivery::check_inputs(&file, input, sources.chain(identity), problems);

    Some(LabSpec {
        name: name?,
        runtime: file.runtime.unwrap_or(RuntimeChoice::Auto),
        runtimes: runtimes(&file),
        vault,
        databases,
        policies,
        approles,
        keeper: file.keeper.is_none_or(|switch| switch.0),
        origin: input.origin.clone(),
    })
}

/// Where services run that are not with the others.
fn runtimes(file: &LabFile) -> BTreeMap<String, RuntimeChoice> {
    let vault = file.vault.iter().map(|vault| ("vault", vault.runtime));
    let databases = file.databases.iter().filter_map(|database| {
        let name = database.name.as_ref()?;
        Some((name.value.0.as_str(), database.runtime))
    });
    vault
        .chain(databases)
        .filter_map(|(name, runtime)| Some((name.to_owned(), runtime?)))
        .filter(|(_, runtime)| *runtime != RuntimeChoice::Auto)
        .collect()
}

fn syntax(error: &load::SyntaxError, problems: &mut Problems<'_>) {
    let line = problems.text.lines().nth(error.place.line - 1).unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start().len()];
    if let Some(before) = indent.find('\t') {
        let place = Place { line: error.place.line, column: before + 1, len: 1 };
        problems.add_help(place, "a tab in the indentation", "YAML takes spaces only");
    } else {
        problems.add(error.place, &error.message);
    }
}

fn start_of(root: &Node) -> Place {
    match &root.value {
        Value::Map(entries) => entries.first().map_or(root.place, |(key, _)| key.place),
        _ => root.place,
    }
}

/// The file's name for the lab, else the name of its folder.
fn lab_name(
    given: Option<&At<ServiceName>>,
    input: &Input<'_>,
    problems: &mut Problems<'_>,
) -> Option<String> {
    if let Some(name) = given {
        return Some(name.value.0.clone());
    }
    let (Files::Disk { folder, .. } | Files::BuiltIn { folder }) = input.files;
    let folder = folder.as_path();
    // `lab/` says nothing about the project it is in.
    let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = match last(folder).as_deref() {
        Some("lab") => folder.parent().and_then(last),
        other => other.map(str::to_owned),
    };
    let name = name.as_deref().and_then(names::lab_name);
    if name.is_none() {
        let message = "the lab has no name, and none can be made of its folder's";
        problems.push(Diagnostic::of_file(input.shown, message).help("add `name: my-lab`"));
    }
    name
}

fn vault(given: Option<&Vault>, input: &Input<'_>, problems: &mut Problems<'_>) -> VaultSpec {
    let shares = given.and_then(|vault| vault.key_shares.as_ref());
    let threshold = given.and_then(|vault| vault.key_threshold.as_ref());
    let key_shares = shares.map_or(5, |shares| small(shares.value));
    let key_threshold = threshold.map_or(key_shares / 2 + 1, |needed| small(needed.value));
    let key_threshold = if key_shares == 1 && threshold.is_none() { 1 } else { key_threshold };
    if let Some(at) = threshold.or(shares) {
        if key_threshold > key_shares {
            let message = format!("{key_threshold} unseal keys are needed, but there are {key_shares}");
            problems.add_help(at.place, message, format!("write at most {key_shares}"));
        } else if key_shares > 1 && key_threshold < 2 {
            let message = "with several unseal keys Vault wants at least two of them";
            problems.add_help(at.place, message, "write 2, or `key_shares: 1`");
        }
    }
    VaultSpec {
        flavour: given.and_then(|vault| vault.flavour).unwrap_or_default(),
        version: given.and_then(|vault| vault.version.as_ref()).map(|v| v.value.0.clone()),
        image: given.and_then(|vault| vault.image.as_ref()).map(|image| image.value.0.clone()),
        storage: given.and_then(|vault| vault.storage).unwrap_or_default(),
        key_shares,
        key_threshold,
        audit: audit(given.and_then(|vault| vault.audit.as_ref())),
        key_store: key_store(given.and_then(|vault| vault.key_store.as_ref()), input, problems),
        keep_root_token: given.and_then(|vault| vault.keep_root_token).is_some_and(|keep| keep.0),
        port: port(given.and_then(|vault| vault.port.as_ref())),
    }
}

fn key_store(given: Option<&KeyStore>, input: &Input<'_>, problems: &mut Problems<'_>) -> Protection {
    let given = match given {
        None | Some(KeyStore::Word(values::Protection::Plain)) => return Protection::Plain,
        Some(KeyStore::Word(values::Protection::Passphrase)) => return Protection::Passphrase,
        Some(KeyStore::Recipients(given)) => given,
    };
    if given.recipients.value.is_empty() {
        problems.add(given.recipients.place, "nobody could open this key store");
    }
    for recipient in given.recipients.value.iter().filter(|r| !crate::state::is_recipient(&r.value)) {
        let message = format!("`{}` is no recipient of age", recipient.value);
        problems.add_help(recipient.place, message, "write the public key that `age-keygen` prints: age1...");
    }
    Protection::Recipients {
        recipients: given.recipients.value.iter().map(|recipient| recipient.value.clone()).collect(),
        identity: given.identity.as_ref().and_then(|file| input.files.output(&file.value)),
    }
}

fn audit(given: Option<&Audit>) -> Option<AuditSpec> {
    let mut spec = AuditSpec { path: "file".to_owned(), file: "audit.log".to_owned() };
    match given {
        Some(Audit::Switch(switch)) => return switch.0.then_some(spec),
        Some(Audit::Device(device)) => {
            if let Some(path) = &device.path {
                spec.path.clone_from(&path.0);
            }
            if let Some(file) = &device.file {
                spec.file.clone_from(&file.0);
            }
        }
        None => {}
    }
    Some(spec)
}

/// Numbers up to 255 by their type.
fn small(number: Number<1, 255>) -> u8 {
    u8::try_from(number.0).unwrap_or(u8::MAX)
}

fn port(given: Option<&At<Number<1, 65535>>>) -> Option<u16> {
    given.and_then(|port| u16::try_from(port.value.0).ok())
}

fn check_ports(file: &LabFile, problems: &mut Problems<'_>) {
    let vault = file.vault.iter().filter_map(|vault| vault.port.as_ref());
    let databases = file.databases.iter().filter_map(|database| database.port.as_ref());
    let ports = vault.chain(databases);
    let ports = ports.map(|port| At { value: port.value.0.to_string(), place: port.place });
    check_unique(&ports.collect::<Vec<_>>(), "port", problems);
}

/// Notes every name that was there before.
fn check_unique(names: &[At<String>], what: &str, problems: &mut Problems<'_>) {
    let mut first: HashMap<&str, Place> = HashMap::new();
    for name in names {
        let place = *first.entry(&name.value).or_insert(name.place);
        if place != name.place {
            let message = format!("the {what} `{}` is used twice", name.value);
            problems.add_help(name.place, message, format!("it is already on line {}", place.line));
        }
    }
}

/// Notes names that would be one name of an environment variable, as `a.b` and `a-b`.
fn check_variables(declared: &[At<String>], what: &str, problems: &mut Problems<'_>) {
    let mut first: HashMap<String, &At<String>> = HashMap::new();
    for name in declared {
        let variable = names::variable_name(&name.value);
        let earlier = *first.entry(variable.clone()).or_insert(name);
        if earlier.value != name.value {
            let message = format!(
                "the {what}s `{}` and `{}` would have the same environment variables, {variable}_…",
                earlier.value, name.value
            );
            let help = format!("rename one of them; the other is on line {}", earlier.place.line);
            problems.add_help(name.place, message, help);
        }
    }
}

/// The names of the items of a top-level list, unusable items included: a reference to one of those
/// is no second problem. `None` when the list itself cannot be read, which is told already.
fn declared(root: &Node, list: &str) -> Option<Vec<At<String>>> {
    let entry = |node: &Node, key: &str| match &node.value {
        Value::Map(entries) => entries.iter().find(|(k, _)| k.name == key).map(|(_, v)| v.clone()),
        _ => None,
    };
    let items = match entry(root, list).map(|node| node.value) {
        Some(Value::List(items)) => items,
        None | Some(Value::Null) => Vec::new(),
        Some(_) => return None,
    };
    let name_of = |item: &Node| {
        let name = entry(item, "name")?;
        match name.value {
            Value::Text(value) => Some(At { value, place: name.place }),
            _ => None,
        }
    };
    Some(items.iter().filter_map(name_of).collect())
}

/// Notes that none of the `names` is this one, and what to write instead. Where the names are not known,
/// that is told already.
fn check_declared(
    name: &At<String>,
    names: Option<&[At<String>]>,
    what: &str,
    message: &str,
    problems: &mut Problems<'_>,
) {
    const SHOWN: usize = 20;
    let Some(names) = names else { return };
    let names = || names.iter().map(|name| name.value.as_str());
    if problems.is_full() || names().any(|declared| declared == name.value) {
        return;
    }
    let shown = names().take(SHOWN).collect::<Vec<_>>().join(", ");
    let help = match (did_you_mean(&name.value, names()), names().count()) {
        (Some(help), _) => help,
        (None, 0) => format!("declare it under `{what}`"),
        (None, count) if count > SHOWN => format!("the {what} are: {shown} and {} more", count - SHOWN),
        (None, _) => format!("the {what} are: {shown}"),
    };
    problems.add_help(name.place, message, help);
}

/// A pair of lifetimes, the usual one and the longest. What is left out follows what is given.
fn ttl_pair(
    usual: Option<&At<Ttl>>,
    longest: Option<&At<Ttl>>,
    defaults: (Duration, Duration),
    keys: (&str, &str),
    problems: &mut Problems<'_>,
) -> (Duration, Duration) {
    for (ttl, key) in [(usual, keys.0), (longest, keys.1)] {
        let Some(at) = ttl else { continue };
        if at.value.0.is_zero() {
            let message = format!("`{key}` must be at least 1s");
            problems.add_help(at.place, message, "leave it out for the default");
        } else if at.value.0 > SYSTEM_MAX_TTL {
            let message = format!("`{key}` is longer than Vault's own maximum of 768h");
            problems.add_help(at.place, message, "write 768h or less");
        }
    }
    match (usual, longest) {
        (Some(usual), Some(longest)) => {
            if usual.value.0 > longest.value.0 {
                let message = format!(
                    "`{}` is {}, above its maximum: `{}` is {}",
                    keys.0,
                    brief(usual.value.0),
                    keys.1,
                    brief(longest.value.0)
                );
                let help =
                    format!("lower `{}`, or raise `{}` on line {}", keys.0, keys.1, longest.place.line);
                problems.add_help(usual.place, message, help);
            }
            (usual.value.0, longest.value.0)
        }
        (Some(usual), None) => (usual.value.0, usual.value.0.max(defaults.1)),
        (None, Some(longest)) => (longest.value.0.min(defaults.0), longest.value.0),
        (None, None) => defaults,
    }
}

/// A duration without its zero parts: `1h`, not `1h0m0s`.
fn brief(duration: Duration) -> String {
    let mut text = vaultlab_server::duration::format(duration);
    for zero in ["m0s", "h0m"] {
        if text.ends_with(zero) {
            text.truncate(text.len() - 2);
        }
    }
    text
}
