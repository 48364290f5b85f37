//! Cookies (RFC 7873, made as RFC 9018 has it): who shows the one it was given is at the address that it says.

use std::net::IpAddr;

use siphasher::sip::SipHasher24;

/// Seconds for which a cookie is good, and how far its clock may be ahead (RFC 9018 section 4.3).
const GOOD_FOR: u32 = 3600;
const AHEAD: u32 = 300;

/// Version 1 and three bytes that say nothing.
const FORM: [u8; 4] = [1, 0, 0, 0];

/// What a client showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Its own part alone.
    New,
    /// Ours, for its address, and not too old.
    Good,
    /// Another server's, another address's, or too old.
    Bad,
}

/// Makes and knows cookies. The secret is drawn at each start and is nobody else's.
#[derive(Debug)]
pub(crate) struct Cookies {
    hasher: SipHasher24,
}

impl Cookies {
    pub(crate) fn new() -> Self {
        Self::with(&portolan_environment::random_bytes())
    }

    fn with(secret: &[u8; 16]) -> Self {
        Self {
            hasher: SipHasher24::new_with_key(secret),
        }
    }

    /// What `option` of a client at `ip` is worth at `now`, in seconds of the Unix clock, and the cookie that goes back.
    pub(crate) fn judge(&self, option: &[u8], ip: IpAddr, now: u32) -> (Shown, [u8; 24]) {
        let mut reply = [0; 24];
        let client = option.first_chunk::<8>().copied().unwrap_or_default();
        reply[..8].copy_from_slice(&client);
        reply[8..].copy_from_slice(&self.make(client, ip, now));
        let shown = match option.get(8..).unwrap_or_default() {
            [] => Shown::New,
            server => {
                let time = server.get(4..).and_then(<[u8]>::first_chunk::<4>);
                let time = u32::from_be_bytes(time.copied().unwrap_or_default());
                // By RFC 1982, as the clock goes round.
                let age = now.wrapping_sub(time);
                let timely = age <= GOOD_FOR || age.wrapping_neg() <= AHEAD;
                match timely && same(server, &self.make(client, ip, time)) {
                    true => Shown::Good,
                    false => Shown::Bad,
                }
            }
        };
        (shown, reply)
    }

    fn make(&self, client: [u8; 8], ip: IpAddr, time: u32) -> [u8; 16] {
        let mut cookie = [0; 16];
        cookie[..4].copy_from_slice(&FORM);
        cookie[4..8].copy_from_slice(&time.to_be_bytes());
        let mut hashed = [0; 32];
        hashed[..8].copy_from_slice(&client);
        hashed[8..16].copy_from_slice(&cookie[..8]);
        let end = match ip.to_canonical() {
            IpAddr::V4(v4) => {
                hashed[16..20].copy_from_slice(&v4.octets());
                20
            }
            IpAddr::V6(v6) => {
                hashed[16..].copy_from_slice(&v6.octets());
                32
            }
        };
        let hash = self.hasher.hash(&hashed[..end]);
        cookie[8..].copy_from_slice(&hash.to_le_bytes());
        cookie
    }
}

/// Compares in a time that does not tell how much is right.
fn same(shown: &[u8], made: &[u8; 16]) -> bool {
    let difference = shown.iter().zip(made).fold(0, |sum, (a, b)| sum | (a ^ b));
    shown.len() == made.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    /// The examples of RFC 9018, appendix A.
    #[test]
    fn the_published_examples() {
        for (secret, client, ip, time, server) in [
            (
                "e5e973e5a6b2a43f48e7dc849e37bfcf",
                "2464c4abcf10c957",
                "198.51.100.100",
                1_559_731_985,
                "010000005cf79f111f8130c3eee29480",
            ),
            (
                "445536bcd2513298075a5d379663c962",
                "22681ab97d52c298",
                "2001:db8:220:1:59de:d0f4:8769:82b8",
                1_559_741_961,
                "010000005cf7c609a6bb79d16625507a",
            ),
        ] {
            let secret = bytes(secret).try_into().expect("16 bytes");
            let cookies = Cookies::with(&secret);
            let ip: IpAddr = ip.parse().expect("an address");
            let (shown, reply) = cookies.judge(&bytes(client), ip, time);
            assert_eq!(shown, Shown::New);
            assert_eq!(reply[8..], bytes(server));
            for (now, expected) in [
                (time, Shown::Good),
                (time + GOOD_FOR, Shown::Good),
                (time + GOOD_FOR + 1, Shown::Bad),
                (time - AHEAD, Shown::Good),
                (time - AHEAD - 1, Shown::Bad),
            ] {
                assert_eq!(cookies.judge(&reply, ip, now).0, expected, "{now}");
            }
            let elsewhere = "198.51.100.101".parse().expect("an address");
            assert_eq!(cookies.judge(&reply, elsewhere, time).0, Shown::Bad);
            let mut longer = reply.to_vec();
            longer.push(0);
            assert_eq!(cookies.judge(&longer, ip, time).0, Shown::Bad);
        }
    }
}
