//! Playing a file of cases against a server.

use std::collections::BTreeMap;

use serde_json::Value;

use super::expect::differences;
use super::script::{Step, parse};
use super::target::Target;

/// Values for `$NAME`.
pub type Variables = BTreeMap<String, String>;

/// Plays all steps, and fails at the end with everything that differed.
pub async fn play(target: &Target, text: &str, mut variables: Variables) {
    variables.extend(target.variables.clone());
    let mut failures = Vec::new();
    for step in parse(text) {
        let (status, body) = answer(target, &step, &variables).await;
        for (name, path) in &step.save {
            let found = body.as_ref().and_then(|body| part(body, path));
            let text = found.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            variables.insert(name.clone(), text.unwrap_or_default());
        }
        let mut expected = step.expected(target.flavour).clone();
        expected.body = expected.body.map(|body| filled(&body, &variables));
        for difference in differences(target.flavour, &expected, status, body.as_ref()) {
            failures.push(format!("line {}: {} {}: {difference}", step.line, step.method, step.path));
        }
    }
    let flavour = target.flavour;
    assert!(failures.is_empty(), "{flavour:?}: {} differences\n{}", failures.len(), failures.join("\n"));
}

/// A part of an answer, such as `auth.client_token` or `keys.0`.
fn part<'v>(body: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(body, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        other => other.get(key),
    })
}

/// The answer to take, of what is done in the background once it is, for up to 20 seconds.
async fn answer(target: &Target, step: &Step, variables: &Variables) -> (u16, Option<Value>) {
    let mut left = 200;
    loop {
        let (status, body) = send(target, step, variables).await;
        let is_other = |(path, value): &(String, String)| {
            body.as_ref().and_then(|body| part(body, path)).is_none_or(|found| found != value.as_str())
        };
        if left == 0 || status != 200 || !step.until.as_ref().is_some_and(is_other) {
            return (status, body);
        }
        left -= 1;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

async fn send(target: &Target, step: &Step, variables: &Variables) -> (u16, Option<Value>) {
    let token = fill(step.token.as_deref().unwrap_or("$ROOT"), variables);
    let client = target.client.with_token(&token);
    let mut request =
        client.request(&step.method, &fill(&step.path, variables)).header("X-Vault-Request", "true");
    for (name, value) in &step.headers {
        request = request.header(name, fill(value, variables));
    }
    if !step.body.is_empty() {
        // Values go into JSON texts.
        let escaped = variables.iter().map(|(name, value)| {
            let json = Value::String(value.clone()).to_string();
            (name.clone(), json[1..json.len() - 1].to_owned())
        });
        request = request.body(fill(&step.body, &escaped.collect()));
    }
    // A server that panics closes the connection: status 0.
    let Ok(answer) = request.send().await else { return (0, None) };
    let status = answer.status().as_u16();
    let bytes = answer.bytes().await.unwrap();
    let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
    let body = (!bytes.is_empty()).then(|| serde_json::from_slice(&bytes).unwrap_or_else(|_| text()));
    (status, body)
}

/// Replaces every `$NAME`; the longest name that fits wins, and what has no value stays.
fn fill(text: &str, variables: &Variables) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        out.push_str(before);
        let length = after.bytes().take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_');
        let (name, tail) = after.split_at(length.count());
        match variables.get(name) {
            Some(value) => out.push_str(value),
            None => out.extend(["$", name]),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

fn filled(value: &Value, variables: &Variables) -> Value {
    match value {
        Value::String(text) => Value::String(fill(text, variables)),
        Value::Array(items) => items.iter().map(|item| filled(item, variables)).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| (fill(key, variables), filled(value, variables))).collect()
        }
        other => other.clone(),
    }
}
