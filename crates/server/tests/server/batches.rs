use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{How, Server, until};

/// A server whose engine is held back by a request for `first`, and that client.
fn busy(change: impl FnOnce(&mut distune_server::Options)) -> (Server, crate::support::Client) {
    let server = Server::with(How::default(), change);
    server.gate.close();
    let mut client = server.client();
    client.send_text("a film");
    server.gate.wait_for(1);
    (server, client)
}

fn queued(server: &Server, rows: f64) {
    until("the queue", || server.metric("te_queue_size") == rows);
}

#[test]
fn what_waits_is_computed_together() {
    let (server, mut first) = busy(|_| {});
    let mut clients: Vec<_> = (0..6).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.send_text("a good film"));
    queued(&server, 6.0);
    server.gate.open();
    for client in clients.iter_mut().chain([&mut first]) {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    assert_eq!(*server.gate.batches.lock().unwrap(), [1, 6]);
}

/// The windows of a text are computed together: the time of their batch counts once.
#[test]
fn windows_take_the_time_of_their_batch() {
    let server = Server::with(How { windows: true, ..How::default() }, |_| {});
    server.gate.close();
    let mut client = server.client();
    client.send_text(&"good ".repeat(60));
    server.gate.wait_for(1);
    std::thread::sleep(Duration::from_millis(100));
    server.gate.open();
    let reply = client.reply().unwrap();
    assert_eq!(reply.status, 200);
    assert!(server.gate.batches.lock().unwrap()[0] > 3, "a batch of several windows");
    let milliseconds = |name| reply.header(name).unwrap().parse::<u64>().unwrap();
    let (inference, total) = (milliseconds("x-inference-time"), milliseconds("x-total-time"));
    assert!((100..=total).contains(&inference), "{inference} ms of {total}");
}

#[test]
fn batches_have_so_many_tokens_and_one_model() {
    let (server, mut first) = busy(|options| options.limits.max_batch_tokens = 12);
    let mut clients: Vec<_> = (0..5).map(|_| server.client()).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        // 5 tokens each, so that two fit
        let path = if i == 1 { "/models/second/predict" } else { "/predict" };
        let body = json!({"inputs": "a good film"}).to_string();
        client.send_request("POST", path, &[("content-type", "application/json")], Some(body.as_bytes()));
        queued(&server, 1.0 + i as f64);
    }
    server.gate.open();
    for client in clients.iter_mut().chain([&mut first]) {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    assert_eq!(*server.gate.batches.lock().unwrap(), [1, 2, 1, 2], "the other model's is left in its place");
}

#[test]
fn clients_who_left_are_not_computed() {
    let (server, mut first) = busy(|_| {});
    let mut clients: Vec<_> = (0..5).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.send_text("a good film"));
    queued(&server, 5.0);
    let mut last = clients.pop().unwrap();
    drop(clients);
    // their ends are seen while the engine is busy
    std::thread::sleep(Duration::from_millis(100));
    server.gate.open();
    assert_eq!((first.reply().unwrap().status, last.reply().unwrap().status), (200, 200));
    assert_eq!(*server.gate.batches.lock().unwrap(), [1, 1]);
    assert_eq!(server.metric("te_request_success{method=\"single\"}"), 2.0);
}

/// Clients who come and leave while the engine is busy: what they asked for is not kept until its turn.
#[test]
fn many_clients_who_leave() {
    let (server, mut first) = busy(|_| {});
    let mut stays = server.client();
    stays.send_text("a good film");
    for i in 0..1500 {
        server.client().send_text("a good film");
        if i % 100 == 0 {
            // what has come is accepted
            assert_eq!(server.get("/health").status, 200);
        }
    }
    let mut last = server.client();
    last.send_text("a good film");
    // what was sent before is in the queue, or was
    std::thread::sleep(Duration::from_millis(200));
    let queued = server.metric("te_queue_size");
    assert!((2.0..700.0).contains(&queued), "{queued} rows of 2 clients");
    server.gate.open();
    for client in [&mut first, &mut stays, &mut last] {
        assert_eq!(client.reply().unwrap().status, 200);
    }
}

/// When only clients who left were waiting, nobody waits.
#[test]
fn rows_of_clients_who_left_are_not_counted() {
    let (server, mut first) = busy(|_| {});
    let mut client = server.client();
    client.send_text("a good film");
    queued(&server, 1.0);
    drop(client);
    std::thread::sleep(Duration::from_millis(100));
    server.gate.open();
    assert_eq!(first.reply().unwrap().status, 200);
    queued(&server, 0.0);
}

/// The client whose row is being computed leaves too.
#[test]
fn clients_who_leave_in_the_middle() {
    let (server, first) = busy(|_| {});
    drop(first);
    std::thread::sleep(Duration::from_millis(50));
    server.gate.open();
    assert_eq!(server.predict(json!("a")).status, 200);
}

#[test]
fn too_many_requests() {
    let (server, mut first) = busy(|options| options.limits.max_concurrent_requests = 3);
    let mut clients: Vec<_> = (0..2).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.send_text("a"));
    queued(&server, 2.0);
    for _ in 0..10 {
        let reply = server.predict(json!([["a"], ["film"]]));
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert_eq!(reply.fails(429, "Overloaded"), "Model is overloaded");
    }
    server.post("/explain", &json!({"inputs": "a"})).fails(429, "Overloaded");
    server.post("/tokenize", &json!({"inputs": "a"})).fails(429, "Overloaded");
    assert_eq!(server.get("/info").status, 200);
    server.gate.open();
    for client in clients.iter_mut().chain([&mut first]) {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    assert_eq!(server.predict(json!("a")).status, 200);
}

#[test]
fn answers_that_come_too_late() {
    let (server, mut first) = busy(|options| options.limits.request_timeout = Duration::from_millis(200));
    let message = server.predict(json!("a")).fails(429, "Overloaded");
    assert!(message.ends_with("the answer would have come too late"));
    first.reply().unwrap().fails(429, "Overloaded");
    server.gate.open();
    assert_eq!(server.predict(json!("a")).status, 200);
}

/// What has come is answered; what comes on open connections, for a moment too; then there is nobody.
#[test]
fn the_end() {
    let (mut server, mut first) = busy(|_| {});
    let mut clients: Vec<_> = (0..4).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.send_text("a good film"));
    queued(&server, 4.0);
    let (mut idle, mut late) = (server.client(), server.client());
    // both are accepted
    assert_eq!(idle.request("GET", "/health", &[], None).status, 200);
    assert_eq!(late.request("GET", "/health", &[], None).status, 200);
    server.stop.request();
    std::thread::sleep(Duration::from_millis(50));
    let health = late.request("GET", "/health", &[], None);
    assert_eq!(health.header("connection"), Some("close"));
    health.fails(503, "Unhealthy");
    assert!(idle.closed());
    let start = Instant::now();
    server.gate.open();
    for client in clients.iter_mut().chain([&mut first]) {
        let reply = client.reply().unwrap();
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    }
    server.end();
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(std::net::TcpStream::connect(server.address).is_err());
}

/// Clients whose connections are closed, and who come again at once, do not hold it up.
#[test]
fn the_end_while_clients_come_again() {
    let mut server = Server::new();
    let (address, start) = (server.address, Instant::now());
    let coming = move || start.elapsed() < Duration::from_secs(8);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                while coming() {
                    let Ok(mut stream) = std::net::TcpStream::connect(address) else { continue };
                    let sent = stream.write_all(b"GET /ping HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
                    let _ = sent.and_then(|()| stream.read_to_end(&mut Vec::new()));
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(100));
    server.end();
    assert!(coming(), "it ended when they stopped coming");
    clients.into_iter().for_each(|client| client.join().unwrap());
}
