//! Shared helpers of the integration tests.

pub(crate) mod certificates;
pub(crate) mod documents;
pub(crate) mod dump;
pub(crate) mod hooked;
pub(crate) mod kubernetes;
pub(crate) mod metadata;
pub(crate) mod migration;
pub(crate) mod milvus;
pub(crate) mod official;
pub(crate) mod options;
pub(crate) mod oracle;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod snapshot;

pub(crate) use meta_testing::{etcd, generator};
