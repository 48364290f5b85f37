//! TLS on the protocols' ports.

use super::super::key::{Area, one};

pub(super) static AREA: Area = Area {
    heading: "TLS on ports",
    keys: &[
        one!(
            "tls-cert",
            "FILE",
            "Certificate of the ports that speak TLS, with its chain, as PEM; read again on SIGHUP like the others",
            tls.certificate
        ),
        one!(
            "tls-key",
            "FILE",
            "Key of that certificate, as PEM",
            tls.key
        ),
        one!(
            "tls-client-ca",
            "FILE",
            "Authorities whose certificates clients of those ports have to show, as PEM",
            tls.client_authorities
        ),
        one!(
            "tls-crl",
            "FILE",
            "List of revoked certificates of clients, as PEM",
            tls.revoked
        ),
    ],
    bounds: &[],
};
