//! Where this user's own files are: the only place that turns the environment into directories.
//!
//! `main` calls [`Places::from_environment`] once; everything else, tests included, is handed a
//! [`Places`] and never looks at the environment itself.

use std::ffi::OsString;
use std::path::PathBuf;

/// The directories of this user's keys, caches and running servers. Nothing is created here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Identity, known servers, authorised clients: `$XDG_CONFIG_HOME/strait`, else
    /// `$HOME/.config/strait`.
    pub config: PathBuf,
    /// Caches that may be deleted at any time: `$XDG_STATE_HOME/strait`, else
    /// `$HOME/.local/state/strait`.
    pub state: PathBuf,
    /// Endpoint files of running servers: `$XDG_RUNTIME_DIR/strait`, else `run` below `state`.
    ///
    /// Endpoints are looked for in all of these and written to the first that can be had: a
    /// client started by cron or sudo often lacks the variable that its server had.
    pub runtime: Vec<PathBuf>,
}

/// The environment names no home directory.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "neither HOME nor XDG_CONFIG_HOME and XDG_STATE_HOME are set, so there is no place for strait's key and state; \
     set HOME, or name a key with --identity FILE (or STRAIT_IDENTITY) and set XDG_CONFIG_HOME and XDG_STATE_HOME"
)]
pub struct NoHome;

impl Places {
    /// Computes the directories from this process's environment.
    ///
    /// # Errors
    /// [`NoHome`] when neither the XDG variables nor `HOME` say where (class: fatal).
    pub fn from_environment() -> Result<Self, NoHome> {
        let uid = rustix::process::geteuid().as_raw();
        let mut places = Self::compute(|name| std::env::var_os(name))?;
        let usual = PathBuf::from(format!("/run/user/{uid}"));
        if usual.is_dir() && !places.runtime.contains(&usual.join("strait")) {
            let last = places.runtime.len() - 1;
            places.runtime.insert(last, usual.join("strait"));
        }
        Ok(places)
    }

    /// Computes the directories from variables as `variable` tells them. Relative values are
    /// ignored, as the XDG base directory specification demands.
    ///
    /// # Errors
    /// [`NoHome`], as above.
    pub fn compute(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, NoHome> {
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let below_home = |below: &str| absolute("HOME").map(|home| home.join(below));
        let config =
            absolute("XDG_CONFIG_HOME").or_else(|| below_home(".config")).ok_or(NoHome)?.join("strait");
        let state =
            absolute("XDG_STATE_HOME").or_else(|| below_home(".local/state")).ok_or(NoHome)?.join("strait");
        let runtime = absolute("XDG_RUNTIME_DIR")
            .map(|run| run.join("strait"))
            .into_iter()
            .chain([state.join("run")])
            .collect();
        Ok(Self { config, state, runtime })
    }

    /// Places below one directory, for tests and for containers.
    pub fn below(directory: &std::path::Path) -> Self {
        Self {
            config: directory.join("config"),
            state: directory.join("state"),
            runtime: vec![directory.join("run")],
        }
    }

    /// The same for keys and lists of keys.
    pub fn make_config(&self) {
        let _ = super::private_file::own_directory(&self.config);
    }

    /// Makes the directory of the caches, open to this user only. Where it cannot be made, whoever
    /// opens a cache says why.
    pub fn make_state(&self) {
        let _ = super::private_file::own_directory(&self.state);
    }

    /// Where the identity is unless `--identity` says otherwise.
    pub fn identity(&self) -> PathBuf {
        self.config.join("identity")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Places, NoHome> {
        let variables: Vec<(String, OsString)> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Places::compute(|name| variables.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()))
    }

    #[test]
    fn home_alone_gives_every_place() {
        let places = with(&[("HOME", "/home/u")]).unwrap();
        assert_eq!(places.config, PathBuf::from("/home/u/.config/strait"));
        assert_eq!(places.runtime, [PathBuf::from("/home/u/.local/state/strait/run")]);
    }

    #[test]
    fn xdg_variables_win_over_home() {
        let places = with(&[
            ("HOME", "/home/u"),
            ("XDG_CONFIG_HOME", "/c"),
            ("XDG_STATE_HOME", "/s"),
            ("XDG_RUNTIME_DIR", "/r"),
        ])
        .unwrap();
        assert_eq!(places.identity(), PathBuf::from("/c/strait/identity"));
        assert_eq!(places.runtime, [PathBuf::from("/r/strait"), PathBuf::from("/s/strait/run")]);
    }

    #[test]
    fn relative_values_are_ignored() {
        assert_eq!(with(&[("HOME", "here")]), Err(NoHome));
    }
}
