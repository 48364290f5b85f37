//! How a call ended, when not well.

use std::borrow::Cow;

/// gRPC's status codes but for OK, which is no failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The caller gave up.
    Cancelled = 1,
    /// Nobody knows.
    Unknown = 2,
    /// What was asked makes no sense, whatever the state.
    InvalidArgument = 3,
    /// The time that the client gave has passed.
    DeadlineExceeded = 4,
    /// It is not there.
    NotFound = 5,
    /// It is there already.
    AlreadyExists = 6,
    /// The caller may not.
    PermissionDenied = 7,
    /// No room.
    ResourceExhausted = 8,
    /// Not in this state.
    FailedPrecondition = 9,
    /// Another call was in the way; it may be repeated.
    Aborted = 10,
    /// A position outside of what there is.
    OutOfRange = 11,
    /// Not served.
    Unimplemented = 12,
    /// An internal error.
    Internal = 13,
    /// Nobody can decide now; whether it happened is unknown.
    Unavailable = 14,
    /// The data is not to be trusted.
    DataLoss = 15,
    /// The caller has to say who it is.
    Unauthenticated = 16,
}

impl Code {
    /// The name that Go's library prints.
    pub fn go_name(self) -> &'static str {
        match self {
            Code::Cancelled => "Canceled",
            Code::Unknown => "Unknown",
            Code::InvalidArgument => "InvalidArgument",
            Code::DeadlineExceeded => "DeadlineExceeded",
            Code::NotFound => "NotFound",
            Code::AlreadyExists => "AlreadyExists",
            Code::PermissionDenied => "PermissionDenied",
            Code::ResourceExhausted => "ResourceExhausted",
            Code::FailedPrecondition => "FailedPrecondition",
            Code::Aborted => "Aborted",
            Code::OutOfRange => "OutOfRange",
            Code::Unimplemented => "Unimplemented",
            Code::Internal => "Internal",
            Code::Unavailable => "Unavailable",
            Code::DataLoss => "DataLoss",
            Code::Unauthenticated => "Unauthenticated",
        }
    }
}

/// Why a call was not answered with a reply: a code and a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// The text.
    pub text: Cow<'static, str>,
}

impl Status {
    /// A fixed text.
    pub const fn new(code: Code, text: &'static str) -> Status {
        Status {
            code,
            text: Cow::Borrowed(text),
        }
    }

    /// A text made for the occasion.
    pub fn saying(code: Code, text: String) -> Status {
        Status {
            code,
            text: Cow::Owned(text),
        }
    }
}
