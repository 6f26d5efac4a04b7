//! Decides whether Milvus may be started as it is.

use k8s_openapi::api::apps::v1::Deployment;

use super::condition::is_paused;
use super::discovery::image_version;
use super::milvus_resource;
use super::object::{Milvus, ResourceExt};
use super::state::UpgradeState;
use milvus_meta::layout::Layout;

/// Reports paused objects, with the command that resumes them: a new image or count would not be rolled out.
pub(crate) fn paused<'a>(
    namespace: &str,
    deployments: impl Iterator<Item = &'a Deployment>,
    resource: Option<&Milvus>,
) -> Option<String> {
    if let Some(resource) = resource.filter(|one| milvus_resource::is_paused(one)) {
        let name = resource.name_any();
        return Some(format!(
            "the Milvus Operator is paused for Milvus {name} (annotation {}): kubectl -n {namespace} annotate milvus \
             {name} {}-, then run the same command",
            milvus_resource::PAUSE,
            milvus_resource::PAUSE
        ));
    }
    let paused = deployments.filter(|one| is_paused(one));
    let names: Vec<&str> = paused
        .filter_map(|one| one.metadata.name.as_deref())
        .collect();
    if names.is_empty() {
        return None;
    }
    Some(format!(
        "Deployment {} is paused and would start with the wrong image: kubectl -n {namespace} rollout resume \
         deployment {}, then run the same command",
        names.join(", "),
        names.join(" ")
    ))
}

/// Why the images to be started cannot read the metadata: 2.2 if `new`, else 2.1.
pub(crate) fn incompatible_image(state: &UpgradeState, new: bool) -> Option<String> {
    if state.layout_before == Some(Layout::Empty) {
        return None;
    }
    let (layout, release) = if new {
        ("2.2", &state.target_version)
    } else {
        ("2.1", &state.source_version)
    };
    state.workloads.iter().find_map(|workload| {
        let image = state.image_of(workload, new);
        let unfit = image_version(image).is_some_and(|one| one.has_2_2_layout() != new);
        unfit.then(|| {
            format!(
                "image {image} of Deployment {} cannot read {layout} metadata: name one of {release} with -w",
                workload.name
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::tests::example;

    #[test]
    fn no_release_is_started_on_metadata_it_cannot_read() {
        let why = |old: &str, new: &str, starts_new: bool| {
            let mut state = example();
            old.clone_into(&mut state.workloads[0].image);
            new.clone_into(&mut state.image);
            incompatible_image(&state, starts_new)
        };
        let (old, new) = ("milvusdb/milvus:v2.1.4", "milvusdb/milvus:v2.2.16");
        assert_eq!(why(old, new, true), None);
        assert_eq!(why(old, new, false), None);
        assert_eq!(
            why("mirror/milvus:nightly", "mirror/milvus:nightly", false),
            None
        );
        let refused = why(new, new, false).unwrap();
        assert!(refused.contains("cannot read 2.1 metadata"), "{refused}");
        let refused = why(old, old, true).unwrap();
        assert!(refused.contains("cannot read 2.2 metadata"), "{refused}");
        let empty = UpgradeState {
            layout_before: Some(Layout::Empty),
            image: old.to_owned(),
            ..example()
        };
        assert_eq!(
            incompatible_image(&empty, true),
            None,
            "no metadata to read"
        );
    }

    #[test]
    fn paused_objects_are_reported_with_their_command() {
        let deployment = |name: &str, paused: bool| -> Deployment {
            let spec = json!({"selector": {}, "template": {}, "paused": paused});
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
        };
        let both = [deployment("a", true), deployment("b", false)];
        let said = paused("data", both.iter(), None).unwrap();
        assert!(
            said.contains("kubectl -n data rollout resume deployment a,"),
            "{said}"
        );
        assert_eq!(paused("data", both[1..].iter(), None), None);
        let resource = |value: &str| -> Milvus {
            let annotations = json!({milvus_resource::PAUSE: value});
            let metadata = json!({"name": "prod", "annotations": annotations});
            serde_json::from_value(json!({"metadata": metadata})).unwrap()
        };
        let said = paused("data", [].iter(), Some(&resource("true"))).unwrap();
        assert!(
            said.contains("kubectl -n data annotate milvus prod milvus.io/pause-reconcile-,"),
            "{said}"
        );
        assert_eq!(paused("data", [].iter(), Some(&resource("false"))), None);
        // The Deployments of the Milvus Operator can be paused, too.
        assert!(paused("data", both.iter(), Some(&resource("false"))).is_some());
    }
}
