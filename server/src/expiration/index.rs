//! What is alive, until when, and what hangs on what: kept in memory, rebuilt at unseal.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;

use crate::token::TokenKey;

/// Something with a life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ref {
    /// A leased secret, by lease id.
    Lease(Arc<str>),
    /// A token.
    Token(TokenKey),
}

#[derive(Debug, Default)]
struct TokenNode {
    accessor: Box<str>,
    parent: Option<TokenKey>,
    children: Vec<TokenKey>,
    leases: BTreeSet<Arc<str>>,
    due: Option<Timestamp>,
}

/// What the index knows about a lease.
#[derive(Debug, Clone)]
pub struct LeaseNode {
    /// Token that asked for it.
    pub owner: TokenKey,
    /// When something has to be done about it: its end, or the next attempt to revoke it.
    due: Option<Timestamp>,
    /// Failed attempts to revoke it.
    pub attempts: u32,
    /// Its life is over (whether or not the revocation has worked).
    pub ended: bool,
    /// Given up after too many attempts.
    pub irrevocable: bool,
}

/// The index.
#[derive(Debug, Default)]
pub struct Index {
    tokens: HashMap<TokenKey, TokenNode>,
    accessors: HashMap<Box<str>, TokenKey>,
    /// Tokens whose lease is not below `auth/`: of wrapped responses, and few.
    elsewhere: BTreeSet<TokenKey>,
    leases: BTreeMap<Arc<str>, LeaseNode>,
    due: BTreeSet<(Timestamp, Ref)>,
    /// When the expiration task looks next by itself; none before it has looked at all.
    wakes: Option<Timestamp>,
}

impl Index {
    /// Adds a token. `false` when its parent is gone: it must not exist then.
    pub fn add_token(
        &mut self,
        key: TokenKey,
        accessor: &str,
        parent: Option<TokenKey>,
        due: Option<Timestamp>,
    ) -> bool {
        if let Some(parent) = parent {
            let Some(node) = self.tokens.get_mut(&parent) else {
                return false;
            };
            node.children.push(key);
        }
        self.restore_token(key, accessor, parent, due);
        true
    }

    /// Adds a token found in storage; its children are linked by [`Index::link`] afterwards.
    pub fn restore_token(
        &mut self,
        key: TokenKey,
        accessor: &str,
        parent: Option<TokenKey>,
        due: Option<Timestamp>,
    ) {
        self.accessors.insert(accessor.into(), key);
        self.tokens.insert(key, TokenNode { accessor: accessor.into(), parent, due, ..TokenNode::default() });
        if let Some(due) = due {
            self.due.insert((due, Ref::Token(key)));
        }
    }

    /// Links restored tokens to their parents; those whose parent is gone are due at once.
    pub fn link(&mut self, now: Timestamp) {
        let links: Vec<(TokenKey, TokenKey)> =
            self.tokens.iter().filter_map(|(key, node)| Some((*key, node.parent?))).collect();
        for (child, parent) in links {
            match self.tokens.get_mut(&parent) {
                Some(node) => node.children.push(child),
                None => self.set_token_due(&child, Some(now)),
            }
        }
    }

    /// Notes where a token's lease is, by the path it was made at.
    pub fn note_path(&mut self, key: TokenKey, path: &str) {
        if !path.starts_with("auth/") && self.tokens.contains_key(&key) {
            self.elsewhere.insert(key);
        }
    }

    /// The tokens whose lease is not below `auth/`.
    pub fn tokens_elsewhere(&self) -> Vec<TokenKey> {
        self.elsewhere.iter().copied().collect()
    }

    /// Whether a token is alive.
    pub fn has_token(&self, key: &TokenKey) -> bool {
        self.tokens.contains_key(key)
    }

    /// Number of tokens.
    pub fn token_count(&self) -> usize {
        self.tokens.len()
    }

    /// The token with this accessor.
    pub fn by_accessor(&self, accessor: &str) -> Option<TokenKey> {
        self.accessors.get(accessor).copied()
    }

    /// All accessors, sorted.
    pub fn accessors(&self) -> Vec<String> {
        let mut accessors: Vec<String> = self.accessors.keys().map(ToString::to_string).collect();
        accessors.sort_unstable();
        accessors
    }

    /// Sets when a token ends.
    pub fn set_token_due(&mut self, key: &TokenKey, due: Option<Timestamp>) {
        let Some(node) = self.tokens.get_mut(key) else {
            return;
        };
        if let Some(old) = node.due.take() {
            self.due.remove(&(old, Ref::Token(*key)));
        }
        node.due = due;
        if let Some(due) = due {
            self.due.insert((due, Ref::Token(*key)));
        }
    }

    /// A token and all that descend from it, children before parents.
    pub fn tree(&self, root: &TokenKey) -> Vec<TokenKey> {
        let mut order = Vec::new();
        let mut open = vec![*root];
        while let Some(key) = open.pop() {
            let Some(node) = self.tokens.get(&key) else {
                continue;
            };
            open.extend(&node.children);
            order.push(key);
        }
        order.reverse();
        order
    }

    /// Makes the children of a token orphans; returns them.
    pub fn orphan_children(&mut self, key: &TokenKey) -> Vec<TokenKey> {
        let children =
            self.tokens.get_mut(key).map(|node| std::mem::take(&mut node.children)).unwrap_or_default();
        for child in &children {
            if let Some(node) = self.tokens.get_mut(child) {
                node.parent = None;
            }
        }
        children
    }

    /// Children of a token.
    pub fn children(&self, key: &TokenKey) -> Vec<TokenKey> {
        self.tokens.get(key).map(|node| node.children.clone()).unwrap_or_default()
    }

    /// Removes a token, returning its accessor; its leases are due at `now`.
    pub fn remove_token(&mut self, key: &TokenKey, now: Timestamp) -> Option<Box<str>> {
        let node = self.tokens.remove(key)?;
        self.accessors.remove(&node.accessor);
        self.elsewhere.remove(key);
        if let Some(due) = node.due {
            self.due.remove(&(due, Ref::Token(*key)));
        }
        if let Some(parent) = node.parent.and_then(|parent| self.tokens.get_mut(&parent)) {
            parent.children.retain(|child| child != key);
        }
        for lease in node.leases {
            self.end_lease(&lease, now);
        }
        Some(node.accessor)
    }

    /// Adds a lease. `false` when its token is gone: the secret must be taken back.
    pub fn add_lease(&mut self, id: &str, owner: TokenKey, due: Timestamp) -> bool {
        if !self.tokens.contains_key(&owner) {
            return false;
        }
        self.restore_lease(id, owner, due, false);
        true
    }

    /// Adds a lease found in storage; due at `due`, or given up.
    pub fn restore_lease(&mut self, id: &str, owner: TokenKey, due: Timestamp, irrevocable: bool) {
        let id: Arc<str> = id.into();
        if let Some(node) = self.tokens.get_mut(&owner) {
            node.leases.insert(Arc::clone(&id));
        }
        let node = LeaseNode {
            owner,
            due: (!irrevocable).then_some(due),
            attempts: 0,
            ended: irrevocable,
            irrevocable,
        };
        if !irrevocable {
            self.due.insert((due, Ref::Lease(Arc::clone(&id))));
        }
        self.leases.insert(id, node);
    }

    /// What is known about a lease.
    pub fn lease(&self, id: &str) -> Option<&LeaseNode> {
        self.leases.get(id)
    }

    /// Extends a lease. `false` when it is gone or its life has ended meanwhile.
    pub fn extend_lease(&mut self, id: &str, due: Timestamp) -> bool {
        match self.leases.get(id) {
            Some(node) if !node.ended => {
                self.set_lease_due(id, Some(due));
                true
            }
            _ => false,
        }
    }

    /// Ends a lease's life: it is due at `now`, and can no longer be extended.
    pub fn end_lease(&mut self, id: &str, now: Timestamp) {
        if let Some(node) = self.leases.get_mut(id) {
            node.ended = true;
            node.irrevocable = false;
            self.set_lease_due(id, Some(now));
        }
    }

    /// Undoes [`Index::end_lease`]: the lease ends at `due`, as before.
    pub fn revive_lease(&mut self, id: &str, due: Timestamp) {
        if let Some(node) = self.leases.get_mut(id) {
            node.ended = false;
        }
        self.set_lease_due(id, Some(due));
    }

    /// Notes a failed revocation; returns how many there were.
    pub fn lease_failed(&mut self, id: &str) -> u32 {
        self.leases.get_mut(id).map_or(0, |node| {
            node.attempts += 1;
            node.attempts
        })
    }

    /// Sets the next attempt to revoke a lease.
    pub fn retry_lease(&mut self, id: &str, at: Timestamp) {
        self.set_lease_due(id, Some(at));
    }

    /// Gives a lease up.
    pub fn give_up(&mut self, id: &str) {
        self.set_lease_due(id, None);
        if let Some(node) = self.leases.get_mut(id) {
            node.ended = true;
            node.irrevocable = true;
        }
    }

    fn set_lease_due(&mut self, id: &str, due: Option<Timestamp>) {
        let Some((id, node)) = self.leases.get_key_value(id) else {
            return;
        };
        let (id, old) = (Arc::clone(id), node.due);
        if let Some(old) = old {
            self.due.remove(&(old, Ref::Lease(Arc::clone(&id))));
        }
        if let Some(due) = due {
            self.due.insert((due, Ref::Lease(Arc::clone(&id))));
        }
        if let Some(node) = self.leases.get_mut(&id) {
            node.due = due;
        }
    }

    /// Removes a lease whose secret is gone.
    pub fn remove_lease(&mut self, id: &str) {
        self.set_lease_due(id, None);
        if let Some(node) = self.leases.remove(id)
            && let Some(owner) = self.tokens.get_mut(&node.owner)
        {
            owner.leases.remove(id);
        }
    }

    /// Leases whose id starts with `prefix`, in order.
    pub fn leases_below(&self, prefix: &str) -> impl Iterator<Item = (&Arc<str>, &LeaseNode)> {
        let prefix = prefix.to_owned();
        self.leases
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
            .take_while(move |(id, _)| id.starts_with(&prefix))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Number of leases.
    pub fn lease_count(&self) -> usize {
        self.leases.len()
    }

    /// When to look next: at what is due then, at the latest at `limit`. Noted for
    /// [`Index::oversleeps`].
    pub fn sleep_until(&mut self, limit: Timestamp) -> Timestamp {
        let wakes = self.next_due().map_or(limit, |due| due.min(limit));
        self.wakes = Some(wakes);
        wakes
    }

    /// Whether something is due before the expiration task looks by itself.
    pub fn oversleeps(&self) -> bool {
        match (self.next_due(), self.wakes) {
            (Some(due), Some(wakes)) => due < wakes,
            (due, None) => due.is_some(),
            (None, _) => false,
        }
    }

    /// When something has to be done next.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes what is due at `now`, oldest first, at most `limit`; a lease taken has ended.
    pub fn take_due(&mut self, now: Timestamp, limit: usize) -> Vec<Ref> {
        let mut taken = Vec::new();
        while taken.len() < limit && self.next_due().is_some_and(|at| at <= now) {
            let Some((_, reference)) = self.due.pop_first() else {
                break;
            };
            match &reference {
                Ref::Lease(id) => {
                    if let Some(node) = self.leases.get_mut(id) {
                        node.due = None;
                        node.ended = true;
                    }
                }
                Ref::Token(key) => {
                    if let Some(node) = self.tokens.get_mut(key) {
                        node.due = None;
                    }
                }
            }
            taken.push(reference);
        }
        taken
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
