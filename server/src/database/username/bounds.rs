//! What keeps a template from taking the server's time or memory: Go's would run until both are gone.

use std::cell::Cell;
use std::sync::Arc;

use gotmpl::parse::{BranchNode, ListNode, Node};
use gotmpl::{Template, TemplateError, Value};

/// Rounds of all `range` of a run together.
pub const MAX_ROUNDS: u64 = 1000;
/// Nodes a run may come through, but for further rounds of `range`.
const MAX_NODES: usize = 2000;
/// Bytes that functions may make in a run.
const MAX_BYTES: usize = 1 << 20;
/// The library's limit of a width or precision.
const MAX_WIDTH: usize = 65_535;
/// Functions of the library that make text of what they are given.
const PRINTING: [&str; 6] = ["html", "js", "print", "printf", "println", "urlquery"];

thread_local! {
    /// What is left of [`MAX_BYTES`] in this thread's run.
    static BYTES_LEFT: Cell<usize> = const { Cell::new(0) };
}

/// Begins a run.
pub fn begin() {
    BYTES_LEFT.set(MAX_BYTES);
}

/// Counts the bytes a function is going to make.
pub fn spend(bytes: usize) -> Result<(), String> {
    let left = BYTES_LEFT.get().checked_sub(bytes).ok_or("the template makes too much text")?;
    BYTES_LEFT.set(left);
    Ok(())
}

/// Whether a run ends soon: a few templates that use each other twice would not in years.
pub fn ends_soon(template: &Template) -> bool {
    let mut left = MAX_NODES;
    template.lookup("template").is_none_or(|list| count(template, list, &mut left).is_some())
}

fn count(template: &Template, list: &ListNode, left: &mut usize) -> Option<()> {
    for node in &list.nodes {
        *left = left.checked_sub(1)?;
        match node {
            Node::List(list) => count(template, list, left)?,
            Node::If(BranchNode { body, else_body, .. })
            | Node::Range(BranchNode { body, else_body, .. })
            | Node::With(BranchNode { body, else_body, .. }) => {
                count(template, body, left)?;
                if let Some(list) = else_body {
                    count(template, list, left)?;
                }
            }
            Node::Template(used) => {
                if let Some(list) = template.lookup(&used.name) {
                    count(template, list, left)?;
                }
            }
            _ => {}
        }
    }
    Some(())
}

/// The library's functions that make text, counted.
pub fn printing() -> impl Iterator<Item = (String, gotmpl::ValueFunc)> {
    PRINTING.into_iter().map(|name| {
        let function = move |args: &[Value]| {
            spend(most(name, args)).map_err(|e| TemplateError::Exec(format!("error calling {name}: {e}")))?;
            original(name, args)
        };
        (name.to_owned(), Arc::new(function) as gotmpl::ValueFunc)
    })
}

/// Calls the library's own function, which is reached through a template only.
fn original(name: &str, args: &[Value]) -> Result<Value, TemplateError> {
    let listed: String = (0..args.len()).map(|at| format!(" (index . {at})")).collect();
    let call = Template::new("").parse(&format!("{{{{{name}{listed}}}}}"))?;
    Ok(Value::String(Arc::from(call.execute_to_string(&Value::List(Arc::from(args)))?)))
}

/// The most bytes a call can make.
fn most(name: &str, args: &[Value]) -> usize {
    let lengths = args.iter().map(|arg| arg.to_string().len() + 1);
    let (sum, longest) =
        lengths.fold((0_usize, 0_usize), |(sum, longest), len| (sum + len, longest.max(len)));
    match (name, args.first().and_then(Value::as_str)) {
        ("printf", Some(format)) => {
            let values = format.matches('%').count().saturating_mul(longest);
            let given = format.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
            let widths: usize = given.map(|digits| digits.parse().unwrap_or(MAX_WIDTH).min(MAX_WIDTH)).sum();
            let starred = format.matches('*').count().saturating_mul(MAX_WIDTH);
            values.saturating_add(format.len()).saturating_add(widths).saturating_add(starred)
        }
        // An escaped character takes six at most.
        ("html" | "js" | "urlquery", _) => sum.saturating_mul(6),
        _ => sum,
    }
}
