//! Stands between phone and server and lets the network fail at a moment of the test's choice.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What becomes of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Weather {
    /// They pass.
    Fine,
    /// They are swallowed, and connections stay open.
    Silence,
    /// Those of the phone pass; of the server's answer half a piece, and then the connection ends.
    HalfAnAnswer,
}

/// A relay; its connections end with the test's process.
pub(crate) struct Relay {
    address: SocketAddr,
    weather: Arc<AtomicU8>,
}

impl Relay {
    /// Relays to `server` on a port of its own.
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let weather = Arc::new(AtomicU8::new(Weather::Fine as u8));
        let now = weather.clone();
        std::thread::spawn(move || {
            for phone in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else {
                    continue;
                };
                let (phone_back, server_back) = (copy(&phone), copy(&server));
                let (up, down) = (now.clone(), now.clone());
                std::thread::spawn(move || carry(phone, server, &up, false));
                std::thread::spawn(move || carry(server_back, phone_back, &down, true));
            }
        });
        Self { address, weather }
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn turns(&self, weather: Weather) {
        self.weather.store(weather as u8, Ordering::SeqCst);
    }
}

fn copy(stream: &TcpStream) -> TcpStream {
    stream.set_nodelay(true).unwrap();
    stream.try_clone().unwrap()
}

fn carry(mut from: TcpStream, mut to: TcpStream, weather: &AtomicU8, is_answer: bool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let weather = weather.load(Ordering::SeqCst);
        if weather == Weather::Silence as u8 {
            continue;
        }
        let breaks = is_answer && weather == Weather::HalfAnAnswer as u8;
        let passes = if breaks { length / 2 } else { length };
        if to.write_all(&buffer[..passes]).is_err() || breaks {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
