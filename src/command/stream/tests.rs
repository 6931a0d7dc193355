//! Streams through the one path of commands.
