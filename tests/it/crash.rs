//! Killed processes and servers lose nothing: real servers and the real program.

mod clusters;
mod concurrent_component;
mod kills;
mod limits;
mod quota;
mod secrets;
