//! One node: its address, the HTTP clients that speak to it, and what is remembered of it when it does not answer.

use std::error::Error;
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use elasticsearch::http::Method;
use elasticsearch::http::transport::Transport;
use facedex_base::address::without_login;
use flate2::{Compression, write::GzEncoder};
use percent_encoding::percent_decode_str;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
    RETRY_AFTER,
};
use secrecy::ExposeSecret;
use url::Url;

use crate::ElasticError;
use crate::transport::client::{Foreign, Payload, Reply};
use crate::transport::connection::{Connection, Login};
use crate::transport::trace;

/// A node that did not answer is asked last for this long, twice as long with every further failure.
const FIRST_AVOIDANCE: Duration = Duration::from_secs(1);
const LONGEST_AVOIDANCE: Duration = Duration::from_secs(60);

/// A node that answered so lately is not asked first whether it is there.
const TRUSTED_FOR: Duration = Duration::from_secs(10);

/// A body smaller than this is sent as it is: a header more costs as much as compression gains.
const WORTH_COMPRESSING: usize = 1024;

/// A request of ours.
#[derive(Clone, Copy)]
pub(crate) struct Request<'r> {
    pub(crate) method: Method,
    pub(crate) path: &'r str,
    pub(crate) query: &'r [(&'r str, &'r str)],
    pub(crate) payload: Payload<'r>,
}

impl Request<'_> {
    /// Whether it only reads: it may be given up at any moment.
    pub(crate) fn is_read(&self) -> bool {
        let last = self.path.rsplit('/').next().unwrap_or_default();
        matches!(self.method, Method::Get | Method::Head) || matches!(last, "_search" | "_count" | "_mget")
    }
}

/// Why there is no answer.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// How our own requests go.
enum Way {
    /// By the official client. It has no limit for the time in which a connection is made, so that a node that was not
    /// heard of lately is asked first whether it is there.
    Official(Transport),
    /// By a client whose TLS takes an authority by its fingerprint.
    Pinned(reqwest::Client),
}

/// A node and the way to it.
pub(crate) struct Node {
    /// Without credentials; its path ends with a slash.
    base: Url,
    authorization: Option<HeaderValue>,
    compress: bool,
    way: Way,
    /// For requests of others: it has no credentials, leaves bodies as they are and does not wait for all of an answer.
    plain: reqwest::Client,
    /// To see whether the node is there.
    probe: reqwest::Client,
    health: Mutex<Health>,
}

/// What is remembered of a node that did not answer.
#[derive(Debug, Default)]
struct Health {
    /// When it answered last.
    heard: Option<Instant>,
    failures: u32,
    last_failure: Option<Instant>,
    avoid_until: Option<Instant>,
}

/// When a node is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Turn {
    /// Now, to see whether it is back; only the asking request is told so.
    Probe,
    /// In its turn.
    Ready,
    /// Only if nobody else answers.
    Last,
}

impl Node {
    pub(crate) fn new(url: &Url, connection: &Connection) -> Result<Self, ElasticError> {
        let base = without_login(url);
        Ok(Self {
            authorization: authorization(url, connection.credentials.as_ref())?,
            compress: connection.compress,
            way: match connection.official(&base)? {
                Some(transport) => Way::Official(transport),
                None => Way::Pinned(connection.http(&base, connection.compress)?),
            },
            plain: connection.http(&base, false)?,
            probe: connection.probe(&base)?,
            health: Mutex::default(),
            base,
        })
    }

    /// The address, for messages.
    pub(crate) fn shown(&self) -> &str {
        self.base.as_str()
    }

    /// Sends one of our requests and reads the whole answer.
    pub(crate) async fn send(&self, request: Request<'_>) -> Result<Reply, Failure> {
        let mut headers = trace::headers();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if !self.compress {
            // Both clients would ask for compressed answers on their own.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let body = request.payload.encode().map(|(kind, body)| {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            body
        });
        match &self.way {
            Way::Official(transport) => {
                self.look_for(&headers).await?;
                let (path, query) = (request.path, (!request.query.is_empty()).then_some(request.query));
                let response = transport.send(request.method, path, headers, query, body, None).await?;
                let asked = self.url(path);
                if (response.url().origin(), response.url().path()) != (asked.origin(), asked.path()) {
                    let there = HeaderValue::from_str(without_login(response.url()).as_str()).ok();
                    return Err(elsewhere(there.as_ref()));
                }
                let (status, headers) = (response.status_code().as_u16(), response.headers().clone());
                Ok(reply(status, &headers, response.bytes().await?))
            }
            Way::Pinned(http) => {
                let mut url = self.url(request.path);
                if !request.query.is_empty() {
                    url.query_pairs_mut().extend_pairs(request.query);
                }
                let mut sending = http.request(standard(request.method), url);
                if let Some(body) = body {
                    let packed = (self.compress && body.len() >= WORTH_COMPRESSING).then(|| gzip(&body));
                    if packed.is_some() {
                        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                    }
                    sending = sending.body(packed.unwrap_or(body));
                }
                let response = sending
                    .headers(headers)
                    .send()
                    .await
                    .map_err(reqwest::Error::without_url)?;
                let (status, headers) = (response.status().as_u16(), response.headers().clone());
                Ok(reply(status, &headers, response.bytes().await?))
            }
        }
    }

    /// Fails where the node accepts no connection in time, or sends us elsewhere: the official client would follow, and a
    /// search that is sent on as GET has no body any more and finds everybody.
    async fn look_for(&self, headers: &HeaderMap) -> Result<(), Failure> {
        if self.health().heard.is_some_and(|heard| heard.elapsed() < TRUSTED_FOR) {
            return Ok(());
        }
        let mut asking = self.probe.head(self.base.clone());
        if let Some(authorization) = headers.get(AUTHORIZATION) {
            asking = asking.header(AUTHORIZATION, authorization);
        }
        match asking.send().await {
            Err(error) if error.is_connect() => Err(error.without_url().into()),
            Ok(answer) if answer.status().is_redirection() => Err(elsewhere(answer.headers().get(LOCATION))),
            // Whatever else it says or fails to say, it is there.
            _ => Ok(()),
        }
    }

    /// Whether it answers anything at all within this time.
    pub(crate) async fn is_there(&self, within: Duration) -> bool {
        let asked = self.probe.head(self.base.clone()).timeout(within).send();
        asked.await.is_ok()
    }

    /// Passes a request of somebody else's on and comes back with the head of the answer.
    pub(crate) async fn pass_on(&self, request: &Foreign, headers: HeaderMap) -> Result<reqwest::Response, Failure> {
        let mut url = self.url(&request.path);
        url.set_query(Some(request.query.as_str()).filter(|query| !query.is_empty()));
        let sending = self.plain.request(request.method.clone(), url);
        let sent = sending.headers(headers).body(request.body.clone()).send().await;
        Ok(sent.map_err(reqwest::Error::without_url)?)
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url
    }

    /// When it is to be asked. A node that has been avoided long enough is probed by one request; the others go on
    /// avoiding it until that one has its answer.
    pub(crate) fn turn(&self, now: Instant) -> Turn {
        self.health().turn(now)
    }

    /// It answered.
    pub(crate) fn answered(&self) {
        *self.health() = Health {
            heard: Some(Instant::now()),
            ..Health::default()
        };
    }

    /// A request that was sent at this time got no answer.
    pub(crate) fn failed(&self, sent: Instant) {
        self.health().fail(sent, Instant::now());
    }
}

impl Health {
    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1);
        FIRST_AVOIDANCE
            .saturating_mul(2u32.saturating_pow(doublings))
            .min(LONGEST_AVOIDANCE)
    }

    fn turn(&mut self, now: Instant) -> Turn {
        match self.avoid_until {
            None => Turn::Ready,
            Some(until) if until > now => Turn::Last,
            Some(_) => {
                self.avoid_until = Some(now + self.pause());
                Turn::Probe
            }
        }
    }

    fn fail(&mut self, sent: Instant, now: Instant) {
        // Many requests may be under way when a node dies: together they are one failure.
        if self.last_failure.is_some_and(|last| last >= sent) {
            return;
        }
        self.heard = None;
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(now);
        self.avoid_until = Some(now + self.pause());
    }
}

fn elsewhere(there: Option<&HeaderValue>) -> Failure {
    let there = there.and_then(|there| there.to_str().ok()).unwrap_or("nowhere");
    format!("it redirects to {there}; give the address of the node itself").into()
}

fn reply(status: u16, headers: &HeaderMap, body: Bytes) -> Reply {
    let retry_after = headers.get(RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Reply {
        status,
        retry_after: retry_after.map(Duration::from_secs),
        repeated: false,
        body,
    }
}

/// The method as the standard crate names it.
fn standard(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Put => reqwest::Method::PUT,
        Method::Post => reqwest::Method::POST,
        Method::Delete => reqwest::Method::DELETE,
        Method::Head => reqwest::Method::HEAD,
    }
}

/// What tells a node who asks: the credentials that were given, else those of its own address.
fn authorization(url: &Url, login: Option<&Login>) -> Result<Option<HeaderValue>, ElasticError> {
    let (what, text) = match login {
        Some(Login::ApiKey(key)) => ("API key", format!("ApiKey {}", key.expose_secret())),
        Some(Login::Bearer(token)) => ("bearer token", format!("Bearer {}", token.expose_secret())),
        Some(Login::Basic(user, password)) => ("password", basic(user, password.expose_secret())),
        None if url.username().is_empty() && url.password().is_none() => return Ok(None),
        None => {
            let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let password = plain(url.password().unwrap_or_default());
            ("password", basic(&plain(url.username()), &password))
        }
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        ElasticError::Setup(format!(
            "the {what} has characters that no header can hold; give it as Elasticsearch shows it"
        ))
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

fn gzip(body: &[u8]) -> Bytes {
    // Vectors as text gain little from more effort.
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::fast());
    // Memory takes everything.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_node_is_avoided_longer_each_time_and_probed_by_one_request() {
        let start = Instant::now();
        let after = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut health = Health::default();
        assert_eq!(health.turn(start), Turn::Ready);
        // Two requests that were under way when it died are one failure.
        health.fail(start, after(0.1));
        health.fail(after(0.05), after(0.2));
        assert_eq!(health.turn(after(1.0)), Turn::Last);
        assert_eq!(health.turn(after(1.15)), Turn::Probe);
        assert_eq!(health.turn(after(1.16)), Turn::Last);
        health.fail(after(1.15), after(1.2));
        assert_eq!(health.turn(after(3.1)), Turn::Last);
        assert_eq!(health.turn(after(3.3)), Turn::Probe);
        for second in 4..400 {
            health.fail(after(f64::from(second)), after(f64::from(second)));
        }
        assert_eq!(health.turn(after(399.0 + 59.0)), Turn::Last);
        assert_eq!(health.turn(after(399.0 + 61.0)), Turn::Probe);
    }

    #[test]
    fn credentials_of_an_address_are_used_where_no_others_are_given() {
        let url: Url = "https://ada:p%40ss@h:9200/".parse().unwrap();
        let shown = |login: Option<&Login>| authorization(&url, login).unwrap().unwrap();
        assert_eq!(shown(None), basic("ada", "p@ss").as_str());
        assert_eq!(shown(Some(&Login::Bearer("t".into()))), "Bearer t");
        assert!(shown(None).is_sensitive());
        assert!(authorization(&url, Some(&Login::ApiKey("a\nb".into()))).is_err());
        assert_eq!(authorization(&"http://h/".parse().unwrap(), None).unwrap(), None);
    }
}
