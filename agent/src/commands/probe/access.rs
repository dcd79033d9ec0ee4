//! For whom it is looked: the caller, or another user that root names; and the lines that let that user have the clock.

use std::io::ErrorKind;
use std::path::Path;

use nix::unistd::{Uid, User, geteuid, initgroups, setgid, setuid};

use crate::failure::{Failure, Reason};
use crate::files::output::shell_word;
use crate::runtime::{remote, wire};

/// The group whose members may connect to the daemon.
const GROUP: &str = "jetpace";

/// The daemon's program, by which its unit calls it, and where the package puts that.
const AGENT: &str = "/usr/lib/jetpace/jetpace-agent";
const PACKAGED: &str = "/lib/systemd/system/jetpace.service";

/// The daemon as a service.
const UNIT: &str = include_str!("../../../../packaging/deb/jetpace.service");

/// The caller's name, or its number where it has none.
pub fn caller() -> String {
    name_of(geteuid())
}

fn name_of(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| format!("user {uid}"), |user| user.name)
}

fn named(name: &str) -> Result<User, Failure> {
    let user = match name.parse() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid)),
        Err(_) => User::from_name(name),
    };
    let user = user.map_err(|e| Failure::failed(format_args!("{name}: {e}")))?;
    user.ok_or_else(|| Failure::usage(format_args!("{name}: this machine has no such user")))
}

/// Goes on as another user, for good: what the kernel then answers is what it answers that user.
///
/// # Errors
/// Where there is no such user, or the caller is not root.
pub fn become_user(name: &str) -> Result<(), Failure> {
    let user = named(name)?;
    if user.uid == geteuid() {
        return Ok(());
    }
    let refused = |e: nix::Error| {
        Failure::new(Reason::Permission, format_args!("{name}: {e}; only root can look as another user: use sudo"))
    };
    let groups = std::ffi::CString::new(user.name).map_err(Failure::failed)?;
    initgroups(&groups, user.gid).and_then(|()| setgid(user.gid)).and_then(|()| setuid(user.uid)).map_err(refused)
}

/// Whether the daemon sets the clock for the caller, in words; `None` where none listens.
pub fn lease(socket: &Path) -> Option<String> {
    match remote::dial(socket) {
        Ok(_) => Some(format!("the daemon at {} sets the clock for {}", socket.display(), caller())),
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            Some(format!("a daemon listens at {}, but {} may not connect: {}", socket.display(), caller(), wire::JOIN))
        }
        Err(_) => None,
    }
}

/// Shell lines, for root, that let a user have the clock: the group, the daemon and its unit.
///
/// # Errors
/// Where there is no such user.
pub fn fix(user: Option<&str>) -> Result<String, Failure> {
    let user = match user {
        Some(name) => named(name)?.name,
        None => caller(),
    };
    let program = std::env::current_exe().map_err(|e| Failure::failed(format_args!("this program's own file: {e}")))?;
    let program = shell_word(&program.to_string_lossy());
    let user = shell_word(&user);
    Ok(format!(
        "# Lets {user} have the clock of this machine's GPU: run these lines as root.\n\
         set -e\n\
         getent group {GROUP} > /dev/null || groupadd -r {GROUP}\n\
         usermod -aG {GROUP} {user}\n\
         # Where the package is installed, its files stay as they are.\n\
         if ! [ -e {PACKAGED} ]; then\n\
         mkdir -p /usr/lib/jetpace\n\
         [ {program} -ef {AGENT} ] || install -m 0755 {program} {AGENT}\n\
         fi\n\
         if [ -d /run/systemd/system ]; then\n\
         [ -e {PACKAGED} ] || cat > /etc/systemd/system/jetpace.service <<'END'\n{UNIT}END\n\
         systemctl daemon-reload\n\
         systemctl enable jetpace.service\n\
         systemctl restart jetpace.service\n\
         else\n\
         # Without systemd: once now, and in whatever starts services here.\n\
         setsid {AGENT} serve --group {GROUP} < /dev/null > /dev/null 2>&1 &\n\
         fi\n\
         # A user is in a new group from the next login on, or in a shell of `newgrp {GROUP}`.\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_user_is_no_user() {
        assert_eq!(become_user("nobody-of-this-name").unwrap_err().reason(), Reason::Usage);
        assert!(fix(Some("nobody-of-this-name")).is_err());
    }
}
