//! The behaviour that a test requests from its node, and the events that the node recorded.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use milvus_meta::layout::Layout;

use crate::support::milvus::{Client, Place};

/// The image of the program under test.
pub(crate) const TOOL_IMAGE: &str = "meta-migration:under-test";

/// How pods behave. May be changed while the test runs.
#[derive(Debug, Clone)]
pub(crate) struct Behaviour {
    /// Images that cannot be pulled.
    pub(crate) missing_images: BTreeSet<String>,
    /// Images whose pods run but never become ready.
    pub(crate) unready_images: BTreeSet<String>,
    /// Components whose pods hang in Terminating.
    pub(crate) hanging_components: BTreeSet<String>,
    /// Components whose sessions remain in etcd after their pods ended.
    pub(crate) lingering_sessions: BTreeSet<String>,
    /// The time to live of a lingering session; `None` until it is removed by the test.
    pub(crate) lingering_ttl: Option<Duration>,
    /// Whether PVCs get a volume when a pod uses them.
    pub(crate) bind_claims: bool,
    /// Whether pods get a node.
    pub(crate) schedule: bool,
    /// The time of a pod from its start until it is ready.
    pub(crate) start_delay: Duration,
    /// The time of a pod from the request to stop until its end.
    pub(crate) stop_delay: Duration,
    /// Whether the node is disconnected: deleted pods keep running.
    pub(crate) cut_off: bool,
    /// Where pods of Milvus run real servers.
    pub(crate) servers: Option<Place>,
    /// Tool pods whose names contain an element start only after it is removed.
    pub(crate) held_tools: BTreeSet<String>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            missing_images: BTreeSet::new(),
            unready_images: BTreeSet::new(),
            hanging_components: BTreeSet::new(),
            lingering_sessions: BTreeSet::new(),
            lingering_ttl: None,
            bind_claims: true,
            schedule: true,
            start_delay: Duration::from_millis(200),
            stop_delay: Duration::from_millis(400),
            cut_off: false,
            servers: None,
            held_tools: BTreeSet::new(),
        }
    }
}

/// An event on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A Milvus process began.
    MilvusStarted {
        component: String,
        image: String,
        layout: Layout,
    },
    /// A Milvus process ended.
    MilvusStopped { component: String },
    /// The program under test began.
    ToolStarted {
        pod: String,
        arguments: Vec<String>,
        /// Whether the program can change metadata.
        writes: bool,
        pid: u32,
    },
    /// The program under test ended.
    ToolEnded { pod: String, code: i32 },
}

/// State shared by the test and its node.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    behaviour: Mutex<Behaviour>,
    events: Mutex<Vec<Event>>,
    /// A client of the real server that was started last.
    client: Mutex<Option<Client>>,
}

impl Shared {
    /// Locks the behaviour for reading or changing.
    pub(crate) fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        self.behaviour.lock().unwrap()
    }

    /// A client of the real server that was started last.
    pub(crate) fn client(&self) -> Option<Client> {
        self.client.lock().unwrap().clone()
    }

    pub(crate) fn set_client(&self, client: Client) {
        *self.client.lock().unwrap() = Some(client);
    }

    pub(crate) fn record(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }
}

/// Conditions that must never occur on a node, each as a description.
pub(crate) fn breaches(events: &[Event]) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut running = 0_u32;
    let mut writing: BTreeSet<&str> = BTreeSet::new();
    for event in events {
        match event {
            Event::MilvusStarted {
                component,
                image,
                layout,
            } => {
                running += 1;
                if !writing.is_empty() {
                    breaches.push(format!("{component} started during {writing:?}"));
                }
                let fits = match layout {
                    Layout::V2_1 => image.contains(":v2.1"),
                    Layout::V2_2 => image.contains(":v2.2"),
                    Layout::Empty => true,
                    Layout::Mixed | Layout::Staged => false,
                };
                if !fits {
                    breaches.push(format!("{component} of {image} started on {layout:?}"));
                }
            }
            Event::MilvusStopped { .. } => running = running.saturating_sub(1),
            Event::ToolStarted {
                pod,
                arguments,
                writes,
                ..
            } => {
                if *writes {
                    if running > 0 {
                        breaches.push(format!("{pod} ran {arguments:?} while Milvus ran"));
                    }
                    writing.insert(pod);
                }
            }
            Event::ToolEnded { pod, .. } => {
                writing.remove(pod.as_str());
            }
        }
    }
    breaches
}
