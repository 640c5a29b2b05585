// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The real program on a free port, in a directory of its own.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything that works takes on the slowest machine; only a test that would hang meets it.
const PATIENCE: Duration = Duration::from_secs(120);

/// The directory with the plugins that were built for these tests: that of the test program itself.
pub(crate) fn plugins() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// The library of one plugin.
pub(crate) fn plugin(name: &str) -> PathBuf {
    plugins().join(format!("libalice_backend_{name}.{}", std::env::consts::DLL_EXTENSION))
}

/// A path in the source tree.
pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

/// The program, in `directory`, without anything of the developer's environment that it reads.
pub(crate) fn alice(directory: &Path) -> Command {
    command(Path::new(env!("CARGO_BIN_EXE_alice")), directory)
}

/// Puts a copy of the program at `path`.
///
/// Not copied by this process: a file that it has open for writing is open in every child that another test starts
/// meanwhile, and the system runs no program that somebody writes to.
pub(crate) fn install(path: &Path) {
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_alice")).arg(path).status().unwrap();
    assert!(copied.success());
}

fn command(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).env("ALICE_BACKEND_PATH", plugins());
    command.env_remove("ALICE_CONFIG").env_remove("RUST_LOG");
    command
}

/// A running server. It ends with this value.
pub(crate) struct Server {
    child: Child,
    log: mpsc::Receiver<String>,
    /// What it logged before it was ready.
    pub(crate) early_log: Vec<String>,
    /// Its address, without a slash at the end.
    pub(crate) base: String,
    /// Its working directory, which goes with it.
    pub(crate) directory: TempDir,
    /// A client without proxies.
    pub(crate) client: reqwest::Client,
}

impl Server {
    /// The paint backend over the built-in model.
    pub(crate) async fn paint() -> Self {
        Self::with("generation: { backend: paint }").await
    }

    /// A server with this configuration, beside the port that is always chosen by the system.
    pub(crate) async fn with(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = format!("server: {{ port: 0 }}\n{config}\n");
        std::fs::write(directory.path().join("config.yaml"), config).unwrap();
        Self::start(directory, &[])
    }

    /// A server in a directory that holds its configuration.
    pub(crate) fn start(directory: TempDir, arguments: &[&str]) -> Self {
        Self::start_program(Path::new(env!("CARGO_BIN_EXE_alice")), directory, arguments)
    }

    /// As [`start`](Self::start), with a copy of the program that lies elsewhere.
    pub(crate) fn start_program(program: &Path, directory: TempDir, arguments: &[&str]) -> Self {
        let mut command = command(program, directory.path());
        command.args(arguments);
        Self::start_command(command, directory)
    }

    /// As [`start`](Self::start), with a command that the caller has prepared.
    pub(crate) fn start_command(mut command: Command, directory: TempDir) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (lines, log) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            // The end of a test may come before the end of the log.
            stderr.lines().map_while(Result::ok).for_each(|line| drop(lines.send(line)));
        });
        let mut early_log = Vec::new();
        loop {
            match log.recv_timeout(PATIENCE) {
                Ok(line) => match line.split_once("Ready at ") {
                    Some((_, base)) => {
                        let base = base.trim().to_owned();
                        return Self { child, log, early_log, base, directory, client: client() };
                    }
                    None => early_log.push(line),
                },
                Err(_) => panic!("the server never became ready; the log was:\n{}", early_log.join("\n")),
            }
        }
    }

    /// Waits until a line of the log contains `text`; gives the lines up to it.
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        let mut seen = String::new();
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            seen += &format!("{line}\n");
            if line.contains(text) {
                return seen;
            }
        }
        panic!("no line with `{text}`; the log was:\n{seen}");
    }

    /// What was logged since anyone looked.
    pub(crate) fn log_so_far(&self) -> String {
        self.log.try_iter().collect::<Vec<_>>().join("\n")
    }

    /// A connection for what no HTTP client would do.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.base.trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A GET of `path`.
    pub(crate) async fn get(&self, path: &str) -> Response {
        send(self.client.get(format!("{}{path}", self.base))).await
    }

    /// The JSON at `path`.
    pub(crate) async fn get_json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.unwrap()
    }

    /// A POST of JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        send(self.client.post(format!("{}{path}", self.base)).json(body)).await
    }

    /// A POST of JSON that succeeds.
    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, body).await;
        let status = answer.status();
        let body = answer.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// A POST of a form.
    pub(crate) async fn submit(&self, fields: &[(&str, &str)]) -> Response {
        send(self.client.post(format!("{}/", self.base)).form(fields)).await
    }

    /// The number by which the system knows it.
    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub(crate) fn order_to_end(&self) {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Kills the process at once, and gives back the directory that it leaves behind.
    pub(crate) fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let empty = tempfile::tempdir().unwrap();
        std::mem::replace(&mut self.directory, empty)
    }

    /// Waits for the process to end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, as some tests want.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Everything that still comes on a connection, which the server must end.
pub(crate) fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        // So the system tells a client whose bytes the server did not read to their end.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection is still open ({error}) after {} bytes", bytes.len()),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads up to and with `end`, on a connection that stays open.
pub(crate) fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after `{text}`"));
        text.push(char::from(byte[0]));
    }
    text
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.unwrap()
}

/// What a run of the program that ends by itself printed, and how it ended.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program with `arguments` in `directory` to its end.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Ran {
    ended(alice(directory).args(arguments))
}

/// Runs `command` to its end.
pub(crate) fn ended(command: &mut Command) -> Ran {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    Ran { status: child.wait().unwrap(), stdout, stderr: errors.join().unwrap() }
}
