//! T16, T17, T20: determines which indexes built by 2.1 a target can use.

use std::collections::BTreeMap;

use crate::release::Release;

/// How a target supports an index of 2.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    /// It reads the files.
    Files,
    /// It has this index type, but cannot read the files: the segment indexes are skipped.
    Rebuilt {
        /// Milvus 2.3 and later build missing segment indexes within a minute. 2.2 builds them only
        /// if the client creates the index again.
        by_itself: bool,
    },
    /// It does not have the index type.
    NoType,
    /// It does not have the metric: the segment indexes are skipped.
    NoMetric,
}

impl Support {
    /// Returns whether the segment indexes are skipped.
    pub(super) fn skips_files(self) -> bool {
        matches!(self, Self::Rebuilt { .. } | Self::NoMetric)
    }

    /// Returns whether a collection with the index can be loaded and searched.
    pub(super) fn is_usable(self) -> bool {
        matches!(self, Self::Files | Self::Rebuilt { .. })
    }
}

/// The stored properties of an index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Built<'p> {
    /// `data_type` of the field.
    pub(super) data_type: i64,
    params: &'p BTreeMap<String, String>,
}

/// Index types that the knowhere library has in 2.1 and not in later releases.
const RETIRED_TYPES: [&str; 9] = [
    "ANNOY",
    "IVF_SQ8H",
    "IVF_SQ8_HYBRID",
    "NGT_ONNG",
    "NGT_PANNG",
    "NSG",
    "RHNSW_FLAT",
    "RHNSW_PQ",
    "RHNSW_SQ",
];

impl<'p> Built<'p> {
    /// Creates the properties from parameters that are flattened as in 2.2.
    pub(super) fn new(data_type: i64, params: &'p BTreeMap<String, String>) -> Self {
        Self { data_type, params }
    }

    /// Returns the index type; empty if none is stored.
    pub(super) fn index_type(&self) -> &'p str {
        self.params.get("index_type").map_or("", String::as_str)
    }

    /// Returns the metric; empty if none is stored.
    pub(super) fn metric(&self) -> &'p str {
        self.params.get("metric_type").map_or("", String::as_str)
    }

    pub(super) fn support(&self, target: &Release) -> Support {
        let is_type = |name: &str| self.index_type().eq_ignore_ascii_case(name);
        let has_metric = |name: &str| self.metric().eq_ignore_ascii_case(name);
        let rebuilt = Support::Rebuilt {
            by_itself: target.is_beyond_2_2(),
        };
        if self.is_narrow_scalar() {
            rebuilt
        } else if RETIRED_TYPES.into_iter().any(is_type) {
            Support::NoType
        } else if target.is_beyond_2_2() && has_metric("TANIMOTO") {
            Support::NoMetric
        } else if is_type("BIN_FLAT") {
            // Observed with files of 2.1.0: 2.2.16 computes another metric than the index has,
            // 2.3.5 terminates.
            rebuilt
        } else {
            Support::Files
        }
    }

    /// Returns whether 2.2's query node crashes on the sort index files of 2.1 for this field type
    /// (`Bool` 1, `Int8` 2, `Int16` 3, `Int32` 4, `Float` 10).
    pub(super) fn is_narrow_scalar(&self) -> bool {
        matches!(self.data_type, 1..=4 | 10)
    }

    /// Returns whether 2.2 returns other results than 2.1 for searches with this metric.
    pub(super) fn answers_differ(&self) -> bool {
        let metrics = ["SUBSTRUCTURE", "SUPERSTRUCTURE"];
        metrics
            .into_iter()
            .any(|name| self.metric().eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINARY_VECTOR: i64 = 100;
    const FLOAT_VECTOR: i64 = 101;

    fn support(data_type: i64, index_type: &str, metric: &str, target: &str) -> Support {
        let pairs = [("index_type", index_type), ("metric_type", metric)];
        let params = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Built::new(data_type, &params.into()).support(&target.parse().unwrap())
    }

    #[test]
    fn t17_sort_indexes_of_narrow_types_are_rebuilt() {
        for (target, by_itself) in [
            ("2.2.0", false),
            ("2.2.16", false),
            ("2.3.0", true),
            ("2.3.5", true),
            ("2.6.0", true),
        ] {
            let rebuilt = Support::Rebuilt { by_itself };
            for (data_type, expected) in [
                (1, rebuilt),
                (2, rebuilt),
                (3, rebuilt),
                (4, rebuilt),
                (10, rebuilt),
                (5, Support::Files),
                (11, Support::Files),
                (20, Support::Files),
                (21, Support::Files),
            ] {
                let found = support(data_type, "STL_SORT", "", target);
                assert_eq!(found, expected, "{data_type} for {target}");
            }
        }
    }

    #[test]
    fn t16_retired_types_are_not_supported() {
        for target in ["2.2.16", "2.3.5", "2.4.24"] {
            for name in [
                "RHNSW_FLAT",
                "RHNSW_PQ",
                "RHNSW_SQ",
                "ANNOY",
                "NSG",
                "IVF_SQ8H",
                "NGT_PANNG",
                "NGT_ONNG",
            ] {
                let found = support(FLOAT_VECTOR, name, "L2", target);
                assert_eq!(found, Support::NoType, "{name} for {target}");
            }
            for name in ["FLAT", "IVF_FLAT", "IVF_SQ8", "IVF_PQ", "HNSW"] {
                let found = support(FLOAT_VECTOR, name, "L2", target);
                assert_eq!(found, Support::Files, "{name} for {target}");
            }
        }
    }

    #[test]
    fn t20_binary_metrics_depend_on_the_target() {
        use Support::{Files, NoMetric, Rebuilt};
        let on_request = Rebuilt { by_itself: false };
        let by_itself = Rebuilt { by_itself: true };
        for (index_type, metric, in_2_2, in_2_3) in [
            ("BIN_FLAT", "JACCARD", on_request, by_itself),
            ("BIN_FLAT", "HAMMING", on_request, by_itself),
            ("BIN_FLAT", "SUBSTRUCTURE", on_request, by_itself),
            ("BIN_FLAT", "TANIMOTO", on_request, NoMetric),
            ("BIN_IVF_FLAT", "JACCARD", Files, Files),
            ("BIN_IVF_FLAT", "HAMMING", Files, Files),
            ("BIN_IVF_FLAT", "TANIMOTO", Files, NoMetric),
        ] {
            let found = |target| support(BINARY_VECTOR, index_type, metric, target);
            assert_eq!(found("2.2.16"), in_2_2, "{index_type} {metric}");
            assert_eq!(found("2.3.0"), in_2_3, "{index_type} {metric}");
        }
    }
}
