//! One line of a head: request lines and fields, by RFC 9112 and RFC 9110.

use super::framing::Violation;

/// What the fields of a head say of the body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    /// HTTP/1.1, not 1.0.
    pub(super) modern: bool,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) hosts: u32,
}

const fn bad(reason: &'static str) -> Violation {
    Violation {
        status: 400,
        reason,
    }
}

fn is_token(bytes: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(token)
}

/// `GET /path HTTP/1.1`: whether it is HTTP/1.1.
pub(super) fn request_line(line: &[u8]) -> Result<bool, Violation> {
    const WRONG: Violation = bad("the request line is not METHOD TARGET HTTP/1.1");
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(WRONG);
    };
    if !is_token(method) {
        return Err(bad("the method is not a word"));
    }
    let visible = |byte: &u8| byte.is_ascii_graphic() && *byte != b'#';
    if target.is_empty() || !target.iter().all(visible) {
        return Err(bad("the target holds something that does not belong there"));
    }
    match version {
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
        other if other.starts_with(b"HTTP/") && other.len() == 8 => Err(Violation {
            status: 505,
            reason: "this version of HTTP is not spoken here",
        }),
        _ => Err(WRONG),
    }
}

/// A field's name and value, without the space around it.
pub(super) fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    if line
        .first()
        .is_some_and(|byte| matches!(byte, b' ' | b'\t'))
    {
        return Err(bad("a field goes on in the next line (obs-fold)"));
    }
    let colon = line.iter().position(|byte| *byte == b':');
    let colon = colon.ok_or(bad("a line of the head is not a field"))?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) {
        return Err(bad(
            "the name of a field is not a word, or has a space behind it",
        ));
    }
    let carried = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f;
    if !value.iter().all(carried) {
        return Err(bad("the value of a field holds a control character"));
    }
    Ok((name, value.trim_ascii()))
}

/// Takes note of a field.
pub(super) fn note(head: &mut Head, line: &[u8]) -> Result<(), Violation> {
    let (name, value) = split(line)?;
    if name.eq_ignore_ascii_case(b"content-length") {
        if head.length.is_some() {
            return Err(bad("there are two fields content-length"));
        }
        let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
        let number = digits.then(|| std::str::from_utf8(value).ok()?.parse().ok());
        head.length = Some(
            number
                .flatten()
                .ok_or(bad("content-length is not a number"))?,
        );
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        if head.chunked {
            return Err(bad("there are two transfer codings"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Violation {
                status: 501,
                reason: "the only transfer coding known here is chunked",
            });
        }
        head.chunked = true;
    } else if name.eq_ignore_ascii_case(b"host") {
        head.hosts += 1;
        if head.hosts > 1 {
            return Err(bad("there are two fields host"));
        }
        // An empty one is allowed, for targets without an authority.
        let plain =
            |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte);
        if !value.iter().all(plain) {
            return Err(bad("the host is not one"));
        }
    }
    Ok(())
}

/// A field behind a chunked body.
pub(super) fn trailer(line: &[u8]) -> Result<(), Violation> {
    let (name, _) = split(line)?;
    let framing: [&[u8]; 4] = [b"content-length", b"transfer-encoding", b"host", b"trailer"];
    match framing.iter().any(|one| name.eq_ignore_ascii_case(one)) {
        true => Err(bad(
            "a field that belongs to the head stands behind the body",
        )),
        false => Ok(()),
    }
}

/// What follows from the whole head.
pub(super) fn whole(head: &Head) -> Result<(), Violation> {
    if head.chunked && head.length.is_some() {
        return Err(bad(
            "content-length and transfer-encoding stand in one request",
        ));
    }
    if head.chunked && !head.modern {
        return Err(bad("HTTP/1.0 has no transfer codings"));
    }
    if head.modern && head.hosts == 0 {
        return Err(bad("there is no field host"));
    }
    Ok(())
}

/// The size in the line before a chunk; what stands behind it is passed over.
pub(super) fn chunk_size(line: &[u8]) -> Result<u64, Violation> {
    const WRONG: Violation = bad("the size of a chunk is not a number");
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit());
    let (digits, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_ascii_start();
    let extension = rest.is_empty() || rest[0] == b';';
    let plain = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f;
    if digits.is_empty() || digits.len() > 15 || !extension || !line.iter().all(plain) {
        return Err(WRONG);
    }
    let text = std::str::from_utf8(digits).map_err(|_| WRONG)?;
    u64::from_str_radix(text, 16).map_err(|_| WRONG)
}
