//! URLs: how they are shown, and whether they lead out of this machine.

use url::Url;

/// The URL without its user name and password, for messages and for what is stored.
pub fn without_login(url: &Url) -> Url {
    let mut url = url.clone();
    // Both fail only where there can be no login.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// Whether the address is this machine's own, whatever the system's resolver says.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
