//! `dyno bench link` and `dyno bench upload`: client and server over an emulated network.
//!
//! Two network namespaces are joined by two TUN devices, and two threads carry packets from one to
//! the other as a link would: at the rate of a recording, with a delay, a queue, losses and
//! outages. TCP is the kernel's own, so that slow start, its return after a pause, and
//! retransmissions are as on a network; a link that copies bytes between sockets has none of them.

mod carrier;
mod clock;
mod interrupt;
mod namespace;
mod network;
mod phone;
mod shaper;
mod spec;
mod tun;
pub(super) mod upload;
