//! What real clusters have before them and the embedded node lacks: TLS, credentials, a proxy. Each lets through to a
//! real node what may pass, and answers nothing by itself but a refusal.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest, Sha256};

/// An authority of a test's own.
pub struct Authority {
    /// Its certificate.
    pub pem: String,
    /// The SHA-256 of it, in hexadecimal.
    pub fingerprint: String,
    der: rustls::pki_types::CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "facedex test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            fingerprint: Sha256::digest(certificate.der())
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// TLS with a certificate for these names, shown together with the authority's own.
    fn tls(&self, names: &[&str]) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let names = names.iter().map(|&name| name.to_owned());
        let params = CertificateParams::new(names.collect::<Vec<_>>()).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![certificate.der().clone(), self.der.clone()];
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth();
        builder.with_single_cert(chain, key).unwrap()
    }
}

/// TLS and credentials before a node.
pub struct Front {
    pub port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Front {
    /// Lets in who has one of these `Authorization` headers.
    pub fn start(node: &str, authority: &Authority, names: &[&str], let_in: &'static [&'static str]) -> Self {
        let tls = Arc::new(authority.tls(names));
        let node = address(node);
        let (port, heads) = serve(move |client, heads| {
            let connection = ServerConnection::new(Arc::clone(&tls)).unwrap();
            let mut client = StreamOwned::new(connection, client);
            // A client that does not believe us hangs up.
            let Some(request) = Request::read(&mut client) else {
                return;
            };
            heads.lock().unwrap().push(request.head.clone());
            let given = request.header("authorization").unwrap_or_default();
            let answer = match let_in.contains(&given) {
                true => request.ask(&node, request.target()),
                false => refusal(401, "security_exception", "missing or wrong credentials"),
            };
            let _ = client.write_all(&answer);
            client.conn.send_close_notify();
            let _ = client.flush();
        });
        Self { port, heads }
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// A forward proxy that knows one place, whatever place is asked for.
pub struct ForwardProxy {
    pub port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl ForwardProxy {
    /// Leads to `place` (HOST:PORT) who has this `Proxy-Authorization` header.
    pub fn start(place: &str, let_in: &'static str) -> Self {
        let place = address(place);
        let (port, heads) = serve(move |mut client, heads| {
            let Some(request) = Request::read(&mut client) else {
                return;
            };
            heads.lock().unwrap().push(request.head.clone());
            if request.header("proxy-authorization") != Some(let_in) {
                let _ = client.write_all(&refusal(407, "proxy", "who are you"));
                return;
            }
            if !request.head.starts_with("CONNECT ") {
                let target = url::Url::parse(request.target()).unwrap();
                let target = &target[url::Position::BeforePath..];
                let _ = client.write_all(&request.ask(&place, target));
                return;
            }
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let server = TcpStream::connect(&place).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
            let (mut from, mut to) = (server, client);
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
        Self { port, heads }
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn address(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

type Heads = Arc<Mutex<Vec<String>>>;

/// Answers each connection on a thread of its own.
fn serve(answer: impl Fn(TcpStream, &Heads) + Send + Sync + 'static) -> (u16, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Heads::default();
    let (kept, answer) = (Arc::clone(&heads), Arc::new(answer));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
            std::thread::spawn(move || answer(client.unwrap(), &kept));
        }
    });
    (port, heads)
}

/// One request; the connection ends with its answer.
struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn read(from: &mut impl Read) -> Option<Self> {
        let mut reader = BufReader::new(from);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let mut request = Self { head, body: Vec::new() };
        let length = request
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        request.body.resize(length, 0);
        reader.read_exact(&mut request.body).ok()?;
        Some(request)
    }

    fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value)
    }

    /// What the node answers to it.
    fn ask(&self, node: &str, target: &str) -> Vec<u8> {
        let method = self.head.split(' ').next().unwrap();
        let mut head = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
        for line in self.head.lines().skip(1).filter(|line| !line.is_empty()) {
            let name = line.split(':').next().unwrap().to_ascii_lowercase();
            if !matches!(name.as_str(), "connection" | "authorization" | "proxy-authorization") {
                head.push_str(line);
                head.push_str("\r\n");
            }
        }
        let mut stream = TcpStream::connect(node).unwrap();
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        stream.write_all(&self.body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        // The next request would come on a connection that is closed by then.
        let end = answer.windows(2).position(|pair| pair == b"\r\n").unwrap();
        answer.splice(end..end, *b"\r\nconnection: close");
        answer
    }
}

fn refusal(status: u16, kind: &str, reason: &str) -> Vec<u8> {
    let body = serde_json::json!({"error": {"type": kind, "reason": reason}, "status": status}).to_string();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} No\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n");
    format!("{head}connection: close\r\n\r\n{body}").into_bytes()
}
