//! What a command failed with: a message that a person can act on, and the exit code that a script can.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

/// Why a command failed, as its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// 1: anything that is not below.
    Failed,
    /// 2: the command line or an input file is wrong.
    Usage,
    /// 3: this machine has not what the command needs.
    Unsupported,
    /// 4: the calibration is missing, or of another board, power mode or release.
    Calibration,
    /// 5: the user may not do this.
    Permission,
    /// 6: something is in the way that goes by itself; the same command later does it.
    NotNow,
    /// The status of a command that was run, as a shell gives it: 126 not executable, 127 not found, 128 and a signal.
    Command(u8),
}

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    reason: Reason,
    message: String,
}

impl Failure {
    /// Fails for a reason, with a message that names file, value and remedy.
    pub fn new(reason: Reason, message: impl fmt::Display) -> Self {
        Self { reason, message: message.to_string() }
    }

    /// Something that is nobody's fault: exit code 1.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::new(Reason::Failed, message)
    }

    /// The same as an error of another kind, with its own reason where it was a failure all along.
    pub fn of(error: impl std::error::Error + 'static) -> Self {
        let error: Box<dyn std::error::Error> = Box::new(error);
        error.downcast::<Self>().map_or_else(Self::failed, |failure| *failure)
    }

    /// A wrong command line or input: exit code 2.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Reason::Usage, message)
    }

    /// An input or output error on a file; missing permission is exit code 5.
    pub fn file(path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let reason = match error.kind() {
            ErrorKind::IsADirectory => {
                return Self::usage(format_args!("{} is a directory; name a file in it", path.display()));
            }
            ErrorKind::PermissionDenied => Reason::Permission,
            _ => Reason::Failed,
        };
        Self::new(reason, format_args!("{}: {error}", path.display()))
    }

    /// The same on a file that was to be made, which is not there because its folder is not.
    pub fn new_file(path: &Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                Self::failed(format_args!("{}: {error}: make its folder first", path.display()))
            }
            _ => Self::file(path, error),
        }
    }

    /// The reason.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The exit code of FORMATS: 1 failure, 2 usage, 3 unsupported, 4 calibration, 5 permission, 6 not now.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.reason {
            Reason::Failed => 1,
            Reason::Usage => 2,
            Reason::Unsupported => 3,
            Reason::Calibration => 4,
            Reason::Permission => 5,
            Reason::NotNow => 6,
            Reason::Command(status) => status,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<jetpace_devfreq::Error> for Failure {
    fn from(error: jetpace_devfreq::Error) -> Self {
        let reason = match &error {
            e if e.is_permission() => Reason::Permission,
            e if e.is_unsupported() => Reason::Unsupported,
            _ => Reason::Failed,
        };
        match error.remedy() {
            Some(remedy) => Self::new(reason, format_args!("{error}; {remedy}")),
            None => Self::new(reason, error),
        }
    }
}
