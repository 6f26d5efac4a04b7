//! What the integration tests share.

pub(crate) mod certificates;
pub(crate) mod dump;
pub(crate) mod etcd;
pub(crate) mod kubernetes;
pub(crate) mod metadata;
