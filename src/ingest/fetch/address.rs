//! Which addresses photos may come from. A manifest is somebody's text: it must not reach what only this machine can.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Whether an address may be connected to.
pub(super) type Rule = fn(IpAddr) -> bool;

/// An address was refused.
#[derive(Debug, thiserror::Error)]
#[error("{host} is at the private address {address}; --allow-private-addresses accepts it")]
pub(super) struct Refused {
    host: String,
    address: IpAddr,
}

/// Looks names up and gives addresses only if the rule takes all of them. The connection is made to what was checked:
/// there is no second look-up that could come out otherwise.
pub(super) struct Checked(pub Rule);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let rule = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            for address in &found {
                check_address(name.as_str(), address.ip(), rule)?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Hosts that are addresses themselves are not looked up.
pub(super) fn check_host(url: &Url, rule: Rule) -> Result<(), Refused> {
    match url.host() {
        Some(Host::Ipv4(address)) => check_address(&address.to_string(), address.into(), rule),
        Some(Host::Ipv6(address)) => check_address(&address.to_string(), address.into(), rule),
        Some(Host::Domain(_)) | None => Ok(()),
    }
}

fn check_address(host: &str, address: IpAddr, rule: Rule) -> Result<(), Refused> {
    if rule(address) {
        return Ok(());
    }
    let host = host.to_owned();
    Err(Refused { host, address })
}

/// Whether an address is of the public internet: not private, of this machine or its link, a cloud's metadata service,
/// or set aside for something else (IANA's special-purpose registries).
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && b & 0xC0 == 64)
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && b & 0xFE == 18)
        // Azure's metadata, within public space.
        || address == Ipv4Addr::new(168, 63, 129, 16);
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // ::ffff:1.2.3.4 and the translated 64:ff9b::1.2.3.4 are IPv4.
        [0, 0, 0, 0, 0, 0xFFFF, high, low] | [0x64, 0xFF9B, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4.
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo and other protocols' assignments, documentation.
        [0x2001, 0..=0x1FF | 0xDB8, ..] => false,
        // Global unicast is 2000::/3.
        [first, ..] => first & 0xE000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        for public in [
            "1.1.1.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.19.0.1",
            "::1",
            "::",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001::1",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "fec0::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }

    #[test]
    fn addresses_in_urls_are_checked_however_they_are_written() {
        for url in [
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://[::1]/",
        ] {
            assert!(check_host(&url.parse().unwrap(), is_public).is_err(), "{url}");
        }
        assert!(check_host(&"http://example.org/".parse().unwrap(), is_public).is_ok());
    }
}
