//! Who may do what: decided before anything of the body is read.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::keys::{Fingerprint, KeySet, Scope, Standing};
use super::origin::{self, Site};
use super::rate::{Network, Subject};
use super::{Access, Caller};
use crate::server::audit::{Action, Entry};
use crate::server::error::{ApiError, Code};
use crate::server::routes;
use crate::server::state::App;
use crate::server::telemetry::RequestId;

/// The header of facedex's own keys. `Authorization` is Elasticsearch's.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: there is no secret in it, or it must answer before keys are at hand.
    Nothing,
    /// Any good key.
    AnyKey,
    /// A key of this scope.
    Scope(Scope),
}

/// What a request needs. The path is as it came, as the router takes it: one that is escaped in another way is another
/// route. What only begins as a route does needs what that route needs.
pub fn need(method: &Method, path: &str) -> Need {
    let path = path.strip_prefix('/').unwrap_or(path);
    if let Some(row) = routes::nearest(method, path) {
        return row.need;
    }
    // There is no such route, which the router says: nobody is sent for a better key in vain.
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    match path.split('/').next() {
        Some("v1") if is_read => Need::Scope(Scope::Read),
        Some("metrics") => Need::AnyKey,
        _ if is_read => Need::Nothing,
        _ => Need::AnyKey,
    }
}

/// What of a request decides.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'r> {
    /// Its method.
    pub method: &'r Method,
    /// Its target.
    pub uri: &'r Uri,
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// Where it comes from.
    pub address: IpAddr,
}

/// Why somebody is not let in, and who it is where that is known.
#[derive(Debug)]
pub struct Denied {
    /// What is answered.
    pub error: ApiError,
    /// Whose key it is.
    pub caller: Option<Box<Caller>>,
}

impl From<ApiError> for Denied {
    fn from(error: ApiError) -> Self {
        Self { error, caller: None }
    }
}

impl Access {
    /// Who asks, if he may.
    pub fn decide(&self, asked: &Asked<'_>) -> Result<Caller, Denied> {
        let need = need(asked.method, asked.uri.path());
        match self.keys.current() {
            Some(keys) => self.with_keys(&keys, asked, need),
            None => self.without_keys(asked, need),
        }
    }

    /// Without keys nothing but Host and Origin tells the user from a web page that he looks at.
    fn without_keys(&self, asked: &Asked<'_>, need: Need) -> Result<Caller, Denied> {
        let host = origin::host(asked.uri, asked.headers);
        if self.local && !host.is_some_and(origin::is_loopback) {
            let message = "without API keys only requests to localhost, 127.0.0.1 or [::1] are answered; \
                           call it by one of these names, or make a key with `facedex keys create`";
            return Err(ApiError::new(Code::ForeignOrigin, message).into());
        }
        // A link from elsewhere may lead to the page: who set it sees nothing of the answer.
        let is_link = need == Need::Nothing && origin::is_navigation(asked.method, asked.headers);
        let is_other_site = origin::site(asked.headers) == Site::Other && !is_link;
        if is_other_site || origin::has_foreign_origin(host, asked.headers) {
            return Err(foreign().into());
        }
        if need != Need::Nothing {
            self.count(&Subject::Address(asked.address.into()))?;
        }
        Ok(Caller::keyless(asked.address))
    }

    fn with_keys(&self, keys: &KeySet, asked: &Asked<'_>, need: Need) -> Result<Caller, Denied> {
        if need == Need::Nothing {
            return Ok(Caller::nobody(asked.address));
        }
        let mut given = asked.headers.get_all(API_KEY).iter();
        let presented = given.next();
        // The browser's own word on the site goes first: a proxy in between may have changed Host.
        let crosses = match origin::site(asked.headers) {
            Site::Own => false,
            _ if origin::is_one_of(asked.headers, &self.origins) => false,
            Site::Other => true,
            Site::Unsaid => origin::has_foreign_origin(origin::host(asked.uri, asked.headers), asked.headers),
        };
        // No form can set the header, but a proxy may set it for everybody behind it.
        if crosses && (presented.is_none() || origin::is_form(asked.method, asked.headers)) {
            return Err(foreign().into());
        }
        let presented = match (presented, given.next()) {
            (Some(presented), None) => presented.as_bytes(),
            (None, _) => return Err(ApiError::plain(Code::Unauthorised).into()),
            (Some(_), Some(_)) => {
                return Err(ApiError::new(Code::Unauthorised, "send one X-API-Key, not several").into());
            }
        };
        let caller = self.holder(keys, presented, asked.address)?;
        let allowed = || {
            self.count(&caller.subject())?;
            match need {
                Need::Scope(scope) => caller.may_do(scope),
                Need::Nothing | Need::AnyKey => Ok(()),
            }
        };
        match allowed() {
            Ok(()) => Ok(caller),
            Err(error) => Err(Denied {
                error,
                caller: Some(Box::new(caller)),
            }),
        }
    }

    /// Whose key this is.
    fn holder(&self, keys: &KeySet, presented: &[u8], address: IpAddr) -> Result<Caller, ApiError> {
        let (network, now) = (Network::from(address), Instant::now());
        let fingerprint = Fingerprint::of(presented);
        self.guesses
            .may_try(network, fingerprint.as_ref(), now)
            .map_err(|wait| {
                let message = "too many wrong keys came from this address; try again after the seconds in Retry-After";
                ApiError::new(Code::RateLimited, message).after(wait)
            })?;
        let found = fingerprint.and_then(|fingerprint| Some((fingerprint, keys.find(&fingerprint)?)));
        let Some((fingerprint, key)) = found else {
            self.guesses.wrong(network, now);
            tracing::warn!(%address, "a wrong API key was tried");
            return Err(ApiError::plain(Code::Unauthorised));
        };
        let over = |what: &str| {
            tracing::warn!(%address, key = key.name, "an API key that is {what} was used");
            let message = format!("this key is {what}; `facedex keys create` makes a new one");
            Err(ApiError::new(Code::Unauthorised, message))
        };
        match key.standing(Timestamp::now()) {
            Standing::Active => {}
            Standing::Expired => return over("expired"),
            Standing::Revoked => return over("revoked"),
        }
        self.guesses.good(network, fingerprint);
        Ok(Caller {
            name: key.name.clone(),
            scope: key.scope,
            collections: key.collections.clone(),
            address,
            has_key: true,
            entry: Entry::default(),
        })
    }

    fn count(&self, subject: &Subject) -> Result<(), ApiError> {
        let Some(requests) = &self.requests else { return Ok(()) };
        requests
            .take(subject)
            .map_err(|wait| ApiError::plain(Code::RateLimited).after(wait))
    }
}

fn foreign() -> ApiError {
    let message = "a page of another origin sent this; facedex answers its own page, and programs";
    ApiError::new(Code::ForeignOrigin, message)
}

/// Finds out who asks, lets him in or not, and has it written down.
pub async fn guard(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let asked = Asked {
        method: request.method(),
        uri: request.uri(),
        headers: request.headers(),
        address: peer.ip().to_canonical(),
    };
    let action = Action::of(asked.method, asked.uri.path());
    let id = request
        .extensions()
        .get::<RequestId>()
        .map(|id| id.0.clone())
        .unwrap_or_default();
    let mut caller = match app.access.decide(&asked) {
        Ok(caller) => caller,
        Err(denied) => {
            // Without a known key there is nobody to write down; the log has the address.
            if let Some(caller) = denied.caller {
                let entry = Entry::new(&app.audit, action, &caller, &id, asked.uri);
                entry.ends(denied.error.code.row().status);
            }
            return denied.error.into_response();
        }
    };
    let entry = Entry::new(&app.audit, action, &caller, &id, asked.uri);
    let changes = action.is_some_and(Action::changes);
    if changes && let Err(error) = entry.started().await {
        entry.ends(Code::NotAudited.row().status);
        return not_audited(&error.to_string(), Some(false)).into_response();
    }
    caller.entry = entry.clone();
    request.extensions_mut().insert(caller);
    let response = next.run(request).await;
    entry.ends(response.status());
    // A change that nobody waits for any more goes on, and its line is written when it ends.
    let goes_on = response.status() == StatusCode::GATEWAY_TIMEOUT;
    if changes
        && !goes_on
        && let Err(error) = entry.written().await
    {
        let done = response.status().is_success().then_some(true);
        return not_audited(&error.to_string(), done).into_response();
    }
    response
}

/// A change that could not be written down; `done` is `None` where nobody knows how much of it was done.
fn not_audited(reason: &str, done: Option<bool>) -> ApiError {
    tracing::error!(reason, ?done, "a change could not be written into the audit log");
    let message = match done {
        Some(false) => "nothing was changed: the audit log cannot be written",
        Some(true) => "this was done, but the audit log does not have its end: the log cannot be written",
        None => "this failed, and how much of it was done is not known: the audit log cannot be written",
    };
    let error = ApiError::new(Code::NotAudited, message).after(AUDIT_PAUSE);
    error.with("done", done)
}

/// A client that could not be written down is asked to come back after this.
const AUDIT_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
