//! Credentials, certificates, proxies, compression and timeouts, through the real binary and a front with TLS.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::harness::front::{Authority, ForwardProxy, Front};
use crate::harness::node;
use crate::harness::{Ran, Space, photo, run};

/// Base64 of `id:key`, `ada:pässword` and `proxy:secret`.
const API_KEY: &str = "aWQ6a2V5";
const LET_IN: &[&str] = &["ApiKey aWQ6a2V5", "Basic YWRhOnDDpHNzd29yZA==", "Bearer dG9rZW4"];
const PROXY: &str = "Basic cHJveHk6c2VjcmV0";

struct Secured {
    space: Space,
    authority: Authority,
    front: Front,
}

impl Secured {
    fn new() -> Self {
        let authority = Authority::new();
        let names = ["localhost", "abc.cloud.test"];
        Self {
            front: Front::start(node::shared(), &authority, &names, LET_IN),
            space: Space::new(),
            authority,
        }
    }

    fn ca_file(&self) -> String {
        self.space.put("ca.pem", self.authority.pem.as_bytes())
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.front.port)
    }

    /// `facedex collection list` with these flags.
    fn list(&self, flags: &[&str]) -> Ran {
        let all: Vec<&str> = ["collection", "list", "--json"].iter().chain(flags).copied().collect();
        let mut command = self.space.command(&all);
        command.env_remove("ELASTICSEARCH_URL");
        run(command)
    }
}

/// Words of the command line.
fn words(text: &str) -> Vec<&str> {
    text.split(' ').filter(|word| !word.is_empty()).collect()
}

#[test]
fn every_kind_of_credentials_gets_in_and_wrong_ones_do_not() {
    let secured = Secured::new();
    let (url, ca) = (secured.url(), secured.ca_file());
    let in_url = url.replace("https://", "https://ada:p%C3%A4ssword@");
    let reach = |url: &str, login: &str| {
        let flags = format!("--elasticsearch-url {url} --elasticsearch-ca-file {ca} {login}");
        secured.list(&words(&flags))
    };
    for (url, login, header) in [
        (&url, format!("--elasticsearch-api-key {API_KEY}"), LET_IN[0]),
        (
            &url,
            "--elasticsearch-username ada --elasticsearch-password pässword".to_owned(),
            LET_IN[1],
        ),
        (&in_url, String::new(), LET_IN[1]),
        (&url, "--elasticsearch-bearer-token dG9rZW4".to_owned(), LET_IN[2]),
        // Those that are given go before those of the address.
        (&in_url, format!("--elasticsearch-api-key {API_KEY}"), LET_IN[0]),
    ] {
        reach(url, &login).expect(0);
        let head = secured.front.heads().pop().unwrap();
        let sent: Vec<&str> = head
            .lines()
            .filter(|line| line.to_lowercase().starts_with("authorization"))
            .collect();
        assert_eq!(sent.len(), 1, "{head}");
        assert!(sent[0].ends_with(header), "{login}: {head}");
    }
    for (login, secret) in [
        ("", "-"),
        ("--elasticsearch-api-key d3Jvbmc6d3Jvbmc=", "d3Jvbmc"),
        (
            "--elasticsearch-username ada --elasticsearch-password wrong-one",
            "wrong-one",
        ),
        ("--elasticsearch-bearer-token wrong-token", "wrong-token"),
    ] {
        let refused = reach(&url, login).expect(2);
        assert!(
            refused.stderr.contains("refused the credentials"),
            "{login}: {refused:?}"
        );
        assert!(secret == "-" || !refused.stderr.contains(secret), "{refused:?}");
    }
    let both = format!("--elasticsearch-api-key {API_KEY} --elasticsearch-bearer-token dG9rZW4");
    let refused = reach(&url, &both).expect(2);
    assert!(refused.stderr.contains("one kind of credentials"), "{refused:?}");
}

#[test]
fn only_nodes_of_the_given_authority_are_believed_and_only_under_their_name() {
    let secured = Secured::new();
    let (url, ca) = (secured.url(), secured.ca_file());
    let other = Authority::new();
    let other_ca = secured.space.put("other.pem", other.pem.as_bytes());
    let by_address = url.replace("localhost", "127.0.0.1");
    let with_colons: Vec<&str> = secured
        .authority
        .fingerprint
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap())
        .collect();
    let with_colons = with_colons.join(":").to_uppercase();
    let plain = &secured.authority.fingerprint;
    let reach = |url: &str, trust: &str| {
        let flags = format!("--elasticsearch-url {url} --elasticsearch-api-key {API_KEY} {trust}");
        secured.list(&words(&flags))
    };
    reach(&url, &format!("--elasticsearch-ca-file {ca}")).expect(0);
    reach(&url, &format!("--elasticsearch-ca-fingerprint {plain}")).expect(0);
    reach(&url, &format!("--elasticsearch-ca-fingerprint {with_colons}")).expect(0);
    let asked = secured.front.heads().len();
    for (url, trust, reason) in [
        (&url, String::new(), "invalid peer certificate"),
        (
            &url,
            format!("--elasticsearch-ca-file {other_ca}"),
            "invalid peer certificate",
        ),
        (
            &url,
            format!("--elasticsearch-ca-fingerprint {}", other.fingerprint),
            "has the fingerprint",
        ),
        (
            &by_address,
            format!("--elasticsearch-ca-file {ca}"),
            "not valid for name",
        ),
        (
            &by_address,
            format!("--elasticsearch-ca-fingerprint {plain}"),
            "not valid for name",
        ),
        (
            &url,
            "--elasticsearch-ca-fingerprint 00ff".to_owned(),
            "64 hexadecimal digits",
        ),
        (
            &url,
            format!("--elasticsearch-ca-file {ca} --elasticsearch-ca-fingerprint {plain}"),
            "not both",
        ),
        (
            &url,
            "--elasticsearch-ca-file /nowhere.pem".to_owned(),
            "CA file /nowhere.pem",
        ),
    ] {
        let refused = reach(url, &trust).expect(2);
        assert!(refused.stderr.contains(reason), "{trust}: {refused:?}");
    }
    assert_eq!(
        secured.front.heads().len(),
        asked,
        "nothing is sent to whom nobody vouches for"
    );
}

#[test]
fn a_cloud_id_is_reached_through_a_proxy_that_asks_for_a_password() {
    let secured = Secured::new();
    let proxy = ForwardProxy::start(&format!("127.0.0.1:{}", secured.front.port), PROXY);
    let cloud = BASE64_STANDARD.encode("cloud.test:9243$abc$kibana");
    let through = |login: &str| {
        let flags = format!(
            "--elasticsearch-cloud-id mine:{cloud} --elasticsearch-ca-file {} --elasticsearch-api-key {API_KEY} \
             --elasticsearch-proxy http://{login}127.0.0.1:{}",
            secured.ca_file(),
            proxy.port
        );
        secured.list(&words(&flags))
    };
    through("proxy:secret@").expect(0);
    assert!(
        proxy.heads()[0].starts_with("CONNECT abc.cloud.test:9243 "),
        "{:?}",
        proxy.heads()
    );
    assert!(!proxy.heads()[0].contains(API_KEY));
    assert!(secured.front.heads()[0].contains("host: abc.cloud.test:9243"));
    let refused = through("proxy:wrong-one@").expect(2);
    assert!(
        refused.stderr.contains("no answer") && !refused.stderr.contains("wrong-one"),
        "{refused:?}"
    );
    // Without TLS the proxy sees the request itself.
    let plain = ForwardProxy::start(node::shared(), PROXY);
    let flags = format!(
        "--elasticsearch-url http://nodes.test --elasticsearch-proxy http://proxy:secret@127.0.0.1:{}",
        plain.port
    );
    secured.list(&words(&flags)).expect(0);
    let asks = |head: &String| head.starts_with("GET http://nodes.test/");
    assert!(plain.heads().iter().any(asks), "{:?}", plain.heads());
    for (flags, reason) in [
        (
            "--elasticsearch-cloud-id mine:x --elasticsearch-url http://127.0.0.1:9200",
            "not both",
        ),
        ("--elasticsearch-cloud-id nonsense", "no cloud id"),
        (
            "--elasticsearch-proxy 127.0.0.1:3128",
            "--elasticsearch-proxy (ELASTICSEARCH_PROXY) is no address",
        ),
    ] {
        let refused = secured.list(&words(flags)).expect(2);
        assert!(refused.stderr.contains(reason), "{flags}: {refused:?}");
    }
}

#[test]
fn bodies_are_compressed_where_that_is_asked_for() {
    let secured = Secured::new();
    let biden = photo("query/biden.jpg").to_str().unwrap().to_owned();
    let bulk = |more: &str| {
        let flags = format!(
            "ingest {biden} --overwrite --elasticsearch-url {} --elasticsearch-ca-file {} --elasticsearch-api-key {API_KEY} {more}",
            secured.url(),
            secured.ca_file()
        );
        secured.space.run(&words(&flags)).expect(0);
        let mut heads = secured.front.heads().into_iter().filter(|head| head.contains("/_bulk"));
        heads.next_back().unwrap().to_lowercase()
    };
    let packed = bulk("--elasticsearch-gzip");
    assert!(
        packed.contains("content-encoding: gzip") && packed.contains("accept-encoding: gzip"),
        "{packed}"
    );
    let length = |head: &str| -> usize {
        let line = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        line.unwrap().parse().unwrap()
    };
    let plain = bulk("");
    assert!(!plain.contains("gzip"), "{plain}");
    assert!(length(&packed) < length(&plain), "{packed}{plain}");
    assert_eq!(secured.space.count(), 1);
}

#[test]
fn a_node_that_accepts_nobody_is_passed_over() {
    let space = Space::new();
    // Its queue of connections is full, so that it answers no further one, as a machine that is gone.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into())
        .unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _waiting: Vec<_> = (0..4)
        .map_while(|_| std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(300)).ok())
        .collect();
    let urls = format!("http://{address},{}", node::shared());
    // Without a limit of its own the connection would be waited for as long as for an answer.
    let flags = [
        "--elasticsearch-timeout",
        "1h",
        "--elasticsearch-connect-timeout",
        "300ms",
    ];
    let mut all = vec!["collection", "list", "--json", "--elasticsearch-url", &urls];
    all.extend(flags);
    space.run(&all).expect(0);
    let alone = format!("http://{address}");
    all[4] = &alone;
    let refused = space.run(&all).expect(2);
    assert!(refused.stderr.contains("no answer from elasticsearch"), "{refused:?}");
}
