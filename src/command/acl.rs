//! ACL: the one user there is, `default`, who may do everything once he has said the password.

use super::args::{self, is};
use super::connection::help;
use super::introspection::{category_bit, visit_rows};
use super::spec::{
    ADMIN, CAT_ADMIN, CAT_DANGEROUS, CATEGORY_NAMES, Command, LOADING, NO_KEYS, NOSCRIPT, STALE, command, container,
};
use super::{CommandError, Context, Outcome, execute};

const ALWAYS: u32 = LOADING | STALE;
const ADMINS: u32 = ADMIN | NOSCRIPT | LOADING | STALE;
const CAT_ADMINS: u32 = CAT_ADMIN | CAT_DANGEROUS;
const USER: &[u8] = b"default";
/// Bits of a password that is made up, unless told otherwise, and at most.
const PASSWORD_BITS: i64 = 256;
const MOST_BITS: i64 = 4096;

pub const COMMANDS: &[Command] = &[container("acl", 0, "6.0.0", ACL)];

const ACL: &[Command] = &[
    command("whoami", 2, NOSCRIPT | ALWAYS, NO_KEYS, 0, "6.0.0", acl_whoami),
    command("users", 2, ADMINS, NO_KEYS, CAT_ADMINS, "6.0.0", acl_users),
    command("list", 2, ADMINS, NO_KEYS, CAT_ADMINS, "6.0.0", acl_list),
    command("getuser", 3, ADMINS, NO_KEYS, CAT_ADMINS, "6.0.0", acl_getuser),
    command("setuser", -3, ADMINS, NO_KEYS, CAT_ADMINS, "6.0.0", acl_setuser),
    command("deluser", -3, ADMINS, NO_KEYS, CAT_ADMINS, "6.0.0", acl_deluser),
    command("dryrun", -4, ADMINS, NO_KEYS, CAT_ADMINS, "7.0.0", acl_dryrun),
    command("genpass", -2, NOSCRIPT | ALWAYS, NO_KEYS, 0, "6.0.0", acl_genpass),
    command("cat", -2, NOSCRIPT | ALWAYS, NO_KEYS, 0, "6.0.0", acl_cat),
    command("log", -2, ADMINS, NO_KEYS, CAT_ADMINS, "6.0.0", acl_log),
    command("load", 2, ADMINS, NO_KEYS, CAT_ADMINS, "6.0.0", acl_file),
    command("save", 2, ADMINS, NO_KEYS, CAT_ADMINS, "6.0.0", acl_file),
    command("help", 2, ALWAYS, NO_KEYS, 0, "6.0.0", acl_help),
];

/// As Redis words it where a subcommand counts its own arguments.
pub(super) fn unknown_or_wrong(subcommand: &[u8], command: &str) -> CommandError {
    let subcommand = args::printable(subcommand);
    CommandError::err(format!(
        "unknown subcommand or wrong number of arguments for '{subcommand}'. Try {command} HELP."
    ))
}

fn acl_whoami(context: &mut Context<'_>) -> Outcome {
    Ok(context.reply.bulk(b"default"))
}

fn acl_users(context: &mut Context<'_>) -> Outcome {
    let reply = context.reply.array(1);
    context.reply.bulk(b"default");
    Ok(reply)
}

/// The one user as a rule. A password is not shown, not even as its hash.
fn acl_list(context: &mut Context<'_>) -> Outcome {
    let access = if context.engine.config.requirepass.is_empty() { "nopass" } else { "(requirepass)" };
    let reply = context.reply.array(1);
    context.reply.bulk(format!("user default on {access} sanitize-payload ~* &* +@all").as_bytes());
    Ok(reply)
}

fn acl_getuser(context: &mut Context<'_>) -> Outcome {
    if context.args[2] != USER {
        return Ok(context.reply.null());
    }
    let mut flags = vec!["on"];
    if context.engine.config.requirepass.is_empty() {
        flags.push("nopass");
    }
    flags.push("sanitize-payload");
    let reply = context.reply.map(6);
    context.reply.bulk(b"flags");
    context.reply.set(flags.len());
    for flag in flags {
        context.reply.bulk(flag.as_bytes());
    }
    context.reply.bulk(b"passwords");
    context.reply.array(0);
    for (name, value) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        context.reply.bulk(name.as_bytes());
        context.reply.bulk(value.as_bytes());
    }
    context.reply.bulk(b"selectors");
    context.reply.array(0);
    Ok(reply)
}

fn acl_setuser(_context: &mut Context<'_>) -> Outcome {
    Err(CommandError::err("this version has one user, 'default', whose password is the parameter requirepass"))
}

/// Of users that are not there none goes.
fn acl_deluser(context: &mut Context<'_>) -> Outcome {
    if context.args[2..].contains(&USER) {
        return Err(CommandError::err("The 'default' user cannot be removed"));
    }
    Ok(context.reply.int(0))
}

/// `DRYRUN user command [argument ...]`
fn acl_dryrun(context: &mut Context<'_>) -> Outcome {
    let (user, request) = (context.args[2], &context.args[3..]);
    if user != USER {
        return Err(CommandError::err(format!("User '{}' not found", args::printable(user))));
    }
    match execute::find(request) {
        Ok(_) => Ok(context.reply.ok()),
        Err(error @ CommandError::WrongArity(_)) => Err(error),
        Err(_) => Err(CommandError::err(format!("Command '{}' not found", args::printable(request[0])))),
    }
}

/// `GENPASS [bits]`: so many random bits of the system, as hexadecimal digits.
fn acl_genpass(context: &mut Context<'_>) -> Outcome {
    let bits = match context.args[2..] {
        [] => PASSWORD_BITS,
        [bits] => args::int(bits)?,
        _ => return Err(unknown_or_wrong(context.args[1], "ACL")),
    };
    if !(1..=MOST_BITS).contains(&bits) {
        return Err(CommandError::err(
            "ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
        ));
    }
    let mut secret = [0; MOST_BITS as usize / 8];
    rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| CommandError::err(format!("the system has no random bytes: {error}")))?;
    let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let count = (bits as usize).div_ceil(4); // at most MOST_BITS
    Ok(context.reply.bulk(&digits.as_bytes()[..count]))
}

fn acl_file(_context: &mut Context<'_>) -> Outcome {
    Err(CommandError::err(
        "This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER \
         command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store \
         users in the Redis configuration.",
    ))
}

/// All categories, or the commands of one.
fn acl_cat(context: &mut Context<'_>) -> Outcome {
    let names: Vec<String> = match context.args[2..] {
        [] => CATEGORY_NAMES.iter().map(|(_, name)| (*name).to_owned()).collect(),
        [category] => {
            let unknown = || CommandError::err(format!("Unknown category '{}'", args::printable(category)));
            let bit = category_bit(category).ok_or_else(unknown)?;
            let mut names = Vec::new();
            visit_rows(&mut |name, row| {
                if row.categories() & bit != 0 {
                    names.push(name.to_owned());
                }
            });
            names
        }
        _ => return Err(unknown_or_wrong(context.args[1], "ACL")),
    };
    let reply = context.reply.array(names.len());
    for name in names {
        context.reply.bulk(name.as_bytes());
    }
    Ok(reply)
}

/// `LOG [count | RESET]`: nothing is ever denied but a wrong password, which the server logs.
fn acl_log(context: &mut Context<'_>) -> Outcome {
    match context.args[2..] {
        [] => Ok(context.reply.array(0)),
        [option] if is(option, "RESET") => Ok(context.reply.ok()),
        [count] => {
            args::int(count)?;
            Ok(context.reply.array(0))
        }
        _ => Err(unknown_or_wrong(context.args[1], "ACL")),
    }
}

fn acl_help(context: &mut Context<'_>) -> Outcome {
    Ok(help(
        context,
        "ACL",
        &[
            ("CAT [<category>]", "List all commands that belong to <category>, or all command categories."),
            ("DELUSER <username> [<username> ...]", "Delete a list of users."),
            ("DRYRUN <username> <command> [<arg> ...]", "Return whether the user may execute the command."),
            ("GENPASS [<bits>]", "Generate a random password of 256 bits, or as many as are given."),
            ("GETUSER <username>", "Get the user's details."),
            ("LIST", "Show users details in config file format."),
            ("LOG [<count> | RESET]", "Show the ACL log entries."),
            ("USERS", "List all the registered usernames."),
            ("WHOAMI", "Return the current connection username."),
        ],
    ))
}

#[cfg(test)]
mod tests {
    use super::super::console::Console;

    #[test]
    fn there_is_one_user() {
        let mut console = Console::new();
        console.script(
            "acl whoami => default
             acl users => *1 default
             acl list => *1 user default on nopass sanitize-payload ~* &* +@all
             acl getuser nosuch => _
             acl cat nosuch => -ERR Unknown category 'nosuch'
             acl cat a b => -ERR unknown subcommand or wrong number of arguments for 'cat'. Try ACL HELP.
             acl log => *0
             acl log reset => +OK
             acl setuser alice on => -ERR this version has one user, 'default', whose password is the parameter requirepass
             acl deluser alice => :0
             acl dryrun default get => -ERR wrong number of arguments for 'get' command
             acl dryrun default get a => +OK
             config set requirepass geheim => +OK",
        );
        assert!(!console.run("acl list").contains("geheim"));
        assert!(!console.run("acl getuser default").contains("nopass"));
        assert!(console.run("acl cat string").contains(" incr "));
    }

    #[test]
    fn passwords_are_as_long_as_asked_for_and_not_twice_the_same() {
        let mut console = Console::new();
        assert_eq!(console.run("acl genpass").len(), 64);
        assert_eq!(console.run("acl genpass 5").len(), 2);
        assert_ne!(console.run("acl genpass 4096"), console.run("acl genpass 4096"));
    }
}
