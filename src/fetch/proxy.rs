//! Proxies: which one an address goes through, and how.
//!
//! `https://` goes through an HTTP proxy by `CONNECT`, so that the proxy sees only the host. `http://` is asked
//! for in absolute form (RFC 9112, section 3.2.2), because many proxies allow `CONNECT` to port 443 only; ureq
//! knows only `CONNECT`, hence [`AbsoluteForm`]. SOCKS proxies take both.

use std::net::IpAddr;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};
use ureq::{Agent, Proxy};

use super::FetchError;
use super::address::{Address, Scheme, basic};
use super::error::shown;
use crate::recipe::ProxySettings;

/// The agents for the ways that a request can take.
#[derive(Debug)]
pub(crate) struct Agents {
    direct: Agent,
    http: Option<Proxied>,
    https: Option<Proxied>,
    no_proxy: NoProxy,
}

/// A way through a proxy.
#[derive(Debug)]
struct Proxied {
    agent: Agent,
    /// `Proxy-Authorization`, where it goes into the request itself.
    authorization: Option<String>,
}

impl Agents {
    /// # Errors
    /// [`FetchError::BadProxy`].
    pub(crate) fn new(
        settings: &ProxySettings,
        config: impl Fn(Option<Proxy>) -> Config,
    ) -> Result<Self, FetchError> {
        let chosen = |own: &Option<String>| {
            own.as_ref().or(settings.all_proxy.as_ref()).filter(|proxy| !proxy.is_empty()).cloned()
        };
        let http =
            chosen(&settings.http_proxy).map(|proxy| proxied(&proxy, Scheme::Http, &config)).transpose()?;
        let https =
            chosen(&settings.https_proxy).map(|proxy| proxied(&proxy, Scheme::Https, &config)).transpose()?;
        Ok(Self {
            direct: Agent::new_with_config(config(None)),
            http,
            https,
            no_proxy: NoProxy::parse(settings.no_proxy.as_deref().unwrap_or_default()),
        })
    }

    /// The agent for `address`, and the `Proxy-Authorization` that its requests need.
    pub(crate) fn for_address(&self, address: &Address) -> (&Agent, Option<&str>) {
        let proxied = match address.scheme() {
            Scheme::Http => &self.http,
            Scheme::Https => &self.https,
        };
        match proxied {
            Some(proxied) if !self.no_proxy.holds(address) => {
                (&proxied.agent, proxied.authorization.as_deref())
            }
            _ => (&self.direct, None),
        }
    }
}

fn proxied(
    text: &str,
    scheme: Scheme,
    config: &impl Fn(Option<Proxy>) -> Config,
) -> Result<Proxied, FetchError> {
    let bad = |problem: &str| FetchError::BadProxy {
        proxy: shown(&super::without_credentials(&with_scheme(text))),
        problem: problem.to_owned(),
    };
    let proxy = Proxy::new(&with_scheme(text)).map_err(|_| bad("it is no address of a proxy"))?;
    let speaks_http = matches!(proxy.protocol(), ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https);
    if scheme == Scheme::Https || !speaks_http {
        return Ok(Proxied { agent: Agent::new_with_config(config(Some(proxy))), authorization: None });
    }
    let authorization = proxy.username().map(|name| basic(name, proxy.password().unwrap_or_default()));
    let connector = AbsoluteForm { proxy: proxy.uri().clone(), inner: DefaultConnector::new() };
    let resolver = ProxyResolver { proxy: proxy.uri().clone(), inner: DefaultResolver::default() };
    Ok(Proxied { agent: Agent::with_parts(config(None), connector, resolver), authorization })
}

/// A proxy is often written `host:port`: that is an HTTP proxy.
fn with_scheme(text: &str) -> String {
    if text.contains("://") { text.to_owned() } else { format!("http://{text}") }
}

/// Resolves the proxy, whatever is asked for: the target's name may be known to the proxy only.
#[derive(Debug)]
struct ProxyResolver {
    proxy: Uri,
    inner: DefaultResolver,
}

impl Resolver for ProxyResolver {
    fn resolve(
        &self,
        _target: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.inner.resolve(&self.proxy, config, timeout)
    }
}

/// Connects to the proxy and puts scheme and authority before the path of each request.
#[derive(Debug)]
struct AbsoluteForm {
    proxy: Uri,
    inner: DefaultConnector,
}

impl Connector for AbsoluteForm {
    type Out = AbsoluteFormTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let to_proxy = ConnectionDetails {
            uri: &self.proxy,
            addrs: details.addrs.clone(),
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let authority = details.uri.authority().map(ToString::to_string).unwrap_or_default();
        let prefix = format!("http://{authority}").into_bytes();
        Ok(self.inner.connect(&to_proxy, chained)?.map(|inner| AbsoluteFormTransport { inner, prefix }))
    }
}

#[derive(Debug)]
struct AbsoluteFormTransport {
    inner: Box<dyn Transport>,
    prefix: Vec<u8>,
}

impl Transport for AbsoluteFormTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        const METHOD: &[u8] = b"GET ";
        let output = self.inner.buffers().output();
        let mut amount = amount;
        // Requests have no body, and no header line begins like this.
        if output[..amount].starts_with(b"GET /") {
            let longer = amount + self.prefix.len();
            if longer > output.len() {
                return Err(ureq::Error::BadUri("the request is too long for a proxy".to_owned()));
            }
            output.copy_within(METHOD.len()..amount, METHOD.len() + self.prefix.len());
            output[METHOD.len()..][..self.prefix.len()].copy_from_slice(&self.prefix);
            amount = longer;
        }
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// The hosts that are asked directly, as curl reads `no_proxy`: names, with or without a leading dot, stand
/// for themselves and what is below them; `*` for everything; addresses and `address/prefix` networks; a port
/// after a colon narrows a name to it.
#[derive(Debug, Default)]
struct NoProxy {
    entries: Vec<NoProxyEntry>,
}

#[derive(Debug)]
enum NoProxyEntry {
    Everything,
    Domain { name: String, port: Option<u16> },
    Network { address: IpAddr, prefix: u8 },
}

impl NoProxy {
    fn parse(text: &str) -> Self {
        let entries = text
            .split([',', ' '])
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .filter_map(|entry| {
                if entry == "*" {
                    return Some(NoProxyEntry::Everything);
                }
                let bare = entry.trim_start_matches('[').trim_end_matches(']');
                if let Ok(address) = bare.parse::<IpAddr>() {
                    return Some(NoProxyEntry::Network { address, prefix: bits(address) });
                }
                if let Some((address, prefix)) = entry.split_once('/') {
                    let (address, prefix) = (address.parse::<IpAddr>().ok()?, prefix.parse().ok()?);
                    return (prefix <= bits(address)).then_some(NoProxyEntry::Network { address, prefix });
                }
                let (name, port) = match entry.rsplit_once(':') {
                    Some((name, port)) => (name, Some(port.parse().ok()?)),
                    None => (entry, None),
                };
                let name = name.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
                (!name.is_empty()).then_some(NoProxyEntry::Domain { name, port })
            })
            .collect();
        Self { entries }
    }

    fn holds(&self, address: &Address) -> bool {
        let host = address.host().trim_end_matches('.');
        let ip = host.parse::<IpAddr>().ok();
        self.entries.iter().any(|entry| match entry {
            NoProxyEntry::Everything => true,
            NoProxyEntry::Domain { name, port } => {
                let below = host
                    .strip_suffix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                below && port.is_none_or(|port| port == address.port())
            }
            NoProxyEntry::Network { address: network, prefix } => {
                ip.is_some_and(|ip| in_network(ip, *network, *prefix))
            }
        })
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn in_network(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    // Both to the top of 128 bits, where the first `prefix` bits count.
    let top = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    address.is_ipv4() == network.is_ipv4() && (top(address) ^ top(network)) & mask == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_is_read_as_curl_does() {
        for (list, url, direct) in [
            ("", "http://a/", false),
            ("*", "http://a/", true),
            ("example.com", "http://example.com/", true),
            ("example.com", "http://www.example.com/", true),
            ("example.com", "http://badexample.com/", false),
            (".example.com", "http://www.EXAMPLE.com/", true),
            ("*.example.com", "http://www.example.com/", true),
            ("a, example.com", "http://example.com/", true),
            ("example.com:8080", "http://example.com/", false),
            ("example.com:8080", "http://example.com:8080/", true),
            ("127.0.0.1", "http://127.0.0.1:9/", true),
            ("127.0.0.0/8", "http://127.9.9.9/", true),
            ("10.0.0.0/8", "http://127.9.9.9/", false),
            ("0.0.0.0/0", "http://127.9.9.9/", true),
            ("[::1]", "http://[::1]:80/", true),
            ("fd00::/8", "http://[fd12::1]/", true),
            ("fd00::/8", "http://name/", false),
            ("10.0.0.0/99, :, :x", "http://10.0.0.1/", false),
        ] {
            let address = Address::parse(url).expect(url);
            assert_eq!(NoProxy::parse(list).holds(&address), direct, "{list:?} {url}");
        }
    }

    #[test]
    fn a_wrong_proxy_is_named_without_its_password() {
        let settings = ProxySettings {
            all_proxy: Some("gopher://me:secret@host:1".to_owned()),
            ..ProxySettings::default()
        };
        let error = Agents::new(&settings, |proxy| Agent::config_builder().proxy(proxy).build())
            .expect_err("no such proxy");
        assert!(matches!(&error, FetchError::BadProxy { .. }));
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
