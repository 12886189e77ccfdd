//! Which types can be mounted, and what makes their backends.

use std::collections::BTreeMap;

use super::mounts::Table;
use crate::logical::Factory;

/// The mountable types of both tables.
#[derive(Default)]
pub struct Registry {
    secret: BTreeMap<&'static str, Factory>,
    auth: BTreeMap<&'static str, Factory>,
}

impl Registry {
    /// Adds a type.
    #[must_use]
    pub fn with(mut self, table: Table, kind: &'static str, factory: Factory) -> Self {
        self.table_mut(table).insert(kind, factory);
        self
    }

    /// What makes backends of a type.
    pub fn factory(&self, table: Table, kind: &str) -> Option<Factory> {
        self.table(table).get(kind).copied()
    }

    /// The types of a table, sorted.
    pub fn kinds(&self, table: Table) -> impl Iterator<Item = &'static str> + '_ {
        self.table(table).keys().copied()
    }

    fn table(&self, table: Table) -> &BTreeMap<&'static str, Factory> {
        match table {
            Table::Secret => &self.secret,
            Table::Auth => &self.auth,
        }
    }

    fn table_mut(&mut self, table: Table) -> &mut BTreeMap<&'static str, Factory> {
        match table {
            Table::Secret => &mut self.secret,
            Table::Auth => &mut self.auth,
        }
    }
}
