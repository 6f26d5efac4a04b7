//! The Kubernetes API as JSON, for the simulated components and the scenarios.

use hyper::http::{Method, Request};
use kube::config::{AuthInfo, Config};
use kube::{Client, Error};
use serde_json::{Value, json};

/// A client of one user.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
}

impl Api {
    pub(crate) fn new(url: &str, authority_pem: &str, token: &str) -> Self {
        let mut config = Config::new(url.parse().unwrap());
        let body: String = authority_pem
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        use base64::Engine as _;
        let der = base64::engine::general_purpose::STANDARD
            .decode(body)
            .unwrap();
        config.root_cert = Some(vec![der]);
        config.auth_info = AuthInfo {
            token: Some(token.to_owned().into()),
            ..AuthInfo::default()
        };
        Self {
            client: Client::try_from(config).unwrap(),
        }
    }

    /// Returns an object, or `None`.
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        match self.call(Method::GET, path, "", None).await {
            Ok(object) => Some(object),
            Err(error) if code(&error) == 404 => None,
            Err(error) => panic!("GET {path}: {error}"),
        }
    }

    /// The objects of a collection.
    pub(crate) async fn list(&self, path: &str) -> Vec<Value> {
        let list = self.call(Method::GET, path, "", None).await;
        let mut list = list.unwrap_or_else(|error| panic!("GET {path}: {error}"));
        let items: Result<Vec<Value>, _> = serde_json::from_value(list["items"].take());
        items.unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) -> Value {
        let made = self.try_create(path, object).await;
        made.unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    pub(crate) async fn try_create(&self, path: &str, object: &Value) -> Result<Value, Error> {
        self.call(Method::POST, path, "application/json", Some(object))
            .await
    }

    /// Merges `change` into an object.
    pub(crate) async fn merge(&self, path: &str, change: &Value) -> Value {
        let merged = self.try_merge(path, change).await;
        merged.unwrap_or_else(|error| panic!("PATCH {path}: {error}"))
    }

    /// Merges `change` into an object, with lists merged by key.
    pub(crate) async fn strategic(&self, path: &str, change: &Value) -> Value {
        let kind = "application/strategic-merge-patch+json";
        let merged = self.call(Method::PATCH, path, kind, Some(change)).await;
        merged.unwrap_or_else(|error| panic!("PATCH {path}: {error}"))
    }

    pub(crate) async fn try_merge(&self, path: &str, change: &Value) -> Result<Value, Error> {
        let kind = "application/merge-patch+json";
        self.call(Method::PATCH, path, kind, Some(change)).await
    }

    /// Deletes an object and its dependents; a missing object is not an error.
    pub(crate) async fn delete(&self, path: &str) {
        let options = json!({"propagationPolicy": "Background"});
        self.delete_with(path, &options).await;
    }

    /// Removes only this pod, as its node does when it has ended.
    pub(crate) async fn finish_deletion(&self, path: &str, uid: &str) {
        let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
        self.delete_with(path, &options).await;
    }

    /// Returns a body that is not JSON, such as a log.
    pub(crate) async fn try_text(&self, path: &str) -> Result<String, Error> {
        let request = Request::get(path).body(Vec::new()).unwrap();
        self.client.request_text(request).await
    }

    async fn delete_with(&self, path: &str, options: &Value) {
        let deleted = self
            .call(Method::DELETE, path, "application/json", Some(options))
            .await;
        match deleted {
            Ok(_) => {}
            Err(error) if matches!(code(&error), 404 | 409) => {}
            Err(error) => panic!("DELETE {path}: {error}"),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        let mut request = Request::builder().method(method).uri(path);
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        let body = body.map_or_else(Vec::new, |body| serde_json::to_vec(body).unwrap());
        self.client.request(request.body(body).unwrap()).await
    }
}

/// The HTTP code of an error, or 0.
pub(crate) fn code(error: &Error) -> u16 {
    if let Error::Api(status) = error {
        status.code
    } else {
        0
    }
}
