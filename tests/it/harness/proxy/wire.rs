//! HTTP as the proxy reads and writes it.

use super::*;

pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn kind(&self) -> Kind {
        let path = self.path.split('?').next().unwrap_or("");
        match path.rsplit('/').next() {
            _ if path.starts_with("/facedex-tombstones/") => Kind::Tombstones,
            Some("_bulk") => Kind::Bulk,
            Some("_mget") => Kind::Mget,
            Some("_refresh") => Kind::Refresh,
            Some("_search") => Kind::Search,
            _ if path.starts_with("/_nodes") => Kind::Nodes,
            _ if path.starts_with("/_security/user/_has_privileges") => Kind::Privileges,
            _ => Kind::Other,
        }
    }
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<u64>,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn head(&self, length: usize) -> String {
        let retry_after = self
            .retry_after
            .map(|seconds| format!("retry-after: {seconds}\r\n"))
            .unwrap_or_default();
        format!(
            "HTTP/1.1 {} X\r\ncontent-type: {}\r\n{retry_after}content-length: {length}\r\n\r\n",
            self.status, self.content_type
        )
    }
}

/// A bulk body's operations: the action, the id, and the lines.
pub(super) fn operations(body: &[u8]) -> Vec<(String, String, Vec<u8>)> {
    let mut lines = body.split_inclusive(|&byte| byte == b'\n');
    let mut all = Vec::new();
    while let Some(line) = lines.next() {
        let action: BTreeMap<String, Value> = serde_json::from_slice(line).unwrap();
        let (name, fields) = action.into_iter().next().unwrap();
        let mut bytes = line.to_vec();
        if name != "delete" {
            bytes.extend(lines.next().unwrap());
        }
        all.push((name, fields["_id"].as_str().unwrap().to_owned(), bytes));
    }
    all
}

/// A reset, not a polite end: what is unread or unsent is thrown away.
pub(super) fn reset(client: &TcpStream) {
    socket2::SockRef::from(client).set_linger(Some(Duration::ZERO)).unwrap();
}

/// The next request without its body, and the body's length; `None` when the client has closed the connection.
pub(super) fn read_head(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<(Request, usize)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let mut request = Request {
        method: words.next().unwrap().to_owned(),
        path: words.next().unwrap().to_owned(),
        content_type: "application/json".to_owned(),
        body: Vec::new(),
    };
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "content-type" => request.content_type = value.trim().to_owned(),
            "transfer-encoding" => panic!("facedex says how long its requests are"),
            _ => {}
        }
    }
    Ok(Some((request, length)))
}
