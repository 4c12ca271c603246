//! The user's Python: pip brings packages, and scripts prepare models.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::error::{FetchError, io_error};

/// A single run of pip or of a script may take this long.
const MAX_RUN: Duration = Duration::from_secs(20 * 60);
/// Prints what must be known of a Python: its version, whether it has pip, and a tag that binary packages depend on.
const PROBE: &str = "import importlib.util as u, sys, sysconfig
has_pip = int(u.find_spec('pip') is not None)
print(*sys.version_info[:2], has_pip, sys.implementation.cache_tag, sysconfig.get_platform())";

/// A Python 3.9 or newer that has pip.
pub struct Python {
    program: OsString,
    tag: String,
}

impl Python {
    /// Asks the program what it is.
    ///
    /// # Errors
    ///
    /// Fails where the program cannot be run, or is no Python that is new enough.
    pub fn find(program: &OsStr) -> Result<Self, FetchError> {
        let name = program.to_string_lossy().into_owned();
        let broken = |reason: String| FetchError::NoPython {
            python: name.clone(),
            reason,
        };
        let output = Command::new(program)
            .args(["-c", PROBE])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => broken("not found".to_owned()),
                _ => broken(error.to_string()),
            })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [major, minor, pip, tag @ ..] = fields.as_slice() else {
            return Err(broken(last_line(&String::from_utf8_lossy(&output.stderr))));
        };
        let version: (u32, u32) = (major.parse().unwrap_or(0), minor.parse().unwrap_or(0));
        if version < (3, 9) {
            return Err(broken(format!("it is Python {major}.{minor}")));
        }
        if *pip != "1" {
            return Err(FetchError::NoPip { python: name });
        }
        Ok(Self {
            program: program.to_owned(),
            tag: tag.join(" "),
        })
    }

    /// What compiled Python packages depend on.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Lets pip download one archive into a folder, and says which file that is.
    ///
    /// # Errors
    ///
    /// Fails where pip cannot be run, or fails; the error has its last words.
    pub fn download(&self, package: &str, options: &[&str], folder: &Path) -> Result<PathBuf, FetchError> {
        let mut pip = self.pip("download");
        pip.args(options).arg("--dest").arg(folder).arg(package);
        self.run_pip(pip, package)?;
        only_file(folder)?.ok_or_else(|| FetchError::Pip {
            package: package.to_owned(),
            reason: "it left no single file".to_owned(),
        })
    }

    /// Lets pip download a source archive into a folder. pip asks such an archive's own script for its name and version:
    /// the digest is given to pip, so that no other archive's script can run.
    ///
    /// # Errors
    ///
    /// Fails where pip cannot be run, or fails; the error has its last words.
    pub fn download_source(&self, package: &str, sha256: &str, folder: &Path) -> Result<PathBuf, FetchError> {
        let wanted = folder.with_extension("txt");
        let parent = wanted.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(io_error("create", parent))?;
        fs::write(&wanted, format!("{package} --hash=sha256:{sha256}\n")).map_err(io_error("write", &wanted))?;
        let mut pip = self.pip("download");
        pip.args(["--no-binary=:all:", "--require-hashes", "--dest"])
            .arg(folder)
            .arg("--requirement")
            .arg(&wanted);
        self.run_pip(pip, package)?;
        only_file(folder)?.ok_or_else(|| FetchError::Pip {
            package: package.to_owned(),
            reason: "it left no single file".to_owned(),
        })
    }

    /// Lets pip install packages into a folder of their own, without what they ask for. The requirements name the digests of
    /// the files: what these packages hold is run.
    ///
    /// # Errors
    ///
    /// Fails where pip cannot be run, or fails; the error has its last words.
    pub fn install(&self, requirements: &str, folder: &Path) -> Result<(), FetchError> {
        let wanted = folder.with_extension("txt");
        fs::write(&wanted, requirements).map_err(io_error("write", &wanted))?;
        let mut pip = self.pip("install");
        pip.args(["--only-binary=:all:", "--no-compile", "--require-hashes", "--target"])
            .arg(folder)
            .arg("--requirement")
            .arg(&wanted);
        self.run_pip(pip, "the packages that prepare models")
    }

    /// Runs a script that finds its modules in `paths`; the error is its last line.
    ///
    /// # Errors
    ///
    /// The outer one where Python cannot be run at all.
    pub fn script(&self, script: &Path, arguments: &[&OsStr], paths: &OsStr) -> Result<Result<(), String>, FetchError> {
        let mut python = Command::new(&self.program);
        python
            .args(["-B", "-s"])
            .arg(script)
            .args(arguments)
            .env("PYTHONPATH", paths);
        let (status, log) = self.run(python)?;
        Ok(if status.success() { Ok(()) } else { Err(last_line(&log)) })
    }

    fn pip(&self, command: &str) -> Command {
        let mut pip = Command::new(&self.program);
        pip.args([
            "-m",
            "pip",
            command,
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
        ]);
        pip.args(["--retries", "2", "--timeout", "20", "--no-deps"]);
        // Settings of a developer's pip that have no bearing on a private folder, and would stop it.
        pip.env("PIP_REQUIRE_VIRTUALENV", "0").env("PIP_USER", "0");
        pip
    }

    fn run_pip(&self, pip: Command, package: &str) -> Result<(), FetchError> {
        let (status, log) = self.run(pip)?;
        if status.success() {
            return Ok(());
        }
        tracing::debug!(package, log, "pip failed");
        Err(FetchError::Pip {
            package: package.to_owned(),
            reason: last_line(&log),
        })
    }

    /// Runs a command to its end, or until it has taken too long, and gives all that it printed.
    fn run(&self, mut command: Command) -> Result<(ExitStatus, String), FetchError> {
        let program = Path::new(&self.program);
        let failed = || io_error("run", program);
        let (mut output, input) = io::pipe().map_err(failed())?;
        let errors = input.try_clone().map_err(failed())?;
        command.stdin(Stdio::null()).stdout(input).stderr(errors);
        let mut child = command.spawn().map_err(failed())?;
        drop(command); // it holds the pipe's writing ends, and the reader waits for the last of them to close
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut log = Vec::new();
            let read = output.read_to_end(&mut log);
            sender.send(read.map(|_| log)) // nobody listens any more when the time is up
        });
        let log = match receiver.recv_timeout(MAX_RUN) {
            Ok(log) => log.map_err(failed())?,
            Err(_) => {
                child
                    .kill()
                    .and_then(|()| child.wait())
                    .map_err(io_error("stop", program))?;
                let late = io::Error::new(io::ErrorKind::TimedOut, "it took longer than 20 minutes");
                return Err(failed()(late));
            }
        };
        let status = child.wait().map_err(failed())?;
        Ok((status, String::from_utf8_lossy(&log).into_owned()))
    }
}

/// The last thing that a program had to say: pip marks it, Python puts it last.
pub(super) fn last_line(log: &str) -> String {
    let lines = || log.lines().map(str::trim).filter(|line| !line.is_empty());
    let marked = lines().filter_map(|line| line.strip_prefix("ERROR: ")).next_back();
    marked
        .or_else(|| lines().next_back())
        .unwrap_or("it said nothing")
        .to_owned()
}

pub(super) fn only_file(folder: &Path) -> Result<Option<PathBuf>, FetchError> {
    let entries: io::Result<Vec<PathBuf>> =
        fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut files = entries.map_err(io_error("read", folder))?;
    Ok(files.pop().filter(|_| files.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_one_that_counts() {
        let pip =
            "WARNING: retrying\nERROR: No matching distribution found for a==1\n[notice] A new release of pip\n\n";
        assert_eq!(last_line(pip), "No matching distribution found for a==1");
        assert_eq!(
            last_line("Traceback:\n  File\nKeyError: 'conv1'\n"),
            "KeyError: 'conv1'"
        );
        assert_eq!(last_line("\n"), "it said nothing");
    }
}
