//! What every object has: name, labels, annotations, and selectors of them. No request.

pub(crate) use kube::ResourceExt;
pub(crate) use kube::core::Selector;
