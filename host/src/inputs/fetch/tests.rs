// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The client against addresses in disguise, and a server that means harm. In these tests 127.0.0.2 is the public
//! network, and everything else that listens on this machine must never hear of them.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;

use super::address::{is_public, is_public_name};
use super::*;

/// Hosts as they may stand in an address, none of which is anybody's on the public network.
const LOCAL: &[&str] = &[
    // This machine.
    "127.0.0.1",
    "127.0.0.2",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "0x7f.0.0.1",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "2130706433",
    "127.0.0.1.",
    "0x7F.0x0.0x0.0x1",
    "0177.0x0.0.1",
    "00000177.0.0.1",
    "127.0.0.0x1",
    "%31%32%37.0.0.1",
    "%6c%6f%63alhost",
    "１２７.０.０.１",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "127．0．0．1",
    "127｡0｡0｡1",
    "0",
    "0.0.0.0",
    "0.0.0.1",
    "0x0",
    "00",
    "0.1",
    "0.255.255.255",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::0001]",
    "[0:0::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::FFFF:7F00:0001]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[::ffff:0.0.0.0]",
    "[::0.0.0.0]",
    // Private networks.
    "10.0.0.1",
    "10.255.255.255",
    "10.1",
    "0xa.1",
    "012.0.0.1",
    "167772161",
    "0x0a000001",
    "172.16.0.1",
    "172.31.255.255",
    "0xac.0x10.0.1",
    "2886729729",
    "0254.020.0.1",
    "192.168.0.1",
    "192.168.255.255",
    "192.168.1",
    "0xc0a80001",
    "3232235521",
    "0300.0250.0.1",
    "192.168.0.1.",
    "[::ffff:10.0.0.1]",
    "[::ffff:a00:1]",
    "[::ffff:192.168.0.1]",
    "[::ffff:c0a8:1]",
    "[::ffff:172.16.0.1]",
    "[::ffff:ac10:1]",
    "[::192.168.0.1]",
    "[::10.0.0.1]",
    // Clouds tell their machines secrets here.
    "169.254.169.254",
    "169.254.0.1",
    "2852039166",
    "0xa9fea9fe",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "169.16689662",
    "169.254.43518",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "100.100.100.200",
    "[::ffff:100.100.100.200]",
    "192.0.0.192",
    // Between providers and their customers.
    "100.64.0.1",
    "100.127.255.255",
    "0x64.0x40.0.1",
    "1681915905",
    "[::ffff:100.64.0.1]",
    // For documents, protocols, measurements, and nobody.
    "192.0.0.1",
    "192.0.0.255",
    "192.0.2.1",
    "198.51.100.7",
    "203.0.113.9",
    "198.18.0.1",
    "198.19.255.255",
    "192.88.99.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.175.48.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "254.1.1.1",
    "255.255.255.255",
    "4294967295",
    "0xffffffff",
    "037777777777",
    "[::ffff:224.0.0.1]",
    "[::ffff:255.255.255.255]",
    "[::ffff:198.18.0.1]",
    "[::ffff:192.0.2.1]",
    "[::ffff:0.1.2.3]",
    // IPv6: local, of a site, to many, for documents, for nobody.
    "[fe80::1]",
    "[fe80::7f00:1]",
    "[febf::1]",
    "[fec0::1]",
    "[feff::1]",
    "[fc00::1]",
    "[fd00::1]",
    "[fdff:ffff::1]",
    "[ff02::1]",
    "[ff0e::1]",
    "[ff05::2]",
    "[2001:db8::1]",
    "[2001:0db8:85a3::8a2e:370:7334]",
    "[3fff::1]",
    "[3fff:fff::1]",
    "[100::1]",
    "[100:0:0:1::1]",
    "[5f00::1]",
    "[1::1]",
    "[200::1]",
    "[400::1]",
    "[4000::1]",
    "[8000::1]",
    "[c000::1]",
    "[e000::1]",
    "[f000::1]",
    "[f800::1]",
    "[fe00::1]",
    "[2620:4f:8000::1]",
    // IPv4 inside of IPv6: 6to4, Teredo, NAT64, ISATAP, SIIT.
    "[2002:7f00:1::]",
    "[2002:7f00:0001::1]",
    "[2002:a00:1::]",
    "[2002:c0a8:1::1]",
    "[2002:a9fe:a9fe::]",
    "[2002:808:808::1]",
    "[2001::1]",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
    "[2001:0:7f00:1::]",
    "[2001:0:0:0:0:0:80ff:fffe]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b::8.8.8.8]",
    "[64:ff9b:1::127.0.0.1]",
    "[64:ff9b:1:7f00:0:100::]",
    "[64:ff9b:1::1]",
    "[fe80::5efe:127.0.0.1]",
    "[2a00:1450:4001:81b:0:5efe:7f00:1]",
    "[2a00:1450:4001:81b:200:5efe:a00:1]",
    "[2a00:1450:4001:81b:0:5efe:192.168.0.1]",
    "[2001:20::1]",
    "[2001:10::1]",
    "[2001:2::1]",
    "[2001:3::1]",
    "[2001:4:112::1]",
    "[2001:1ff::1]",
    "[2001:1::1]",
];

/// Names that only a local network can have.
const LOCAL_NAMES: &[&str] = &[
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "a.b.LocalHost.",
    "localhost.localdomain",
    "printer",
    "printer.",
    "router.lan",
    "nas.local",
    "nas.LOCAL.",
    "metadata.google.internal",
    "instance-data.ec2.internal",
    "intranet.corp",
    "www.home",
    "gateway.home.arpa",
    "1.0.0.127.in-addr.arpa",
    "wiki.intranet",
    "db.private",
    "a.test",
    "a.example",
    "a.invalid",
    "abc.onion",
    "kubernetes.default.svc.cluster.local",
    "x.alt",
];

const PUBLIC: &[&str] = &[
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "169.255.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "192.167.255.255",
    "192.169.0.1",
    "198.17.255.255",
    "198.20.0.1",
    "223.255.255.255",
    "134744072",
    "0x08080808",
    "[::ffff:8.8.8.8]",
    "[2001:4860:4860::8888]",
    "[2606:4700:4700::1111]",
    "[2a00:1450:4001:81b::200e]",
    "[2001:200::1]",
    "[2003::1]",
    "[3ffe::1]",
];

fn address(host: &str) -> IpAddr {
    match Url::parse(&format!("https://{host}/")).unwrap().host().unwrap() {
        Host::Ipv4(address) => address.into(),
        Host::Ipv6(address) => address.into(),
        Host::Domain(name) => panic!("{host} is the name {name}"),
    }
}

fn names(addresses: &'static [&'static str]) -> Resolve {
    Arc::new(|_| Box::pin(async { Ok(addresses.iter().map(|address| address.parse().unwrap()).collect()) }))
}

fn refusal(result: Result<Bytes>) -> String {
    match result {
        Err(Error::Invalid { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_spelling_hides_a_local_address() {
    for host in LOCAL {
        // Some spellings are no address at all, which is as good.
        let Ok(url) = Url::parse(&format!("https://{host}/")) else { continue };
        match url.host().unwrap() {
            Host::Ipv4(address) => assert!(!is_public(address.into()), "{host} is {address}"),
            Host::Ipv6(address) => assert!(!is_public(address.into()), "{host} is {address}"),
            Host::Domain(name) => assert!(!is_public_name(name), "{host} is the name {name}"),
        }
    }
    for name in LOCAL_NAMES {
        assert!(!is_public_name(name), "{name}");
    }
    for host in PUBLIC {
        assert!(is_public(address(host)), "{host}");
    }
    for name in ["example.com", "example.com.", "a.b.example.org", "xn--bcher-kva.de", "localhost.com"] {
        assert!(is_public_name(name), "{name}");
    }
    assert!(LOCAL.len() + LOCAL_NAMES.len() >= 180, "{}", LOCAL.len() + LOCAL_NAMES.len());
}

#[tokio::test]
async fn nothing_local_is_connected_to_however_it_is_written() {
    let canary = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = canary.local_addr().unwrap().port();
    let rules = Rules { http: true, any_port: true, may_connect: is_public };
    let fetcher = Fetcher::with_names(rules, 1000, Budget::new(2000), names(&["127.0.0.1"]));
    for host in LOCAL.iter().chain(LOCAL_NAMES).chain(&["rebound.example.com"]) {
        for scheme in ["http", "https"] {
            let problem = refusal(fetcher.fetch(&format!("{scheme}://{host}:{port}/")).await);
            assert!(
                problem == UNREACHABLE || problem == "is no address that can be read",
                "{host}: {problem}"
            );
        }
    }
    let heard = timeout(Duration::from_millis(50), canary.accept()).await;
    assert!(heard.is_err(), "somebody connected");
}

#[tokio::test]
async fn one_local_address_among_public_ones_is_enough() {
    let rules = Rules { http: true, any_port: true, may_connect: is_public };
    for addresses in [&["8.8.8.8", "127.0.0.1"][..], &["2001:4860:4860::8888", "::ffff:10.0.0.1"], &[]] {
        let fetcher = Fetcher::with_names(rules, 1000, Budget::new(2000), names(addresses));
        assert_eq!(refusal(fetcher.fetch("http://example.com:9/").await), UNREACHABLE);
    }
}

#[tokio::test]
async fn addresses_that_are_wrong_as_they_are_written_are_never_looked_up() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let resolve: Resolve = Arc::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(vec!["8.8.8.8".parse().unwrap()]) })
    });
    let fetcher = Fetcher::with_names(Rules::public(false), 1000, Budget::new(2000), resolve);
    let long = format!("https://example.com/{}", "a".repeat(MOST_LETTERS));
    for (url, said) in [
        ("http://example.com/a.png", "https://"),
        ("ftp://example.com/a.png", "https://"),
        ("file:///etc/passwd", "https://"),
        ("gopher://example.com/", "https://"),
        ("https://user@example.com/", "without a user"),
        ("https://example.com:password@printer/", "without a user"),
        ("https://example.com:8443/", "without a port"),
        ("https://example.com:22/", "without a port"),
        ("https://", "no address"),
        ("//example.com/a.png", "no address"),
        ("a.png", "no address"),
        (&long, "too long"),
        ("https://printer/", UNREACHABLE),
        ("https://metadata.google.internal/computeMetadata/v1/", UNREACHABLE),
    ] {
        let problem = refusal(fetcher.fetch(url).await);
        assert!(problem.contains(said), "{url}: {problem}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

/// The public network of these tests: one address.
fn is_ours(address: IpAddr) -> bool {
    address == IpAddr::from([127, 0, 0, 2]) || is_public(address)
}

/// A server on the public network that gives these answers in turn, and keeps what it was asked.
struct Hostile {
    base: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hostile {
    fn new(answers: impl Fn(u16) -> Vec<Vec<u8>>) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.2", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answers, asked) = (answers(port), Arc::new(Mutex::new(Vec::new())));
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut bytes = [0; 4096];
                let count = stream.read(&mut bytes).unwrap();
                heard.lock().unwrap().push(String::from_utf8_lossy(&bytes[..count]).into_owned());
                // The client may have gone.
                drop(stream.write_all(&answer));
            }
        });
        Self { base: format!("http://example.com:{port}"), asked }
    }

    async fn fetch(&self) -> Result<Bytes> {
        let rules = Rules { http: true, any_port: true, may_connect: is_ours };
        let fetcher = Fetcher::with_names(rules, 1000, Budget::new(2000), names(&["127.0.0.2"]));
        fetcher.fetch(&format!("{}/a.png?b=c#d", self.base)).await
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\n\r\n").as_bytes(), body].concat()
}

fn png(body: &[u8]) -> Vec<u8> {
    answer(&format!("200 OK\r\ncontent-type: image/png\r\ncontent-length: {}", body.len()), body)
}

#[tokio::test]
async fn a_picture_comes_and_nothing_of_the_daemons_goes_along() {
    let server = Hostile::new(|_| vec![png(b"picture")]);
    assert_eq!(server.fetch().await.unwrap(), "picture");
    let [asked] = &server.asked()[..] else { panic!() };
    let (line, head) = asked.split_once("\r\n").unwrap();
    assert_eq!(line, "GET /a.png?b=c HTTP/1.1");
    let mut names: Vec<_> =
        head.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_lowercase()).collect();
    names.sort();
    assert_eq!(names, ["accept", "accept-encoding", "connection", "host", "user-agent"]);
}

#[tokio::test]
async fn the_next_address_is_tried_where_one_does_not_answer() {
    // Nobody listens at the first two.
    let may_connect = |address: IpAddr| address == IpAddr::from([127, 0, 0, 3]) || is_ours(address);
    let rules = Rules { http: true, any_port: true, may_connect };
    let fetcher = |addresses| Fetcher::with_names(rules, 1000, Budget::new(2000), names(addresses));
    let server = Hostile::new(|_| vec![png(b"picture")]);
    let url = format!("{}/a.png", server.base);
    assert_eq!(refusal(fetcher(&["127.0.0.3", "127.0.0.3"]).fetch(&url).await), UNREACHABLE);
    let fetched = fetcher(&["127.0.0.3", "127.0.0.3", "127.0.0.2"]).fetch(&url).await;
    assert_eq!(fetched.unwrap(), "picture");
    // None at all is, when one of them must not be.
    let fetched = fetcher(&["127.0.0.2", "127.0.0.1"]).fetch(&url).await;
    assert_eq!(refusal(fetched), UNREACHABLE);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn fetched_pictures_count_as_in_hand_until_they_are_dropped() {
    let rules = Rules { http: true, any_port: true, may_connect: is_ours };
    let in_hand = Budget::new(10);
    let fetcher = Fetcher::with_names(rules, 1000, in_hand.clone(), names(&["127.0.0.2"]));
    let server = Hostile::new(|_| vec![png(b"picture"), png(b"picture"), png(b"picture")]);
    let first = fetcher.fetch(&server.base).await.unwrap();
    assert!(matches!(fetcher.fetch(&server.base).await, Err(Error::NoRoom { .. })));
    drop(first);
    assert_eq!(fetcher.fetch(&server.base).await.unwrap(), "picture");
    in_hand.check(10).unwrap();
}

#[tokio::test]
async fn redirects_are_followed_by_the_same_rules() {
    let moved = |to: &str| {
        answer(&format!("302 Found\r\nlocation: {to}\r\nset-cookie: a=b\r\ncontent-length: 0"), b"")
    };
    let server = Hostile::new(|_| vec![moved("/b"), moved("c?d"), moved("//example.com:1/"), png(b"x")]);
    assert_eq!(refusal(server.fetch().await), UNREACHABLE, "nobody listens there");
    assert_eq!(server.asked().len(), 3);
    let server = Hostile::new(|port| {
        vec![moved("/b"), moved("c?d"), moved(&format!("http://example.org:{port}/e")), png(b"x")]
    });
    assert_eq!(server.fetch().await.unwrap(), "x");
    let lines: Vec<_> = server.asked().iter().map(|asked| asked.lines().next().unwrap().to_owned()).collect();
    assert_eq!(lines[1..], ["GET /b HTTP/1.1", "GET /c?d HTTP/1.1", "GET /e HTTP/1.1"]);
    assert!(!server.asked().iter().any(|asked| asked.to_lowercase().contains("cookie")));

    let server = Hostile::new(|_| (0..9).map(|_| moved("/again")).collect());
    assert_eq!(refusal(server.fetch().await), "is redirected too often");
    assert_eq!(server.asked().len(), 1 + REDIRECTS);

    let canary = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = canary.local_addr().unwrap().port();
    for host in LOCAL.iter().filter(|host| !host.contains("127.0.0.2")).chain(LOCAL_NAMES) {
        let server = Hostile::new(|_| vec![moved(&format!("http://{host}:{port}/"))]);
        assert_eq!(refusal(server.fetch().await), UNREACHABLE, "{host}");
    }
    for elsewhere in ["file:///etc/passwd", "ftp://example.com/", "data:image/png;base64,AAAA"] {
        let server = Hostile::new(|_| vec![moved(elsewhere)]);
        assert!(refusal(server.fetch().await).contains("https://"), "{elsewhere}");
    }
    assert!(timeout(Duration::from_millis(50), canary.accept()).await.is_err(), "somebody connected");
}

#[tokio::test]
async fn answers_that_are_no_pictures_are_refused() {
    let typed = |kind: &str| answer(&format!("200 OK\r\ncontent-type: {kind}\r\ncontent-length: 1"), b"x");
    let no_picture = "is no PNG, JPEG or WebP picture at its address";
    let chunked = "200 OK\r\ncontent-type: image/png\r\ntransfer-encoding: chunked";
    let endless = answer(
        chunked,
        &b"ff\r\n".iter().chain(&[b'x'; 255]).chain(b"\r\n").copied().collect::<Vec<_>>().repeat(9),
    );
    for (what, bytes, said) in [
        ("a page", typed("text/html"), no_picture),
        ("a drawing", typed("image/svg+xml"), no_picture),
        ("no type", answer("200 OK\r\ncontent-length: 1", b"x"), no_picture),
        (
            "packed",
            answer("200 OK\r\ncontent-type: image/png\r\ncontent-encoding: gzip\r\ncontent-length: 1", b"x"),
            UNREACHABLE,
        ),
        ("an error", answer("404 Not Found\r\ncontent-length: 0", b""), UNREACHABLE),
        (
            "a part",
            answer("206 Partial Content\r\ncontent-type: image/png\r\ncontent-length: 1", b"x"),
            UNREACHABLE,
        ),
        ("too much", png(&[0; 1001]), "has more than 1000 bytes"),
        ("too much in pieces", endless, "has more than 1000 bytes"),
        ("cut short", png(&[0; 100])[..120].to_vec(), UNREACHABLE),
        ("no HTTP", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), UNREACHABLE),
        ("nothing", Vec::new(), UNREACHABLE),
        ("a long head", answer(&format!("200 OK\r\nx: {}", "y".repeat(4_000_000)), b""), UNREACHABLE),
        ("a redirect to nowhere", answer("302 Found\r\ncontent-length: 0", b""), UNREACHABLE),
    ] {
        let server = Hostile::new(|_| vec![bytes.clone()]);
        assert_eq!(refusal(server.fetch().await), said, "{what}");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_is_no_certificate() {
    // What answers here does not even speak TLS; the handshake must end all the same.
    let server = Hostile::new(|_| vec![png(b"x")]);
    let rules = Rules { http: true, any_port: true, may_connect: is_ours };
    let fetcher = Fetcher::with_names(rules, 1000, Budget::new(2000), names(&["127.0.0.2"]));
    let result = fetcher.fetch(&server.base.replace("http://", "https://")).await;
    match result {
        Err(Error::Invalid { problem, .. }) => assert_eq!(problem, UNREACHABLE),
        // A machine without certificates cannot fetch anything.
        Err(Error::Internal(cause)) => assert!(cause.to_string().contains("trusts no certificates")),
        other => panic!("{other:?}"),
    }
}
