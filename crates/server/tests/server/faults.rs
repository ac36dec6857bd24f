use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use crate::support::{How, Server, until};

const HEAD: &[u8] = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";

/// A server that waits so long for the head of a request, and again for its body.
fn waits(milliseconds: u64) -> Server {
    Server::with(How::default(), |options| options.limits.read_timeout = Duration::from_millis(milliseconds))
}

#[test]
fn slow_senders() {
    let server = waits(100);
    let start = Instant::now();
    let mut silent = server.client();
    let mut head = server.client();
    head.send(&HEAD[..20]);
    let mut body = server.client();
    body.send(&[HEAD, b"content-length: 20\r\n\r\n{\"inputs\""].concat());
    assert_eq!(body.reply().unwrap().fails(408, "Timeout"), "the body did not come in time");
    // one byte at a time: the time is that of all of them
    let mut dripping = server.client();
    dripping.send(&[HEAD, b"content-length: 1000\r\n\r\n"].concat());
    for _ in 0..20 {
        dripping.send(b" ");
        std::thread::sleep(Duration::from_millis(10));
    }
    dripping.reply().unwrap().fails(408, "Timeout");
    assert!(silent.closed() && head.closed());
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(server.predict(json!("a")).status, 200);
}

/// A client who asks for much and takes nothing of it: the server does not keep the answer, and can end.
#[test]
fn clients_who_do_not_read() {
    let mut server = waits(500);
    let body = json!({"inputs": "a ".repeat(400_000)}).to_string();
    let head = format!(
        "POST /tokenize HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut client = std::net::TcpStream::connect(server.address).unwrap();
    client.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
    let mut first = [0; 12];
    client.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    std::thread::sleep(Duration::from_millis(1000));
    let start = Instant::now();
    server.end();
    assert!(start.elapsed() < Duration::from_secs(5), "the answer was kept");
    let mut rest = Vec::new();
    // the end may come as an error
    let _ = client.read_to_end(&mut rest);
    assert!(rest.len() < 400_000 * r#"{"id":5,"text":"a"}"#.len(), "some of the answer is missing");
}

/// Clients of every bad kind at once: those who behave get their answers.
#[test]
fn good_clients_among_bad_ones() {
    let server = waits(1000);
    let whole = [HEAD, b"content-length: 25\r\n\r\n{\"inputs\": \"a good film\"}"].concat();
    let expected = server.predict(json!("a good film")).ok();
    let going = AtomicBool::new(true);
    std::thread::scope(|scope| {
        for kind in 0..4 {
            let (server, whole, going) = (&server, &whole, &going);
            scope.spawn(move || {
                for n in 0.. {
                    if !going.load(Ordering::Relaxed) {
                        return;
                    }
                    let mut client = server.client();
                    match kind {
                        // leaves before the answer, in the middle of a request, after a wrong one
                        0 => client.send(whole),
                        1 => client.send(&whole[..1 + n % (whole.len() - 1)]),
                        2 => client.send(b"\r\n\0 HTTP/9.9\r\n\r\n"),
                        // sends too slowly
                        _ => {
                            client.send(&whole[..whole.len() - 1]);
                            client.reply().unwrap().fails(408, "Timeout");
                        }
                    }
                }
            });
        }
        let good: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = server.client();
                    (0..200).all(|_| client.post("/predict", &json!({"inputs": "a good film"})).ok() == expected)
                })
            })
            .collect();
        let ended: Vec<_> = good.into_iter().map(|client| client.join()).collect();
        going.store(false, Ordering::Relaxed);
        assert!(ended.into_iter().all(|same| same.unwrap()), "an answer is another among bad clients");
    });
    assert_eq!(server.get("/health").status, 200);
    until("an empty queue", || server.predict(json!("a")).status == 200 && server.metric("te_queue_size") == 0.0);
}

#[test]
fn half_requests() {
    let server = Server::new();
    let whole = [HEAD, b"content-length: 19\r\n\r\n{\"inputs\": \"a film\"}"].concat();
    for end in 1..whole.len() {
        let mut client = server.client();
        client.send(&whole[..end]);
    }
    let mut client = server.client();
    client.send(&whole);
    assert!(matches!(client.reply().unwrap().status, 200 | 422));
    assert_eq!(server.predict(json!("a film")).status, 200);
}

/// Heads that are none: an answer of hyper's or the end of the connection, and nothing else.
#[test]
fn bytes_that_are_no_http() {
    let server = Server::new();
    let many = [b"GET / HTTP/1.1\r\n".to_vec(), b"a: b\r\n".repeat(200), b"\r\n".to_vec()].concat();
    let long = [b"GET / HTTP/1.1\r\na: ".to_vec(), vec![b'b'; 1 << 20]].concat();
    for bytes in [b"\0\0\0\0\r\n\r\n".to_vec(), b"GET\r\n\r\n".to_vec(), vec![0xff; 1000], many, long] {
        let mut client = server.client();
        client.send(&bytes);
        if let Ok(reply) = client.reply() {
            assert!((400..500).contains(&reply.status), "{reply:?}");
        }
    }
    assert_eq!(server.predict(json!("a film")).status, 200);
}

/// Any JSON.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|x| json!(x)),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((".{0,6}", inner), 0..4).prop_map(|pairs| Value::Object(Map::from_iter(pairs))),
        ]
    })
}

/// Requests whose fields are of the right form, or nearly, or of any.
fn request() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[a-z ]{0,40}", ".{0,40}", "\\PC{0,100}"].boxed();
    let item = proptest::collection::vec(text.clone(), 0..4);
    let inputs = prop_oneof![
        text.clone().prop_map(Value::from),
        item.clone().prop_map(|texts| json!(texts)),
        proptest::collection::vec(item, 0..40).prop_map(|batch| json!(batch)),
        any_json(),
    ];
    let flag = prop_oneof![any::<bool>().prop_map(Value::from), any_json()].boxed();
    let direction = prop_oneof![Just(json!("Left")), Just(json!("Right")), any_json()];
    let ids = prop_oneof![
        proptest::collection::vec(any::<u32>(), 0..10).prop_map(|ids| json!(ids)),
        proptest::collection::vec(0_u32..12, 0..10).prop_map(|ids| json!([ids])),
        any_json(),
    ];
    let label = prop_oneof![Just(json!("positive")), Just(Value::Null), any_json()];
    let fields = (inputs, flag.clone(), flag, direction, ids, label, any::<u8>());
    fields.prop_map(|(inputs, truncate, raw, direction, ids, label, which)| {
        let mut request = Map::new();
        let named = [
            ("inputs", inputs),
            ("truncate", truncate),
            ("raw_scores", raw.clone()),
            ("truncation_direction", direction),
            ("ids", ids),
            ("label", label.clone()),
            ("parameters", json!({"top_k": raw, "function_to_apply": label})),
        ];
        let chosen = named.into_iter().enumerate().filter(|(i, _)| *i == 0 || which & (1 << i) != 0);
        request.extend(chosen.map(|(_, (name, value))| (name.to_owned(), value)));
        Value::Object(request)
    })
}

/// Every body is answered with a status that is documented, and none with one that says that the server is at fault.
#[test]
fn malformed_bodies() {
    let server = Server::new();
    let mut runner = TestRunner::deterministic();
    let mut client = server.client();
    let (requests, values) = (request(), any_json());
    let routes = ["/predict", "/models/first", "/models/second/predict", "/tokenize", "/decode", "/explain"];
    let mut statuses = std::collections::BTreeMap::new();
    for i in 0..10_000 {
        let value = if i % 4 == 0 {
            values.new_tree(&mut runner).unwrap().current()
        } else {
            requests.new_tree(&mut runner).unwrap().current()
        };
        let mut body = value.to_string().into_bytes();
        match i % 16 {
            // cut, and with a wrong byte
            1 => body.truncate(body.len() / 2),
            2 => {
                let at = i * 7919 % body.len();
                body[at] ^= 1 << (i / 16 % 8);
            }
            _ => {}
        }
        let route = routes[i % routes.len()];
        let reply = client.request("POST", route, &[("content-type", "application/json")], Some(&body));
        assert!([200, 400, 413, 422].contains(&reply.status), "{route} {}: {reply:?}", String::from_utf8_lossy(&body));
        *statuses.entry(reply.status).or_insert(0) += 1;
        if reply.status != 200 {
            assert!(reply.json()["error"].is_string());
        }
    }
    assert!(statuses[&200] > 1000 && statuses[&422] > 1000 && statuses[&400] > 100, "all kinds come: {statuses:?}");
    assert_eq!(server.get("/health").status, 200);
}
