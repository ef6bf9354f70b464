//! A TUN device: packets that the kernel sends through it are read here, and those written here
//! arrive as if from a network.

use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use tun_rs::{DeviceBuilder, SyncDevice};

/// The device's name; each namespace has one only.
const NAME: &str = "dyno0";
/// Largest packet, as on Ethernet and on most mobile networks.
pub(super) const MTU_BYTES: u16 = 1500;
/// The two ends are alone in their network.
const PREFIX_BITS: u8 = 30;

/// A device of the namespace in which it was opened; gone once closed.
pub(super) struct Tun(SyncDevice);

impl Tun {
    /// Opens a device in the calling thread's namespace, which gets this address.
    pub(super) fn open(address: Ipv4Addr) -> Result<Self> {
        let device = DeviceBuilder::new()
            .name(NAME)
            .mtu(MTU_BYTES)
            .ipv4(address, PREFIX_BITS, None)
            .build_sync()
            .context(
                "cannot open a TUN device: it needs root and /dev/net/tun (`modprobe tun`; in a \
                 container, `--device /dev/net/tun --cap-add NET_ADMIN`)",
            )?;
        device
            .set_nonblocking(true)
            .context("the TUN device cannot be read without waiting")?;
        Ok(Self(device))
    }

    /// The next packet, in `buffer`, if one is there.
    pub(super) fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match self.0.recv(buffer) {
            Ok(length) => Ok(Some(&buffer[..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets a packet arrive.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.0.send(packet).map(|_| ())
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
