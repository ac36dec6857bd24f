//! A server inside your own program: `cargo run --release -p distune-server --example embed [MODEL]`.
//!
//! Without the directory of a model it trains the head of the bundled encoder for a moment, to have one. Then it listens at a free port,
//! answers, and stops when it is asked to, after the last answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc::channel;

use distune::prelude::*;
use distune_server::{Options, Source, Stop, serve};

/// Serves the model, asks once, and stops; returns the answer.
pub fn run(model: &Path, text: &str) -> Result<String> {
    let (stop, (started, address)) = (Stop::default(), channel());
    let source = Source::of_directory("mine", model);
    let options = Options { port: 0, ..Options::default() };
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            serve(options, vec![source], &stop, move |address| {
                let _ = started.send(address);
            })
        });
        // no address comes from a server that could not start
        let answer = address.recv().map(|address| ask(address, text));
        stop.request();
        serving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        answer.unwrap_or_else(|_| Ok(String::new())).map_err(|error| Error::io(model, "serve", &error))
    })
}

/// What a client does, in any language.
fn ask(address: SocketAddr, text: &str) -> std::io::Result<String> {
    let body = serde_json::json!({ "inputs": text }).to_string();
    let mut connection = TcpStream::connect(address)?;
    write!(
        connection,
        "POST /predict HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map_or(answer.clone(), |(_, body)| body.to_owned()))
}

fn main() -> Result<()> {
    let model = match std::env::args().nth(1) {
        Some(model) => model,
        None => {
            let mut settings = RecipeFile::new("bundled", "reviews");
            settings.recipe = Recipe { unfreeze: Unfreeze::head(), max_steps: 20, ..Recipe::recommended() };
            fine_tune(&settings)?.save("runs/served")?;
            "runs/served".to_owned()
        }
    };
    println!("{}", run(Path::new(&model), "a charming and often affecting journey")?);
    Ok(())
}
