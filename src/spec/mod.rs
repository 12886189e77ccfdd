//! The lab file: from YAML on disk to a checked [`LabSpec`].

pub mod model;

pub use model::LabSpec;
