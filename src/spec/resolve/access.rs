//! Policies and AppRoles.

use std::time::Duration;

use super::{Input, SYSTEM_MAX_TTL, check_declared, check_unique, declared, ttl_pair};
use crate::spec::decode::{At, Problems, did_you_mean};
use crate::spec::diagnostic::{Diagnostic, MAX_PROBLEMS, Place};
use crate::spec::files::Content;
use crate::spec::load::Node;
use crate::spec::model::{AppRoleSpec, PolicySpec};
use crate::spec::wire::{AppRole, LabFile, Policy};

/// Policies that a lab file cannot write: Vault's own `root` and one for wrapping tokens, and the one
/// of the lab's keeper.
const RESERVED_POLICIES: &[&str] = &["root", "response-wrapping", "vaultlab-keeper"];

/// How the names of the policies begin that the lab's own tokens have.
const OWN_POLICIES: &str = "vaultlab-";

const TOKEN_TTL: Duration = Duration::from_hours(2);
const TOKEN_MAX_TTL: Duration = Duration::from_hours(48);
const SECRET_ID_TTL: Duration = Duration::from_hours(1);

/// The policies.
pub(super) fn policies(file: &LabFile, input: &Input<'_>, problems: &mut Problems<'_>) -> Vec<PolicySpec> {
    file.policies.iter().filter_map(|given| policy(given, input, problems)).collect()
}

fn policy(given: &Policy, input: &Input<'_>, problems: &mut Problems<'_>) -> Option<PolicySpec> {
    if let Some(At { value, place }) = given.name.as_ref() {
        check_policy_name(&value.0, *place, problems);
        if given.file.is_none() && given.hcl.is_none() {
            let message = format!("the policy `{}` has no content", value.0);
            problems.add_help(*place, message, "add `file: ...` or `hcl: ...`");
        }
    }
    // A policy without a name is read all the same.
    let name = given.name.as_ref().map_or("unnamed", |name| &name.value.0);
    match (&given.file, &given.hcl) {
        (Some(_), Some(hcl)) => {
            let message = "a policy has either `file` or `hcl`, not both";
            problems.add_help(hcl.place, message, "remove one of them");
            None
        }
        (None, None) => None,
        (None, Some(hcl)) => {
            for (place, message, help) in faults(name, &hcl.value) {
                let place = problems.inside(hcl, place);
                let diagnostic = Diagnostic::new(problems.file, problems.text, place, message);
                problems.push(Diagnostic { suggestion: help, ..diagnostic });
            }
            let origin = format!("{}:{}", input.shown, hcl.place.line);
            Some(PolicySpec { name: name.to_owned(), text: hcl.value.clone(), origin })
        }
        (Some(path), None) => match input.files.read(&path.value) {
            Ok(Content { shown, origin, text }) => {
                for (place, message, help) in faults(name, &text) {
                    let diagnostic = Diagnostic::new(&shown, &text, place, message);
                    problems.push(Diagnostic { suggestion: help, ..diagnostic });
                }
                Some(PolicySpec { name: name.to_owned(), text, origin })
            }
            Err(error) => {
                match error.help {
                    Some(help) => problems.add_help(path.place, error.message, help),
                    None => problems.add(path.place, error.message),
                }
                None
            }
        },
    }
}

fn check_policy_name(name: &str, place: Place, problems: &mut Problems<'_>) {
    if RESERVED_POLICIES.contains(&name) {
        let owner = if name.starts_with("vaultlab") { "the lab itself" } else { "Vault" };
        let message = format!("the policy `{name}` belongs to {owner}");
        problems.add_help(place, message, "choose another name");
    }
    if name.starts_with(OWN_POLICIES) {
        let message = format!("policies `{OWN_POLICIES}…` are this program's own");
        problems.add_help(place, message, "choose another name");
    }
}

/// What Vault would refuse in a policy: where, what, and advice.
fn faults(name: &str, text: &str) -> Vec<(Place, String, Option<String>)> {
    let Err(error) = vaultlab_server::policy::Policy::parse(name, text) else {
        return Vec::new();
    };
    error
        .faults()
        .iter()
        .take(MAX_PROBLEMS)
        .map(|fault| {
            let word = fault.span.text(text);
            let place = Place::at_offset(text, fault.span.offset, word.chars().count());
            let help = did_you_mean(word.trim_matches('"'), fault.known.iter().copied()).or_else(|| {
                (!fault.known.is_empty()).then(|| format!("known here: {}", fault.known.join(", ")))
            });
            (place, fault.message.clone(), help)
        })
        .collect()
}

/// The AppRoles.
pub(super) fn approles(
    file: &LabFile,
    root: &Node,
    input: &Input<'_>,
    problems: &mut Problems<'_>,
) -> Vec<AppRoleSpec> {
    let declared = declared(root, "policies");
    let declared = declared.as_deref();
    let approles =
        file.approles.iter().filter_map(|given| approle(given, declared, input, problems)).collect();
    super::delivery::check(file, input, problems);
    approles
}

fn approle(
    given: &AppRole,
    declared: Option<&[At<String>]>,
    input: &Input<'_>,
    problems: &mut Problems<'_>,
) -> Option<AppRoleSpec> {
    let policies = given.policies.as_ref().map_or(&[][..], |policies| &policies.value);
    check_unique(policies, "policy", problems);
    if let (Some(name), Some(At { place, .. }), []) = (given.name.as_ref(), given.policies.as_ref(), policies)
    {
        let message = format!("the AppRole `{}` has no policy, so it may do nothing", name.value.0);
        problems.add_help(*place, message, "name at least one of `policies`");
    }
    for policy in policies {
        check_policy(policy, declared, problems);
    }
    let (token_ttl, token_max_ttl) = ttl_pair(
        given.token_ttl.as_ref(),
        given.token_max_ttl.as_ref(),
        (TOKEN_TTL, TOKEN_MAX_TTL),
        ("token_ttl", "token_max_ttl"),
        problems,
    );
    if let Some(ttl) = given.secret_id_ttl.as_ref().filter(|ttl| ttl.value.0 > SYSTEM_MAX_TTL) {
        let message = "`secret_id_ttl` is longer than Vault's own maximum of 768h";
        problems.add_help(ttl.place, message, "write 768h or less, or 0 for one that never expires");
    }
    let deliver = given.deliver.as_ref().map(|to| super::delivery::resolve(to, input, problems));
    Some(AppRoleSpec {
        name: given.name.as_ref()?.value.0.clone(),
        policies: policies.iter().map(|policy| policy.value.clone()).collect(),
        token_ttl,
        token_max_ttl,
        secret_id_ttl: given.secret_id_ttl.as_ref().map_or(SECRET_ID_TTL, |ttl| ttl.value.0),
        secret_id_num_uses: given.secret_id_num_uses.as_ref().map_or(0, |uses| uses.value.0),
        deliver: deliver.unwrap_or_default(),
    })
}

fn check_policy(policy: &At<String>, declared: Option<&[At<String>]>, problems: &mut Problems<'_>) {
    let name = policy.value.as_str();
    if name == "root" {
        let message = "an AppRole cannot have the policy `root`";
        problems.add_help(policy.place, message, "write a policy that allows what it needs");
    } else if name != "default" {
        let message = format!("the policy `{name}` is not declared");
        check_declared(policy, declared, "policies", &message, problems);
    }
}
