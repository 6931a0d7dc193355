//! The texts that go over the wire when a command fails, each with its code word.

use std::borrow::Cow;

/// Why a command failed. `Display` is the text of the error reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("ERR unknown command '{name}', with args beginning with: {arguments}")]
    UnknownCommand { name: String, arguments: String },
    #[error("ERR unknown subcommand '{subcommand}'. Try {command} HELP.")]
    UnknownSubcommand { command: String, subcommand: String },
    #[error("ERR wrong number of arguments for '{0}' command")]
    WrongArity(String),
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    #[error("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")]
    NoLogToWaitFor,
    #[error("ERR value is out of range, must be positive")]
    NotPositive,
    #[error("ERR value is out of range")]
    OutOfRange,
    #[error("ERR value is not a valid float")]
    NotFloat,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR increment would produce NaN or Infinity")]
    NanOrInfinity,
    #[error("ERR resulting score is not a number (NaN)")]
    NanScore,
    #[error("ERR min or max is not a float")]
    MinMaxNotFloat,
    #[error("ERR min or max not valid string range item")]
    MinMaxNotLex,
    #[error("ERR hash value is not an integer")]
    HashNotInteger,
    #[error("ERR hash value is not a float")]
    HashNotFloat,
    #[error("ERR no such key")]
    NoSuchKey,
    #[error("ERR index out of range")]
    IndexOutOfRange,
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    StringTooLong,
    #[error("ERR invalid expire time in '{0}' command")]
    InvalidExpire(&'static str),
    #[error("ERR DB index is out of range")]
    DbOutOfRange,
    #[error("ERR source and destination objects are the same")]
    SameObject,
    #[error("ERR invalid cursor")]
    InvalidCursor,
    #[error("BUSYKEY Target key name already exists.")]
    BusyKey,
    #[error("ERR Bad data format")]
    BadPayload,
    #[error("ERR DUMP payload version or checksum are wrong")]
    PayloadVersion,
    #[error("ERR Invalid TTL value, must be >= 0")]
    InvalidTtl,
    #[error("IOERR error or timeout {0}")]
    Peer(&'static str),
    #[error("NOAUTH Authentication required.")]
    NoAuth,
    #[error("WRONGPASS invalid username-password pair or user is disabled.")]
    WrongPass,
    #[error("NOPROTO unsupported protocol version")]
    NoProto,
    #[error("EXECABORT Transaction discarded because of previous errors.")]
    ExecAbort,
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    OutOfMemory,
    #[error("EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.")]
    ExecOutOfMemory,
    #[error("ERR MULTI calls can not be nested")]
    NestedMulti,
    #[error("ERR EXEC without MULTI")]
    ExecWithoutMulti,
    #[error("ERR DISCARD without MULTI")]
    DiscardWithoutMulti,
    #[error("ERR WATCH inside MULTI is not allowed")]
    WatchInsideMulti,
    #[error(
        "ERR Can't execute '{0}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    )]
    SubscriberOnly(String),
    #[error("ERR Command not allowed inside a transaction")]
    NotInTransaction,
    #[error("LOADING Redis is loading the dataset in memory")]
    Loading,
    /// The log can't be written: the change is refused.
    #[error("ERR the server is shutting down, and nothing is written any more")]
    Leaving,
    #[error("EXECABORT Transaction discarded because of: {0}")]
    ExecRefused(String),
    #[error("MISCONF Errors writing to the AOF file: {0}")]
    LogFailed(String),
    #[error(
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that \
         may modify the data set are disabled, because this instance is configured to report errors during writes if \
         RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about \
         the RDB error."
    )]
    SaveFailed,
    #[error("NOSCRIPT No matching script. Please use EVAL.")]
    NoScript,
    #[error("ERR Unknown Redis command called from script")]
    ScriptUnknownCommand,
    #[error("ERR Wrong number of args calling Redis command from script")]
    ScriptWrongArity,
    #[error("ERR This Redis command is not allowed from script")]
    NotFromScript,
    #[error("ERR Write commands are not allowed from read-only scripts.")]
    ReadOnlyScript,
    #[error("OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'")]
    ScriptOutOfMemory,
    #[error(
        "MISCONF Redis is configured to persist data to AOF, but it's currently unable to persist to disk. Writable \
         scripts are blocked. Use 'no-writes' flag for read only scripts. AOF error: {0}"
    )]
    ScriptLogFailed(String),
    #[error(
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Writable \
         scripts are blocked. Use 'no-writes' flag for read only scripts."
    )]
    ScriptSaveFailed,
    #[error("NOTBUSY No scripts in execution right now.")]
    NotBusy,
    #[error(
        "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script \
         termination or kill the server in a hard way using the SHUTDOWN NOSAVE command."
    )]
    Unkillable,
    #[error("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.")]
    BusyScript,
    #[error("BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.")]
    BusyFunction,
    #[error("ERR Background save already in progress")]
    SaveInProgress,
    #[error(
        "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a \
         BGSAVE whenever possible."
    )]
    RewriteInProgress,
    #[error("ERR Background append only file rewriting already in progress")]
    RewriteAlreadyInProgress,
    #[error(
        "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a \
         local connection, otherwise you need to set this option in the configuration file, and then restart the \
         server."
    )]
    DebugNotAllowed,
    /// Anything else; the text begins with its code word.
    #[error("{0}")]
    Text(Cow<'static, str>),
}

impl CommandError {
    /// An error of the general kind: `ERR ` is put in front.
    pub fn err(text: impl std::fmt::Display) -> Self {
        CommandError::Text(format!("ERR {text}").into())
    }

    /// An error whose text has its code word.
    pub const fn text(text: &'static str) -> Self {
        CommandError::Text(Cow::Borrowed(text))
    }
}
