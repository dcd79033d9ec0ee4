//! What comes over the daemon's socket.

use jetpace::runtime::wire::Request;

/// A packet is a request or none; a request is the packet again. Whether it was one.
pub fn wire(data: &[u8]) -> bool {
    let Some(request) = Request::decode(data) else { return false };
    assert_eq!(request.encode(), data);
    true
}
