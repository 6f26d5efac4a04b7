//! Killed processes and servers lose nothing: real servers and the real program.

mod clusters;
mod intruder;
mod kills;
mod limits;
mod room;
mod secrets;
