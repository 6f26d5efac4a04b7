//! The YAML file: the official tool's keys, and our own in the same style.
//!
//! Matches keys without regard to case and to the characters `/ _ .`. The last of repeated keys counts, except that
//! repeated `etcd.endpoints` are joined. Unknown keys are logged by name and ignored, as in the official tool.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::error::ConfigError;
use super::{DropIn, DropInCommand, EtcdOptions, Password, duration, number};
use meta_yaml::{Setting, Value};
use milvus_meta::release::Release;

/// Keys of Milvus and of the official tool that do not affect a migration.
const WITHOUT_EFFECT: &[&str] = &[
    "etcd.data.dir",
    "etcd.config.path",
    "etcd.log.level",
    "etcd.log.path",
];

/// Limit that no configuration file reaches: a wrong path must not fill memory.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The content of the file; a setting that is missing in it is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FileConfig {
    /// Credentials and certificates only if authentication and TLS are enabled.
    pub(super) options: EtcdOptions,
    pub(super) drop_in: DropIn,
    pub(super) warnings: Vec<String>,
}

impl FileConfig {
    /// Reads and parses the file.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = super::read_text("configuration file", path, FILE_BYTES_MAX)?;
        Self::parse(path, &text)
    }

    /// Parses the text of a file; `path` is for messages.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let settings = meta_yaml::parse(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            line: error.line,
            message: error.message,
        })?;
        let mut settings = Settings {
            path,
            remaining: settings,
            warnings: Vec::new(),
        };
        reject_other_stores(&mut settings)?;
        let drop_in = DropIn {
            command: settings.command("cmd.type")?,
            run_with_backup: settings.boolean("cmd.runWithBackup")?,
            collection_form: settings
                .parsed("config.collectionForm", "auto, split, database or embedded")?,
            segment_form: settings.parsed("config.segmentForm", "auto or inline")?,
            on_broken_record: settings.parsed("config.onBrokenRecord", "fail or skip")?,
            accept_loss: settings.boolean("config.acceptLoss")?,
            allow_ephemeral_backup: settings.boolean("config.allowEphemeralBackup")?,
            allow_empty: settings.boolean("config.allowEmpty")?,
            wait_sessions: settings.duration("config.waitSessions")?,
            wait_lock: settings.duration("config.waitLock")?,
        };
        let mut options = EtcdOptions {
            source_version: settings.release("config.sourceVersion")?,
            target_version: settings.release("config.targetVersion")?,
            backup_file: settings.file("config.backupFilePath")?,
            endpoints: settings.endpoints("etcd.endpoints")?,
            root_path: settings.path_part("etcd.rootPath")?,
            meta_sub_path: settings.path_part("etcd.metaSubPath")?,
            kv_sub_path: settings.path_part("etcd.kvSubPath")?,
            timeout: settings.milliseconds("etcd.requestTimeout")?,
            ..EtcdOptions::default()
        };
        read_tls(&mut settings, &mut options)?;
        read_login(&mut settings, &mut options)?;
        Ok(Self {
            options,
            drop_in,
            warnings: settings.finish(),
        })
    }
}

/// Fails if the metadata is not in an etcd server.
fn reject_other_stores(settings: &mut Settings<'_>) -> Result<(), ConfigError> {
    if let Some((store, line)) = settings.located_text("metastore.type")?
        && !store.is_empty()
        && !store.eq_ignore_ascii_case("etcd")
    {
        return Err(settings.wrong(
            "metastore.type",
            line,
            format!("{store:?} is not supported: only metadata in etcd can be migrated"),
        ));
    }
    let line = settings.line_of("etcd.use.embed");
    if settings.boolean("etcd.use.embed")? == Some(true) {
        return Err(settings.wrong(
            "etcd.use.embed",
            line,
            "an embedded etcd lives inside a Milvus process and cannot be reached: start an etcd server \
             on its data folder and give its address as etcd.endpoints"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Reads `etcd.ssl`. Without `enabled` its files are checked for syntax only and not used.
fn read_tls(settings: &mut Settings<'_>, options: &mut EtcdOptions) -> Result<(), ConfigError> {
    const MIN_VERSION: &str = "etcd.ssl.tlsMinVersion";
    let is_enabled = settings.boolean("etcd.ssl.enabled")? == Some(true);
    let cacert = settings.file("etcd.ssl.tlsCACert")?;
    let cert = settings.file("etcd.ssl.tlsCert")?;
    let tls_key = settings.file("etcd.ssl.tlsKey")?;
    let tls_server_name = settings.text("etcd.ssl.tlsServerName")?;
    if let Some((version, line)) = settings.located_text(MIN_VERSION)? {
        match version.as_str() {
            "1.3" if is_enabled => settings.warnings.push(format!(
                "{MIN_VERSION} is 1.3: TLS 1.3 is used wherever etcd offers it, but 1.2 is not refused"
            )),
            "" | "1.0" | "1.1" | "1.2" | "1.3" => {}
            _ => {
                let problem = format!("{version:?} is none of 1.0, 1.1, 1.2, 1.3");
                return Err(settings.wrong(MIN_VERSION, line, problem));
            }
        }
    }
    if is_enabled {
        *options = EtcdOptions {
            is_tls_enabled: true,
            cacert,
            cert,
            tls_key,
            tls_server_name,
            ..std::mem::take(options)
        };
    }
    Ok(())
}

/// Reads `etcd.auth`, which is used only if enabled.
fn read_login(settings: &mut Settings<'_>, options: &mut EtcdOptions) -> Result<(), ConfigError> {
    let is_enabled = settings.boolean("etcd.auth.enabled")? == Some(true);
    let user = settings.text("etcd.auth.userName")?;
    let password = settings.text("etcd.auth.password")?;
    let password_file = settings.file("etcd.auth.passwordFile")?;
    if is_enabled {
        options.user = user;
        options.password = password.map(Password::new);
        options.password_file = password_file;
    } else if user.is_some() {
        settings.warnings.push(
            "etcd.auth.userName is set, but etcd.auth.enabled is not true: etcd is used without a user"
                .to_owned(),
        );
    }
    Ok(())
}

/// The settings that have not been read yet.
struct Settings<'f> {
    path: &'f Path,
    remaining: Vec<Setting>,
    warnings: Vec<String>,
}

impl Settings<'_> {
    /// Removes all settings of a key and returns them in file order.
    fn take_all(&mut self, key: &'static str) -> Vec<Setting> {
        let wanted = meta_yaml::normalize(key);
        let of_key = |setting: &mut Setting| meta_yaml::normalize(&setting.path) == wanted;
        self.remaining.extract_if(.., of_key).collect()
    }

    /// Removes all settings of a key and returns the last one.
    fn take(&mut self, key: &'static str) -> Option<Setting> {
        let mut found = self.take_all(key);
        let last = found.pop()?;
        if found.iter().any(|earlier| earlier.value != last.value) {
            self.warnings.push(format!(
                "{key} is given {} times in {}: the last one counts, line {}",
                found.len() + 1,
                self.path.display(),
                last.line
            ));
        }
        Some(last)
    }

    /// Returns the line of the key's last setting, 0 without one.
    fn line_of(&self, key: &'static str) -> usize {
        let wanted = meta_yaml::normalize(key);
        let found = self
            .remaining
            .iter()
            .rfind(|setting| meta_yaml::normalize(&setting.path) == wanted);
        found.map_or(0, |setting| setting.line)
    }

    fn wrong(&self, key: &'static str, line: usize, problem: String) -> ConfigError {
        ConfigError::Setting {
            path: self.path.to_owned(),
            line,
            key,
            problem,
        }
    }

    /// Reads a single value and its line. Joins a list with commas, as the official tool does.
    fn located_text(&mut self, key: &'static str) -> Result<Option<(String, usize)>, ConfigError> {
        match self.take(key) {
            Some(setting) => self.text_of(key, setting),
            None => Ok(None),
        }
    }

    fn text_of(
        &self,
        key: &'static str,
        setting: Setting,
    ) -> Result<Option<(String, usize)>, ConfigError> {
        match setting.value {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some((text, setting.line))),
            Value::List(items) => Ok(Some((items.join(","), setting.line))),
            Value::Nested => {
                Err(self.wrong(key, setting.line, "expected a single value".to_owned()))
            }
        }
    }

    /// Reads a value with `parse`, whose error gets key and line. An empty value counts as missing.
    fn value<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let found = self.located_text(key)?;
        let found = found.filter(|(text, _)| !text.is_empty());
        found
            .map(|(text, line)| parse(&text).map_err(|problem| self.wrong(key, line, problem)))
            .transpose()
    }

    fn text(&mut self, key: &'static str) -> Result<Option<String>, ConfigError> {
        self.value(key, |text| Ok(text.to_owned()))
    }

    fn file(&mut self, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        self.value(key, |text| Ok(PathBuf::from(text)))
    }

    /// Reads the root path or a sub-path, which must not be empty.
    fn path_part(&mut self, key: &'static str) -> Result<Option<String>, ConfigError> {
        let Some((text, line)) = self.located_text(key)? else {
            return Ok(None);
        };
        let part = milvus_meta::keys::path_part(&text);
        part.map(Some)
            .map_err(|problem| self.wrong(key, line, problem.to_owned()))
    }

    /// Reads a switch. Unlike the official tool, rejects unknown text instead of taking it as `false`: switches decide
    /// about backups and encryption.
    fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        self.value(key, |text| match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" | "yes" | "on" => Ok(true),
            "false" | "f" | "0" | "no" | "off" => Ok(false),
            _ => Err(format!("{text:?} is neither true nor false")),
        })
    }

    fn parsed<T: FromStr>(
        &mut self,
        key: &'static str,
        expected: &str,
    ) -> Result<Option<T>, ConfigError> {
        self.value(key, |text| {
            let parsed = text.trim().parse();
            parsed.map_err(|_| format!("{text:?} is not {expected}"))
        })
    }

    fn command(&mut self, key: &'static str) -> Result<Option<DropInCommand>, ConfigError> {
        self.value(key, |text| {
            let mut all = DropInCommand::ALL.into_iter();
            let command = all.find(|command| command.name() == text.trim());
            command.ok_or_else(|| format!("{text:?} is not run, backup or rollback"))
        })
    }

    fn release(&mut self, key: &'static str) -> Result<Option<Release>, ConfigError> {
        self.parsed(key, "a version: expected three numbers such as 2.1.4")
    }

    fn milliseconds(&mut self, key: &'static str) -> Result<Option<Duration>, ConfigError> {
        self.value(key, |text| {
            let milliseconds = number::between(1..=duration::MILLISECONDS_MAX)(text);
            let problem =
                |expected| format!("{text:?} is not a timeout in milliseconds: {expected}");
            milliseconds.map(Duration::from_millis).map_err(problem)
        })
    }

    fn duration(&mut self, key: &'static str) -> Result<Option<Duration>, ConfigError> {
        self.value(key, duration::parse)
    }

    /// Joins the endpoints of all settings of the key: the Milvus Operator repeats it for each member.
    fn endpoints(&mut self, key: &'static str) -> Result<Option<Vec<String>>, ConfigError> {
        let mut endpoints: Option<Vec<String>> = None;
        for setting in self.take_all(key) {
            let line = setting.line;
            let text = self.text_of(key, setting)?.map(|(text, _)| text);
            let given = super::split_list(&text.unwrap_or_default());
            if given.is_empty() {
                let problem = "the list is empty; name at least one member of etcd".to_owned();
                return Err(self.wrong(key, line, problem));
            }
            endpoints.get_or_insert_default().extend(given);
        }
        Ok(endpoints)
    }

    /// Returns the warnings, including one that lists the settings nothing has read.
    fn finish(mut self) -> Vec<String> {
        let ignored: Vec<String> = WITHOUT_EFFECT
            .iter()
            .map(|key| meta_yaml::normalize(key))
            .collect();
        let mut unknown: Vec<String> = self
            .remaining
            .iter()
            .filter(|setting| !ignored.contains(&meta_yaml::normalize(&setting.path)))
            .map(|setting| format!("{} (line {})", setting.path, setting.line))
            .collect();
        unknown.dedup();
        if !unknown.is_empty() {
            self.warnings.push(format!(
                "unknown in {} and ignored: {}",
                self.path.display(),
                unknown.join(", ")
            ));
        }
        self.warnings
    }
}

#[cfg(test)]
mod tests;
