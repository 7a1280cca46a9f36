//! The sandbox: what this process may open from now on, held by the kernel (Landlock).
//!
//! It binds the calling thread and all that it starts later, for ever; so it is put on before the
//! runtime starts. The only owner of `landlock`. Rights hang on directories as they are when it is
//! put on: another one that takes the name of one later is outside.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
};
use std::path::PathBuf;

/// The newest rights that are known here; a kernel that knows fewer confines less.
const NEWEST: ABI = ABI::V6;

/// What stays open. Paths that are not there are passed over.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// May be read, with all below.
    pub read: Vec<PathBuf>,
    /// May be read and written, with all below; nothing there is ever run. (A FIFO that stood there
    /// before is moved to the trash, for which Landlock wants the right to make one.)
    pub write: Vec<PathBuf>,
    /// Ports that may be connected to; nothing but these.
    pub connect: Vec<u16>,
}

/// What the kernel holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confined {
    Whole,
    /// Files only: this kernel does not confine connections.
    FilesOnly,
    /// Nothing, and why.
    Not(String),
}

impl Allowed {
    /// Confines this thread to it.
    pub fn confine(&self) -> Confined {
        match self.try_confine() {
            Ok(confined) => confined,
            Err(error) => Confined::Not(error.to_string()),
        }
    }

    fn try_confine(&self) -> Result<Confined, landlock::RulesetError> {
        // Without this right a file could not be renamed from one directory to another at all.
        let renames = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::Refer)
            .and_then(Ruleset::create);
        if renames.is_err() {
            return Ok(Confined::Not("this kernel has no Landlock that can be used (Linux 5.19 has)".into()));
        }
        let mut rules = Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::ConnectTcp)?
            .scope(Scope::from_all(NEWEST))?
            .create()?;
        for (paths, access) in [(&self.read, reading()), (&self.write, writing())] {
            for path in paths {
                if let Ok(fd) = PathFd::new(path) {
                    rules = rules.add_rule(PathBeneath::new(fd, fitting(path, access)))?;
                }
            }
        }
        for port in &self.connect {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
        let status = rules.restrict_self()?;
        let confines_net = matches!(status.landlock, LandlockStatus::Available { effective_abi, .. } if effective_abi >= ABI::V4);
        Ok(match status.ruleset {
            RulesetStatus::NotEnforced => Confined::Not("this kernel does not hold Landlock's rules".into()),
            _ if confines_net => Confined::Whole,
            _ => Confined::FilesOnly,
        })
    }
}

fn reading() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ReadFile | ReadDir})
}

fn writing() -> BitFlags<AccessFs> {
    AccessFs::from_all(NEWEST) & !AccessFs::Execute
}

/// The rights that a file can have, when the path is one.
fn fitting(path: &std::path::Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::ErrorKind::PermissionDenied;
    use std::net::{TcpListener, TcpStream};

    /// Runs `work` in a thread that is confined; says so where the kernel cannot.
    fn confined(test: &str, allowed: Allowed, work: impl FnOnce() + Send) {
        let confine = move || match allowed.confine() {
            Confined::Whole => work(),
            other => println!("skipped: needs Landlock with rules for connections: {test}: {other:?}"),
        };
        std::thread::scope(|scope| scope.spawn(confine).join()).expect("the test holds");
    }

    #[test]
    fn reading_lets_nothing_be_changed_and_nothing_is_ever_run() {
        assert_eq!(reading(), make_bitflags!(AccessFs::{ReadFile | ReadDir}));
        assert_eq!(writing() | AccessFs::Execute, AccessFs::from_all(NEWEST));
        assert!(!writing().contains(AccessFs::Execute));
        assert!(!fitting(std::path::Path::new("/etc/passwd"), writing()).contains(AccessFs::ReadDir));
    }

    #[test]
    fn nothing_outside_can_be_opened_made_renamed_or_removed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["read", "write", "outside"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("f"), name).unwrap();
        }
        std::os::unix::fs::symlink(at("outside/f"), at("write/link")).unwrap();
        let allowed =
            Allowed { read: vec![at("read")], write: vec![at("write"), at("missing")], connect: vec![] };
        let refused = |result: std::io::Result<()>| {
            let kind = result.expect_err("it is outside").kind();
            assert!(matches!(kind, PermissionDenied | std::io::ErrorKind::CrossesDevices), "{kind}");
        };
        confined("files", allowed, || {
            assert_eq!(fs::read(at("read/f")).unwrap(), b"read");
            assert_eq!(fs::read_dir(at("read")).unwrap().count(), 1);
            fs::write(at("write/f"), "again").unwrap();
            fs::create_dir(at("write/d")).unwrap();
            fs::rename(at("write/f"), at("write/d/f")).unwrap();
            File::options().write(true).open(at("write/d/f")).unwrap().set_len(1).unwrap();
            fs::remove_file(at("write/d/f")).unwrap();
            refused(File::open(at("outside/f")).map(drop));
            refused(File::open(at("write/link")).map(drop));
            refused(fs::read_dir(at("outside")).map(drop));
            refused(File::open("/etc/passwd").map(drop));
            refused(File::create(at("outside/new")).map(drop));
            refused(File::options().write(true).open(at("read/f")).map(drop));
            refused(fs::write(at("read/new"), ""));
            refused(fs::remove_file(at("read/f")));
            refused(fs::remove_file(at("outside/f")));
            refused(fs::rename(at("read/f"), at("write/f")));
            refused(fs::rename(at("write/link"), at("outside/link")));
            refused(fs::create_dir(at("outside/d")));
            refused(std::process::Command::new("/bin/true").status().map(drop));
        });
        assert_eq!(fs::read(at("outside/f")).unwrap(), b"outside", "the thread of the test is not confined");
    }

    #[test]
    fn no_port_but_those_named_can_be_connected_to() {
        let (one, other) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (named, unnamed) = (one.local_addr().unwrap(), other.local_addr().unwrap());
        let allowed = Allowed { connect: vec![named.port()], ..Allowed::default() };
        confined("connections", allowed, || {
            TcpStream::connect(named).unwrap();
            assert_eq!(TcpStream::connect(unnamed).unwrap_err().kind(), PermissionDenied);
            TcpListener::bind("127.0.0.1:0").expect("listening is allowed");
        });
    }
}
