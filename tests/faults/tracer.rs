//! A server whose every system call on its own folder passes through our hands: counted, failed with an error of choice,
//! or made the last thing that it does. This is ptrace(2), as strace injects faults; the numbers of a case are those of
//! the calls on the folder, in the order in which they begin.

use crate::rig::{Client, Program, Server, free_port};
use nix::libc::{self, c_int};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is to happen at which call, counted from 0.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Calls are only counted.
    None,
    /// The process dies before call `at` among those that change something has done anything, or when it has done all.
    Kill { at: usize, is_done: bool },
    /// `count` calls from `at` on, among all calls of the kind, fail with `errno`.
    Fail { at: usize, count: usize, errno: c_int, kind: Kind },
}

/// Which calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Any,
    Open,
    Change,
    Rename,
    /// fsync and fdatasync of a folder.
    SyncFolder,
}

/// A call on the server's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub name: &'static str,
    /// As it is named below the folder; empty for the folder itself.
    pub file: String,
    is_change: bool,
    is_folder: bool,
}

impl std::fmt::Display for Call {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.name, if self.file.is_empty() { "." } else { &self.file })
    }
}

impl Call {
    pub fn is(&self, kind: Kind) -> bool {
        match kind {
            Kind::Any => true,
            Kind::Open => self.name == "open",
            Kind::Change => self.is_change,
            Kind::Rename => self.name == "rename",
            Kind::SyncFolder => self.is_folder && matches!(self.name, "fsync" | "fdatasync"),
        }
    }
}

/// How a process ended: its exit code, or the signal that killed it.
pub type End = Result<i32, Signal>;

/// What the tracer and its owner both know.
#[derive(Default)]
struct Shared {
    watch: Mutex<Watch>,
    end: Mutex<Option<End>>,
    has_ended: Condvar,
}

#[derive(Default)]
struct Watch {
    fault: Option<Fault>,
    calls: Vec<Call>,
    /// The calls that the fault has met.
    met: Vec<Call>,
}

/// A traced server; killed when dropped.
pub struct Traced {
    port: u16,
    pid: Pid,
    output: Arc<Mutex<String>>,
    is_ready: mpsc::Receiver<()>,
    shared: Arc<Shared>,
    tracer: Option<JoinHandle<()>>,
}

impl Traced {
    /// Starts `program` on `dir`, which must be an absolute path without links, with `fault` from its first call on.
    pub fn start(program: &Program, dir: &Path, file: Option<&Path>, options: &[(&str, &str)], fault: Fault) -> Self {
        let port = free_port();
        let server = Server::command(program, dir, port, file, options);
        // A shell that waits for a line, so that the tracer is there before the server.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read -r _; exec \"$@\"", "sh"]).arg(server.get_program()).args(server.get_args());
        command.current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = Arc::new(Mutex::new(String::new()));
        let shared = Arc::new(Shared::default());
        shared.watch.lock().unwrap().fault = Some(fault);
        let (sender, started) = mpsc::channel();
        let (for_output, for_shared, folder) = (Arc::clone(&output), Arc::clone(&shared), dir.to_owned());
        let tracer = std::thread::spawn(move || {
            let mut child = command.spawn().expect("a shell");
            let is_ready = Server::follow(&mut child, &for_output);
            sender.send((pid_of(&child), is_ready)).unwrap();
            Tracer { main: pid_of(&child), folder, shared: for_shared, under_way: HashMap::new() }.run(child);
        });
        let (pid, is_ready) = started.recv().unwrap();
        Self { port, pid, output, is_ready, shared, tracer: Some(tracer) }
    }

    /// Whether it takes connections within `patience`; false too where it ends before.
    pub fn is_ready_within(&self, patience: Duration) -> bool {
        self.is_ready.recv_timeout(patience).is_ok()
    }

    pub fn client(&self) -> std::io::Result<Client> {
        Client::connect(self.port)
    }

    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Counts anew, with `fault` from now on.
    pub fn arm(&self, fault: Fault) {
        *self.shared.watch.lock().unwrap() = Watch { fault: Some(fault), ..Watch::default() };
    }

    /// From now on nothing fails, and nothing is counted.
    pub fn cure(&self) {
        self.shared.watch.lock().unwrap().fault = None;
    }

    /// The calls since the last [`Traced::arm`].
    pub fn calls(&self) -> Vec<Call> {
        self.shared.watch.lock().unwrap().calls.clone()
    }

    /// Those that the fault has met.
    pub fn met(&self) -> Vec<Call> {
        self.shared.watch.lock().unwrap().met.clone()
    }

    /// How it ended, if it does within `patience`.
    pub fn end_within(&self, patience: Duration) -> Option<End> {
        let end = self.shared.end.lock().unwrap();
        *self.shared.has_ended.wait_timeout_while(end, patience, |end| end.is_none()).unwrap().0
    }

    /// SIGKILL or SIGTERM; nothing if it has ended.
    pub fn signal(&self, signal: Signal) {
        let end = self.shared.end.lock().unwrap();
        if end.is_none() {
            let _ = kill(self.pid, signal);
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.tracer.take().unwrap().join();
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// What is to happen when a call ends.
#[derive(Clone, Copy)]
enum AtExit {
    Fail(c_int),
    Die,
}

/// The thread that alone may ask ptrace about the process.
struct Tracer {
    main: Pid,
    folder: PathBuf,
    shared: Arc<Shared>,
    /// Threads within a call that something is to happen to.
    under_way: HashMap<Pid, AtExit>,
}

impl Tracer {
    fn run(mut self, mut child: Child) {
        let follow = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(self.main, follow).expect("ptrace is allowed");
        ptrace::interrupt(self.main).unwrap();
        let mut is_waiting = true;
        // Children of this thread only: other tests have theirs.
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
            let (thread, signal) = match status {
                WaitStatus::PtraceSyscall(thread) => {
                    self.at_call(thread);
                    (thread, None)
                }
                WaitStatus::PtraceEvent(thread, _, _) => {
                    if std::mem::take(&mut is_waiting) {
                        child.stdin.take().unwrap().write_all(b"\n").unwrap();
                    }
                    (thread, None)
                }
                WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
                WaitStatus::Exited(thread, code) => {
                    self.has_ended(thread, Ok(code));
                    continue;
                }
                WaitStatus::Signaled(thread, signal, _) => {
                    self.has_ended(thread, Err(signal));
                    continue;
                }
                _ => continue,
            };
            // A thread that was killed meanwhile is gone, and will be reported.
            let _ = ptrace::syscall(thread, signal);
        }
    }

    fn has_ended(&self, thread: Pid, end: End) {
        if thread == self.main {
            *self.shared.end.lock().unwrap() = Some(end);
            self.shared.has_ended.notify_all();
        }
    }

    fn at_call(&mut self, thread: Pid) {
        let Ok(info) = ptrace::syscall_info(thread) else { return };
        if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
            self.enter(thread);
        } else if let Some(what) = self.under_way.remove(&thread) {
            match what {
                AtExit::Die => drop(kill(self.main, Signal::SIGKILL)),
                AtExit::Fail(errno) => {
                    let Ok(mut registers) = ptrace::getregs(thread) else { return };
                    registers.rax = i64::from(-errno).cast_unsigned();
                    let _ = ptrace::setregs(thread, registers);
                }
            }
        }
    }

    fn enter(&mut self, thread: Pid) {
        let mut watch = self.shared.watch.lock().unwrap();
        let Some(fault) = watch.fault else { return };
        let Ok(mut registers) = ptrace::getregs(thread) else { return };
        let Some(call) = describe(thread, &registers, &self.folder) else { return };
        let kind = match fault {
            Fault::Fail { kind, .. } => kind,
            Fault::Kill { .. } => Kind::Change,
            Fault::None => Kind::Any,
        };
        let number = watch.calls.iter().filter(|call| call.is(kind)).count();
        watch.calls.push(call.clone());
        if !call.is(kind) {
            return;
        }
        match fault {
            Fault::Kill { at, is_done } if at == number => {
                watch.met.push(call);
                if is_done {
                    self.under_way.insert(thread, AtExit::Die);
                } else {
                    let _ = kill(self.main, Signal::SIGKILL);
                }
            }
            Fault::Fail { at, count, errno, .. } if number >= at && number - at < count => {
                watch.met.push(call);
                // A number that no call has: the kernel does nothing, and the result is ours to say.
                registers.orig_rax = u64::MAX;
                if ptrace::setregs(thread, registers).is_ok() {
                    self.under_way.insert(thread, AtExit::Fail(errno));
                }
            }
            _ => {}
        }
    }
}

/// Where a call names its file.
enum Named {
    /// A descriptor, in the first argument.
    Descriptor,
    /// A path, in the argument of this number; it is relative to the working directory, or absolute.
    Path(usize),
}

/// The calls by which files are read and changed: number, name, where the file is named, whether it is a change.
const CALLS: &[(i64, &str, Named, bool)] = &[
    (libc::SYS_read, "read", Named::Descriptor, false),
    (libc::SYS_pread64, "pread", Named::Descriptor, false),
    (libc::SYS_flock, "flock", Named::Descriptor, false),
    (libc::SYS_write, "write", Named::Descriptor, true),
    (libc::SYS_pwrite64, "pwrite", Named::Descriptor, true),
    (libc::SYS_writev, "writev", Named::Descriptor, true),
    (libc::SYS_pwritev, "pwritev", Named::Descriptor, true),
    (libc::SYS_fsync, "fsync", Named::Descriptor, true),
    (libc::SYS_fdatasync, "fdatasync", Named::Descriptor, true),
    (libc::SYS_sync_file_range, "sync_file_range", Named::Descriptor, true),
    (libc::SYS_ftruncate, "ftruncate", Named::Descriptor, true),
    (libc::SYS_fallocate, "fallocate", Named::Descriptor, true),
    (libc::SYS_fchmod, "fchmod", Named::Descriptor, true),
    (libc::SYS_fchown, "fchown", Named::Descriptor, true),
    (libc::SYS_open, "open", Named::Path(0), false),
    (libc::SYS_openat, "open", Named::Path(1), false),
    (libc::SYS_truncate, "truncate", Named::Path(0), true),
    (libc::SYS_rename, "rename", Named::Path(0), true),
    (libc::SYS_renameat, "rename", Named::Path(1), true),
    (libc::SYS_renameat2, "rename", Named::Path(1), true),
    (libc::SYS_link, "link", Named::Path(0), true),
    (libc::SYS_linkat, "link", Named::Path(1), true),
    (libc::SYS_unlink, "unlink", Named::Path(0), true),
    (libc::SYS_unlinkat, "unlink", Named::Path(1), true),
    (libc::SYS_mkdir, "mkdir", Named::Path(0), true),
    (libc::SYS_mkdirat, "mkdir", Named::Path(1), true),
    (libc::SYS_rmdir, "rmdir", Named::Path(0), true),
    (libc::SYS_chmod, "chmod", Named::Path(0), true),
    (libc::SYS_fchmodat, "chmod", Named::Path(1), true),
    (libc::SYS_chown, "chown", Named::Path(0), true),
    (libc::SYS_fchownat, "chown", Named::Path(1), true),
];

/// The call that a thread is about to make, if it concerns the folder.
fn describe(thread: Pid, registers: &libc::user_regs_struct, folder: &Path) -> Option<Call> {
    let number = registers.orig_rax.cast_signed();
    let (_, name, named, is_change) = CALLS.iter().find(|(row, ..)| *row == number)?;
    let arguments = [registers.rdi, registers.rsi, registers.rdx];
    let path = match named {
        Named::Descriptor => std::fs::read_link(format!("/proc/{thread}/fd/{}", arguments[0])).ok()?,
        Named::Path(argument) => folder.join(text_at(thread, arguments[*argument])?),
    };
    let file = path.strip_prefix(folder).ok()?.to_string_lossy().into_owned();
    let mut is_change = *is_change;
    if let ("open", Named::Path(argument)) = (*name, named) {
        let flags = arguments[argument + 1].cast_signed();
        is_change = flags & i64::from(libc::O_CREAT | libc::O_TRUNC) != 0;
    }
    Some(Call { name, file, is_change, is_folder: path.is_dir() })
}

/// The text at an address of the process, up to its NUL.
fn text_at(thread: Pid, address: u64) -> Option<PathBuf> {
    let memory = std::fs::File::open(format!("/proc/{thread}/mem")).ok()?;
    let mut bytes = vec![0; 4096];
    // The page behind may not be there.
    let room = 4096 - usize::try_from(address % 4096).ok()?;
    let first = memory.read_at(&mut bytes[..room], address).ok()?;
    if !bytes[..first].contains(&0) {
        memory.read_at(&mut bytes[room..], address + room as u64).ok()?;
    }
    let len = bytes.iter().position(|&byte| byte == 0)?;
    Some(String::from_utf8(bytes[..len].to_vec()).ok()?.into())
}
