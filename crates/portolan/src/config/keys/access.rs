//! Who may do what.

use super::super::key::{Area, one, switch};

pub(super) static AREA: Area = Area {
    heading: "Access control",
    keys: &[
        switch!(
            "access-control",
            "Ask everybody on every port for a token, and do only what its policies allow; on every server and agent, or on none",
            access.on
        ),
        switch!(
            "access-default-allow",
            "Allow what no rule speaks of; it is denied otherwise",
            access.default_allow
        ),
        one!(
            "access-initial-management",
            "UUID",
            "Secret of the first management token; without one, whoever calls /v1/acl/bootstrap first makes it. Give it in the file or as a variable",
            access.initial_management
        ),
        one!(
            "access-default-token",
            "UUID",
            "Secret of the token that whoever shows none has; the anonymous one by default. Give it in the file or as a variable",
            access.default_token
        ),
    ],
    bounds: &[],
};
