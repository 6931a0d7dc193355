//! Real servers as child processes. Each is killed, by its own id, when its [`Server`] goes.

use super::{Client, skip};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// The longest that a start may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub name: &'static str,
    path: PathBuf,
}

impl Program {
    /// The server of this build, or the one that `IRONKEEP_BIN` names: a release build for long runs.
    pub fn ours() -> Self {
        let path = std::env::var_os("IRONKEEP_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_ironkeep").into());
        Self { name: "ironkeep", path: path.into() }
    }

    /// Another build of ours.
    pub fn at(name: &'static str, path: &Path) -> Self {
        Self { name, path: path.to_owned() }
    }

    /// Redis 8.0; `None`, said aloud, where it isn't at hand.
    pub fn redis_8() -> Option<Self> {
        Self::peer("redis 8.0", "redis-server", "v=8.0.")
    }

    pub fn valkey_9() -> Option<Self> {
        Self::peer("valkey 9.1", "valkey-server", "v=9.1.")
    }

    /// Redis 7.0, as the system has it.
    pub fn redis_7() -> Option<Self> {
        Self::checked("redis 7.0", PathBuf::from("/usr/bin/redis-server"), "v=7.0.")
    }

    fn peer(name: &'static str, file: &str, version: &str) -> Option<Self> {
        Self::checked(name, peers().join(file), version)
    }

    fn checked(name: &'static str, path: PathBuf, version: &str) -> Option<Self> {
        let answer = Command::new(&path).arg("--version").stdin(Stdio::null()).output();
        if answer.is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout).contains(version)) {
            return Some(Self { name, path });
        }
        skip(&format!("no {name} at {}", path.display()));
        None
    }

    #[allow(dead_code)] // for the benches, which share this module
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tool beside a peer: `check-aof` or `check-rdb`.
    pub fn tool(&self, tool: &str) -> PathBuf {
        let server = self.path.file_name().unwrap().to_str().unwrap();
        self.path.with_file_name(server.replace("server", tool))
    }
}

/// Where the peers are: `IRONKEEP_PEERS/bin`, which `../shared/peers/install.sh` fills.
fn peers() -> PathBuf {
    PathBuf::from(std::env::var_os("IRONKEEP_PEERS").unwrap_or_else(|| "/opt/peers".into())).join("bin")
}

/// A port that nothing listens on, below those that the kernel gives to outgoing connections. It is asked by connecting:
/// a listener of our own would live on in a child that another thread forks at this moment, until that child's exec.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let first = u16::try_from(std::process::id() % 200).unwrap() * 100;
        let port = 10_000 + first.wrapping_add(offset) % 20_000;
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
}

/// A running server.
pub struct Server {
    child: Child,
    port: u16,
    output: Arc<Mutex<String>>,
}

impl Server {
    /// Starts `program` on `dir` and waits until it takes connections. `options` are directives with their values.
    pub fn start(program: &Program, dir: &Path, options: &[(&str, &str)]) -> Self {
        Self::try_start(program, dir, options)
            .unwrap_or_else(|output| panic!("{} did not start:\n{output}", program.name))
    }

    /// As [`Server::start`], with variables in its environment.
    #[allow(dead_code)] // for the benches, which share this module
    pub fn start_in(program: &Program, dir: &Path, options: &[(&str, &str)], environment: &[(&str, &str)]) -> Self {
        Self::spawn(program, dir, (None, options), environment)
            .unwrap_or_else(|output| panic!("{} did not start:\n{output}", program.name))
    }

    /// As [`Server::start`], with a configuration file.
    #[allow(dead_code)] // for the tests, which the benches share this module with
    pub fn start_on_file(program: &Program, dir: &Path, file: &Path) -> Self {
        Self::try_start_on_file(program, dir, file)
            .unwrap_or_else(|output| panic!("{} did not start:\n{output}", program.name))
    }

    /// As [`Server::start_on_file`]; the error is what the server printed before it gave up.
    #[allow(dead_code)] // as above
    pub fn try_start_on_file(program: &Program, dir: &Path, file: &Path) -> Result<Self, String> {
        Self::spawn(program, dir, (Some(file), &[]), &[])
    }

    /// As [`Server::start`]; the error is what the server printed before it gave up.
    pub fn try_start(program: &Program, dir: &Path, options: &[(&str, &str)]) -> Result<Self, String> {
        Self::spawn(program, dir, (None, options), &[])
    }

    /// Somebody else may take a port before the server does: it is started on another one then.
    fn spawn(
        program: &Program,
        dir: &Path,
        (file, options): (Option<&Path>, &[(&str, &str)]),
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        let mut outcome = Self::spawn_once(program, dir, (file, options), environment);
        for _ in 0..5 {
            if !outcome.as_ref().is_err_and(|output| output.contains("Address already in use")) {
                break;
            }
            outcome = Self::spawn_once(program, dir, (file, options), environment);
        }
        outcome
    }

    fn spawn_once(
        program: &Program,
        dir: &Path,
        (file, options): (Option<&Path>, &[(&str, &str)]),
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        let port = free_port();
        let mut command = Self::command(program, dir, port, file, options);
        let mut child = command.envs(environment.iter().copied()).spawn().map_err(|e| e.to_string())?;
        let output = Arc::new(Mutex::new(String::new()));
        let is_ready = Self::follow(&mut child, &output);
        let mut server = Self { child, port, output };
        // Both followers let go of the channel when the server ends.
        match is_ready.recv_timeout(PATIENCE) {
            Ok(()) => Ok(server),
            Err(reason) => {
                server.kill();
                Err(format!("{}\n({reason})", server.output()))
            }
        }
    }

    /// The command that starts `program` on `dir`, its output piped.
    pub fn command(program: &Program, dir: &Path, port: u16, file: Option<&Path>, options: &[(&str, &str)]) -> Command {
        let mut command = Command::new(&program.path);
        command.args(file).current_dir(dir).arg("--port").arg(port.to_string()).arg("--dir").arg(dir);
        command.args(["--bind", "127.0.0.1", "--save", "", "--enable-debug-command", "yes"]);
        for (directive, value) in options {
            command.arg(format!("--{directive}")).arg(value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Collects what a server prints into `output`. The receiver hears when it takes connections, and is cut off when it
    /// ends before.
    pub fn follow(child: &mut Child, output: &Arc<Mutex<String>>) -> mpsc::Receiver<()> {
        let (ready, is_ready) = mpsc::channel();
        follow(child.stdout.take().unwrap(), output.clone(), ready.clone());
        follow(child.stderr.take().unwrap(), output.clone(), ready);
        is_ready
    }

    pub fn client(&self) -> Client {
        Client::connect(self.port).unwrap_or_else(|error| panic!("port {}: {error}\n{}", self.port, self.output()))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    #[allow(dead_code)] // for the benches, which share this module
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time that all its threads have used.
    #[allow(dead_code)] // as above
    pub fn cpu_seconds(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let nanoseconds = tasks.flatten().filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        nanoseconds.sum::<u64>() as f64 / 1e9
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// `kill -9`; it is gone when this returns.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for the end that the server makes itself.
    pub fn terminate(self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.wait()
    }

    /// Waits for the end that the server makes itself.
    pub fn wait(mut self) -> std::process::ExitStatus {
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the server did not end within a minute:\n{}", self.output());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn follow(stream: impl Read + Send + 'static, output: Arc<Mutex<String>>, ready: mpsc::Sender<()>) {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let (mut line, mut ready) = (Vec::new(), Some(ready));
        while stream.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            let is_ready = text.contains("Ready to accept connections");
            output.lock().unwrap().push_str(&text);
            line.clear();
            if is_ready && let Some(ready) = ready.take() {
                let _ = ready.send(());
            }
        }
    });
}
