//! From the command line to a server that is ready, and to its end.

use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::allocator;
use crate::disk::holders::{Handles, Holder, holder_of};
use crate::disk::{self, Disk, RealDisk, real};
use crate::engine::Engine;
use crate::engine::clock::Clock;
use crate::engine::info::REDIS_VERSION;
use crate::engine::jobs::{Blocking, BlockingWork};
use crate::engine::params::Config;
use crate::engine::params::args::{Invocation, Request, parse};
use crate::engine::params::table;
use crate::persist::append::Append;
use crate::persist::load;
use crate::persist::save;

use super::listen::{self, accept_forever};
use super::seat::Place;
use super::shared::Shared;
use super::{
    archive, backups, busy, config_file, history, housekeep, loading, log, peer, sealed_set, seat, shutdown, tick,
    turn, waiting,
};

/// Tells the process that a daemon's parent has started.
const DAEMON_MARK: &str = "IRONKEEP_DAEMON";

const USAGE: &str = "\
Usage: ironkeep [/path/to/redis.conf] [options] [-]
       ironkeep - (read config from stdin)
       ironkeep -v or --version
       ironkeep -h or --help

Examples:
       ironkeep (run the server with default conf)
       echo 'maxclients 128' | ironkeep -
       ironkeep /etc/redis/6379.conf
       ironkeep --port 7777
       ironkeep --appendonly yes --dir /var/lib/ironkeep
";

/// Runs what the command line asks for.
pub fn run(arguments: &[Vec<u8>]) -> ExitCode {
    let code = run_request(arguments);
    log::drain();
    code
}

fn run_request(arguments: &[Vec<u8>]) -> ExitCode {
    let outcome = match parse(arguments) {
        Request::Version => say(&version_line()),
        Request::Help => say(USAGE),
        Request::CheckSystem => say("[no check is built in]\n"),
        Request::TestMemory => Err(anyhow::anyhow!("--test-memory is not built in: use memtester")),
        Request::Run(mut invocation) => {
            invocation.directives.splice(0..0, from_environment());
            serve(&invocation)
        }
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let text = sentence(&error);
            if log::is_open() {
                log::warning(text);
            } else {
                let _ = writeln!(io::stderr(), "ironkeep: {text}"); // nobody is left to tell if that fails
            }
            ExitCode::FAILURE
        }
    }
}

/// Directives of backups as the environment has them, `REDIS_BACKUP_REPO` and so on. The command line comes behind them.
fn from_environment() -> Vec<Vec<Vec<u8>>> {
    let value = |name: &str| std::env::var_os(format!("REDIS_{}", name.to_ascii_uppercase().replace('-', "_")));
    let rows = table::rows().map(|row| row.name).filter(|name| name.starts_with("backup-"));
    rows.filter_map(|name| Some(vec![name.as_bytes().to_vec(), value(name)?.into_vec()])).collect()
}

/// The chain of causes, without those whose words are already in what stands before.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| match cause.to_string() {
        words if text.is_empty() => words,
        words if text.contains(&words) => text,
        words => format!("{text}: {words}"),
    })
}

fn say(text: &str) -> anyhow::Result<u8> {
    io::stdout().write_all(text.as_bytes()).context("standard output")?;
    Ok(0)
}

fn version_line() -> String {
    let build = option_env!("IRONKEEP_BUILD").unwrap_or("0");
    let version = env!("CARGO_PKG_VERSION");
    format!("Ironkeep server v={version} sha=00000000:0 malloc=jemalloc bits=64 build={build}\n")
}

fn serve(invocation: &Invocation) -> anyhow::Result<u8> {
    let stdin_text = std::cell::OnceCell::new();
    let mut config = config_file::read(invocation, &stdin_text)?;
    if config.daemonize && std::env::var_os(DAEMON_MARK).is_none() {
        return spawn_daemon(stdin_text.get().map_or(&[], |text: &Vec<u8>| text.as_slice()));
    }
    if config.daemonize {
        // Fails only for a process that leads a session already, which is what is wanted.
        let _ = rustix::process::setsid();
    }
    if !config.config_file.is_empty() {
        // The working directory is about to change.
        config.config_file = std::path::absolute(&config.config_file)?.to_string_lossy().into_owned();
    }
    std::env::set_current_dir(&config.dir).with_context(|| format!("Can't chdir to '{}'", config.dir))?;
    config.dir = std::env::current_dir().context("the working directory")?.to_string_lossy().into_owned();
    let disk = disk::reaching(Arc::new(RealDisk), Path::new(&config.backup_repo))
        .with_context(|| format!("backup-repo {}", config.backup_repo))?;
    log::open(disk.as_ref(), &config.logfile, config.loglevel)
        .with_context(|| format!("Can't open the log file {}", config.logfile))?;
    announce(&config, invocation);
    let _lock = disk.lock_dir(Path::new(&config.dir)).with_context(|| {
        format!(
            "{}: the directory is held by another server or tool; two in one directory would destroy it",
            config.dir
        )
    })?;
    refuse_beside_another(disk.as_ref(), &config)?;
    allocator::purge_in_background(); // from here on the process does not fork
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(1024).build()?;
    let leave = |outcome: anyhow::Result<u8>| {
        log::drain();
        std::process::exit(outcome.map_or(1, i32::from))
    };
    seat::run(runtime, |place| run_server(config, disk, place), leave)?
}

/// Stops the start where a server that takes no lock, as real ones, is writing the log of this directory.
fn refuse_beside_another(disk: &dyn Disk, config: &Config) -> anyhow::Result<()> {
    let dir = Path::new(&config.dir);
    let folder = dir.join(&config.appenddirname);
    let names = disk.list(&folder).unwrap_or_default();
    let files = names.into_iter().map(|name| folder.join(name)).chain([dir.join(&config.appendfilename)]);
    if let Some(Holder { pid, name, path }) = holder_of(disk, files, Handles::ForWriting) {
        anyhow::bail!(
            "{}: process {pid} ({}) is writing this log: stop it first, as two servers would destroy it",
            path.display(),
            String::from_utf8_lossy(&name)
        );
    }
    Ok(())
}

/// Starts this program again, as a daemon that no terminal holds, with the same words.
fn spawn_daemon(stdin_text: &[u8]) -> anyhow::Result<u8> {
    use std::process::{Command, Stdio};
    let program = std::env::current_exe().context("the path of this program")?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(DAEMON_MARK, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting the daemon")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(stdin_text).context("handing the configuration to the daemon")?;
    }
    Ok(0)
}

fn announce(config: &Config, invocation: &Invocation) {
    log::notice("oO0OoO0OoO0Oo Ironkeep is starting oO0OoO0OoO0Oo");
    log::notice(format!(
        "Ironkeep version={}, compatible with Redis {REDIS_VERSION}, bits=64, pid={}, just started",
        env!("CARGO_PKG_VERSION"),
        std::process::id()
    ));
    if invocation.config_file.is_none() && !invocation.stdin && invocation.directives.is_empty() {
        log::warning("Warning: no config file specified, using the default config.");
    } else {
        log::notice("Configuration loaded");
    }
    for warning in config.warnings() {
        log::warning(warning);
    }
    log::raw(&format!(
        "\n     Ironkeep {}\n     Port: {}\n     PID: {}\n",
        env!("CARGO_PKG_VERSION"),
        config.port,
        std::process::id()
    ));
}

fn write_pidfile(disk: &dyn Disk, config: &Config) -> Option<PathBuf> {
    let name = match (config.pidfile.as_str(), config.daemonize) {
        ("", false) => return None,
        ("", true) => "/var/run/redis.pid",
        (name, _) => name,
    };
    let path = Path::new(&config.dir).join(name);
    let written =
        disk.open(&path, crate::disk::Mode::Truncate).and_then(|mut file| writeln!(file, "{}", std::process::id()));
    match written {
        Ok(()) => Some(path),
        Err(error) => {
            log::warning(format!("Failed to write PID file {}: {error}", path.display()));
            None
        }
    }
}

async fn run_server(mut config: Config, disk: Arc<dyn Disk>, place: Place) -> anyhow::Result<u8> {
    listen::make_room_for_clients(&mut config);
    listen::warn_of_short_backlog(&config, disk.as_ref());
    let listeners = listen::open(&config)?;
    log::notice("Server initialized");
    let pidfile = write_pidfile(disk.as_ref(), &config);
    let outcome = serve_clients(config, disk, listeners, place).await;
    if let Some(pidfile) = pidfile {
        let _ = real::RealDisk.remove(&pidfile); // a pid file that is gone already is no error
    }
    outcome
}

fn announce_ready(port: u16, unixsocket: &str) {
    if port != 0 {
        log::notice(format!("Ready to accept connections tcp on port {port}"));
    }
    if !unixsocket.is_empty() {
        log::notice("Ready to accept connections unix");
    }
}

async fn serve_clients(
    config: Config,
    disk: Arc<dyn Disk>,
    listeners: Vec<listen::Listener>,
    place: Place,
) -> anyhow::Result<u8> {
    let (sigint, sigterm) = (config.shutdown_on_sigint, config.shutdown_on_sigterm);
    let (unixsocket, port) = (config.unixsocket.clone(), config.port);
    let log_dir = loading::idle_log_dir(&config, &disk);
    let engine = Engine::new(config, Clock::system(), fastrand::Rng::new());
    let shared = Shared::new(engine, Append::off(Instant::now()), log_dir, disk, place);
    set_blocking_work(&shared);
    let mut load = pin!(loading::load(&shared));
    seat::spawn(turn::take_turns(Rc::clone(&shared)));
    seat::spawn(tick::tick_forever(Rc::clone(&shared)));
    let doors = listeners.iter().map(listen::Door::of).collect::<Result<_, _>>()?;
    busy::listen_while_busy(&shared, doors);
    for listener in listeners {
        seat::spawn(accept_forever(Rc::clone(&shared), listener));
    }
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut hangups = signal(SignalKind::hangup())?;
    let mut is_loaded = false;
    loop {
        tokio::select! {
            outcome = &mut load, if !is_loaded => {
                if shared.is_stopping.get() {
                    log::notice("Ironkeep is now ready to exit, bye bye...");
                    break;
                }
                outcome?;
                is_loaded = true;
                seat::spawn(housekeep::expire_forever(Rc::clone(&shared)));
                seat::spawn(housekeep::make_room_forever(Rc::clone(&shared)));
                seat::spawn(waiting::time_out_forever(Rc::clone(&shared)));
                seat::spawn(backups::make_forever(Rc::clone(&shared)));
                seat::spawn(archive::archive_forever(Rc::clone(&shared)));
                seat::spawn(sealed_set::expire_forever(Rc::clone(&shared)));
                announce_ready(port, &unixsocket);
            }
            () = shared.stop.notified() => break,
            _ = hangups.recv() => {}
            _ = terminations.recv() => {
                log::notice("Received SIGTERM scheduling shutdown...");
                shutdown::begin(&shared, shutdown::of_signal(sigterm));
            }
            _ = interrupts.recv() => {
                if shared.is_stopping.get() {
                    log::warning("You insist... exiting now.");
                    return Ok(1);
                }
                log::notice("Received SIGINT scheduling shutdown...");
                shutdown::begin(&shared, shutdown::of_signal(sigint));
            }
        }
    }
    if !unixsocket.is_empty() {
        let _ = real::remove_socket(Path::new(&unixsocket)); // the next start would remove it too
    }
    Ok(shared.exit.get().unwrap_or(0))
}

/// Gives the engine the disk, for the commands that answer when the work is done.
pub(super) fn set_blocking_work(shared: &Rc<Shared>) {
    let weak = Rc::downgrade(shared);
    let work = BlockingWork::new(move |engine, work| {
        let shared = weak.upgrade().ok_or("the server is ending")?;
        let outcome = do_blocking(&shared, engine, &work);
        if let Err(error) = &outcome {
            log::warning(format!("{work:?}: {error:#}"));
        }
        outcome.map_err(|error| format!("{error:#}"))
    });
    let engine = &mut *shared.engine.borrow_mut();
    engine.blocking_work = work;
    engine.asking = peer::ask;
}

fn do_blocking(shared: &Rc<Shared>, engine: &mut Engine, work: &Blocking) -> anyhow::Result<()> {
    let needs_data = *work != Blocking::RewriteConfig;
    anyhow::ensure!(!(needs_data && engine.persistence.is_loading), "a load is under way");
    match work {
        Blocking::RewriteConfig => config_file::rewrite(&engine.config, &shared.disk)?,
        Blocking::ReloadFromRdb { save_first } => {
            if *save_first {
                let kept = save::save_now(engine, &shared.disk)?;
                history::tell_of_kept_dump(engine, kept);
            }
            engine.clear_data();
            load::load_rdb(engine, &shared.disk)?;
            log::notice("DB reloaded by DEBUG RELOAD");
        }
        Blocking::ReloadFromLog => {
            let mut append = shared.append.borrow_mut();
            anyhow::ensure!(append.is_on() && !append.is_held(), "the log is off or changing files");
            anyhow::ensure!(engine.journal.is_between_operations(), "not inside a transaction that has changed data");
            anyhow::ensure!(engine.persistence.rewrite.is_none(), "a rewrite is under way");
            let policy = engine.config.appendfsync;
            append.flush(&mut engine.journal, policy).map_err(|fault| anyhow::anyhow!(fault.reason().to_owned()))?;
            engine.clear_data();
            load::load_log(engine, &shared.disk)?;
            log::notice("Append Only File loaded by DEBUG LOADAOF");
        }
    }
    Ok(())
}
