//! The bytes of one direction of an HTTP/2 connection, as frames.

/// The length of what a client writes before its first frame.
const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;
/// The place of the type in a frame's header.
const TYPE: usize = 3;
const FLAGS: usize = 4;
/// The type of the frame that begins a request.
const HEADERS: u8 = 1;
const PING: u8 = 6;
const ACK: u8 = 1;

/// The position in the bytes.
#[derive(Debug, Clone)]
pub(super) struct Frames {
    /// How many bytes of the preface or of a frame's payload are left.
    rest: usize,
    /// The part of a frame's header that has passed.
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
}

/// What has passed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) bytes: usize,
    /// The requests that have begun.
    pub(super) requests: u64,
    /// Whether a ping was among it, which has to be answered.
    pub(super) ping: bool,
    /// Whether the answer to a ping was among it.
    pub(super) pong: bool,
}

impl Frames {
    /// From a client, which has written nothing.
    pub(super) fn of_client() -> Self {
        Self { rest: PREFACE_BYTES, ..Self::of_server() }
    }

    /// From a server, which has written nothing.
    pub(super) fn of_server() -> Self {
        Self { rest: 0, header: [0; HEADER_BYTES], header_bytes: 0 }
    }

    /// How many of the next bytes come before the next request.
    pub(super) fn before_request(&self, bytes: &[u8]) -> usize {
        self.clone().advance(bytes, true).bytes
    }

    /// Moves behind these bytes.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Passed {
        self.advance(bytes, false)
    }

    fn advance(&mut self, bytes: &[u8], until_request: bool) -> Passed {
        let mut passed = Passed::default();
        while let left @ [_, ..] = &bytes[passed.bytes..] {
            if self.rest > 0 {
                let skipped = self.rest.min(left.len());
                self.rest -= skipped;
                passed.bytes += skipped;
                continue;
            }
            let read = (HEADER_BYTES - self.header_bytes).min(left.len());
            let end = self.header_bytes + read;
            let shows_type = (self.header_bytes..end).contains(&TYPE);
            if shows_type && left[TYPE - self.header_bytes] == HEADERS {
                if until_request {
                    break;
                }
                passed.requests += 1;
            }
            self.header[self.header_bytes..end].copy_from_slice(&left[..read]);
            self.header_bytes = end;
            passed.bytes += read;
            if end == HEADER_BYTES {
                let [high, middle, low, ..] = self.header;
                self.rest = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                self.header_bytes = 0;
                let is_answer = self.header[FLAGS] & ACK != 0;
                passed.ping |= self.header[TYPE] == PING && !is_answer;
                passed.pong |= self.header[TYPE] == PING && is_answer;
            }
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [.., high, middle, low] = payload.to_be_bytes();
        [&[high, middle, low, kind, flags, 0, 0, 0, 1][..], &vec![HEADERS; payload]].concat()
    }

    const SETTINGS: u8 = 4;
    const DATA: u8 = 0;

    #[test]
    fn requests_and_pings_are_seen_however_the_bytes_are_cut() {
        let before = [vec![HEADERS; PREFACE_BYTES], frame(SETTINGS, 0, 18), frame(PING, ACK, 8)].concat();
        let request = [frame(HEADERS, 4, 300), frame(DATA, 1, 70_000)].concat();
        let all = [&*before, &*request, &frame(PING, 0, 8), &frame(SETTINGS, ACK, 0), &*request].concat();
        assert_eq!(Frames::of_client().before_request(&all), before.len());
        for size in [1, 2, 3, 4, 5, 8, 9, 10, 24, 1000, all.len()] {
            let mut frames = Frames::of_client();
            let mut sum = Passed::default();
            for piece in all.chunks(size) {
                let passed = frames.pass(piece);
                sum.bytes += passed.bytes;
                sum.requests += passed.requests;
                sum.ping |= passed.ping;
                sum.pong |= passed.pong;
            }
            let expected = Passed { bytes: all.len(), requests: 2, ping: true, pong: true };
            assert_eq!(sum, expected, "pieces of {size}");
            assert_eq!(frames.before_request(&request), 0, "pieces of {size}");
        }
        assert!(!Frames::of_client().pass(&before).ping, "an answer to a ping is no ping");
        let answers = Frames::of_server().pass(&frame(PING, ACK, 8));
        assert!(answers.pong && !answers.ping, "{answers:?}");
    }

    #[test]
    fn a_request_whose_type_has_not_passed_has_not_begun() {
        let mut frames = Frames::of_client();
        frames.pass(&[0; PREFACE_BYTES]);
        let request = frame(HEADERS, 4, 10);
        assert_eq!(frames.pass(&request[..TYPE]).requests, 0);
        assert_eq!(frames.before_request(&request[TYPE..]), 0);
        assert_eq!(frames.pass(&request[TYPE..]).requests, 1);
        assert_eq!(frames.before_request(&frame(DATA, 0, 5)), 5 + HEADER_BYTES);
    }
}
