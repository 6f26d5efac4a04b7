//! Connection options: endpoints, login, TLS, timeouts.

use std::fmt;
use std::time::Duration;

use super::error::invalid;
use super::tls::{Tls, TlsSetup};
use crate::StoreError;

const DEFAULT_PORT: u16 = 2379;

/// A secret that debug output redacts.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Returns the secret, for the login.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns whether the secret is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(redacted)")
    }
}

/// Connection options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `host:port`, `http://host:port` or `https://host:port` of each member.
    pub endpoints: Vec<String>,
    /// The user to log in as; none if etcd has no users.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Password>,
    /// TLS settings. An `https` endpoint implies TLS with the system's CA certificates.
    pub tls: Option<Tls>,
    /// Timeout for establishing a connection.
    pub connect_timeout: Duration,
    /// Timeout of a request.
    pub request_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            user: None,
            password: None,
            tls: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
        }
    }
}

impl Options {
    /// Returns the default options for one endpoint.
    #[must_use]
    pub fn for_endpoint(endpoint: impl Into<String>) -> Self {
        Self {
            endpoints: vec![endpoint.into()],
            ..Self::default()
        }
    }

    pub(super) fn endpoints(&self) -> Result<Vec<String>, StoreError> {
        if self.endpoints.is_empty() {
            return Err(invalid("no etcd endpoint is given"));
        }
        let endpoints = self.endpoints.iter();
        endpoints
            .map(|endpoint| normalize(endpoint, self.tls.is_some()))
            .collect()
    }

    pub(super) fn login(&self) -> Result<Option<Login>, StoreError> {
        match self.user.as_deref().filter(|user| !user.is_empty()) {
            Some(user) => Ok(Some(Login {
                user: user.to_owned(),
                password: self.password.clone().unwrap_or_else(|| Password::new("")),
            })),
            None if self.password.is_some() => {
                Err(invalid("a password for etcd is given, but no user"))
            }
            None => Ok(None),
        }
    }

    /// Returns the TLS settings, including those implied by an `https` endpoint.
    pub(super) fn tls(&self) -> Result<Option<TlsSetup>, StoreError> {
        let https = |endpoint: &String| endpoint.trim().starts_with("https://");
        match &self.tls {
            Some(tls) => TlsSetup::read(tls).map(Some),
            None if self.endpoints.iter().any(https) => TlsSetup::read(&Tls::default()).map(Some),
            None => Ok(None),
        }
    }
}

/// Adds the scheme and the port if missing.
fn normalize(endpoint: &str, tls: bool) -> Result<String, StoreError> {
    let endpoint = endpoint.trim().trim_end_matches('/');
    let (scheme, authority) = match endpoint.split_once("://") {
        Some((scheme, authority)) => (scheme, authority),
        None => (if tls { "https" } else { "http" }, endpoint),
    };
    if authority.contains('@') {
        // The message omits the endpoint, because the part before the @ is a secret.
        return Err(invalid(
            "an etcd endpoint must not contain a user or password: use the settings for user and password",
        ));
    }
    match scheme {
        "http" if tls => {
            return Err(invalid(format!(
                "TLS settings are given, but the endpoint {endpoint} is plain http"
            )));
        }
        "http" | "https" => {}
        _ => {
            return Err(invalid(format!(
                "the endpoint {endpoint} is neither http nor https"
            )));
        }
    }
    if authority.is_empty() || authority.contains(['/', ' ', '?', '#']) {
        return Err(invalid(format!("\"{endpoint}\" is not host:port")));
    }
    let after_brackets = authority.rsplit(']').next().unwrap_or(authority);
    if after_brackets.contains(':') {
        Ok(format!("{scheme}://{authority}"))
    } else {
        Ok(format!("{scheme}://{authority}:{DEFAULT_PORT}"))
    }
}

/// Credentials for the login.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Password,
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn endpoint_gets_a_missing_scheme_and_port() {
        for (given, tls, expected) in [
            ("10.0.0.1:2379", false, "http://10.0.0.1:2379"),
            ("10.0.0.1:2379", true, "https://10.0.0.1:2379"),
            (" http://etcd:1234/ ", false, "http://etcd:1234"),
            ("https://etcd", false, "https://etcd:2379"),
            ("[::1]", false, "http://[::1]:2379"),
            ("[::1]:99", true, "https://[::1]:99"),
        ] {
            assert_eq!(normalize(given, tls).unwrap(), expected);
        }
    }

    #[test]
    fn an_invalid_endpoint_is_refused() {
        for (given, tls) in [
            ("http://etcd:2379", true),
            ("ftp://etcd", false),
            ("", false),
            ("etcd:2379/v3", false),
        ] {
            normalize(given, tls).unwrap_err();
        }
        assert!(Options::default().endpoints().is_err());
    }

    #[test]
    fn a_password_shows_in_no_debug_output_and_no_error() {
        let options = Options {
            user: Some("milvus".to_owned()),
            password: Some(Password::new("hunter2")),
            ..Options::for_endpoint("http://milvus:hunter2@etcd:2379")
        };
        let password_only = Options {
            password: options.password.clone(),
            ..Options::for_endpoint("etcd")
        };
        assert!(!format!("{:?}", options.password).contains("hunter2"));
        assert!(!options.endpoints().unwrap_err().message.contains("hunter2"));
        let error = password_only.login().err().unwrap();
        assert!(!error.message.contains("hunter2"));
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let tls = Tls {
            cert: Some(PathBuf::from("client.pem")),
            ..Tls::default()
        };
        assert!(TlsSetup::read(&tls).unwrap_err().message.contains("key"));
        let tls = Tls {
            ca_cert: Some(PathBuf::from("no/such/ca.pem")),
            ..Tls::default()
        };
        let error = TlsSetup::read(&tls).unwrap_err();
        assert!(error.message.contains("no/such/ca.pem"));
    }
}
