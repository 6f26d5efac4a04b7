//! Whatever is killed, nothing is lost: shown on real servers and with the real program.

mod clusters;
mod intruder;
mod kills;
mod limits;
mod room;
mod secrets;
