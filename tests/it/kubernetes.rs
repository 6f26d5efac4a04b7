//! The orchestrated upgrade on a real control plane.

mod bed;
