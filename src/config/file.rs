//! The YAML file: the official tool's keys, and our own in the same style.
//!
//! Keys are matched without regard to case and to the characters `/ _ .`. Of repeated keys the last
//! one counts, except that repeated `etcd.endpoints` are joined. Unknown keys are logged by name and
//! ignored, as the official tool ignores them.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::error::ConfigError;
use super::{DropInCommand, Password, duration};
use meta_yaml::{Setting, Value};
use milvus_meta::release::Release;
use milvus_meta::transform::{FormChoice, OnBrokenRecord, SegmentForm};

/// Read by Milvus and by the official tool, and without effect on a migration.
const WITHOUT_EFFECT: &[&str] = &[
    "etcd.data.dir",
    "etcd.config.path",
    "etcd.log.level",
    "etcd.log.path",
];

/// A number of bytes that no configuration file reaches; it keeps a wrong path from filling memory.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Everything that the file says, typed; `None` where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FileConfig {
    pub(super) endpoints: Option<Vec<String>>,
    pub(super) root_path: Option<String>,
    pub(super) meta_sub_path: Option<String>,
    pub(super) kv_sub_path: Option<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) tls: Option<FileTls>,
    pub(super) auth: Option<FileAuth>,
    pub(super) source_version: Option<Release>,
    pub(super) target_version: Option<Release>,
    pub(super) backup_file: Option<PathBuf>,
    pub(super) command: Option<DropInCommand>,
    pub(super) run_with_backup: Option<bool>,
    pub(super) collection_form: Option<FormChoice>,
    pub(super) segment_form: Option<SegmentForm>,
    pub(super) on_broken_record: Option<OnBrokenRecord>,
    pub(super) accept_loss: Option<bool>,
    pub(super) allow_ephemeral_backup: Option<bool>,
    pub(super) allow_empty: Option<bool>,
    pub(super) wait_sessions: Option<Duration>,
    pub(super) wait_lock: Option<Duration>,
    pub(super) warnings: Vec<String>,
}

/// `etcd.ssl`, when enabled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FileTls {
    pub(super) ca_cert: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) server_name: Option<String>,
}

/// `etcd.auth`, when enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileAuth {
    pub(super) user: Option<String>,
    pub(super) password: Option<Password>,
    pub(super) password_file: Option<PathBuf>,
}

impl FileConfig {
    /// Reads and types the file.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::ReadFile {
            path: path.to_owned(),
            source,
        };
        let length = std::fs::metadata(path).map_err(failed)?.len();
        if length > FILE_BYTES_MAX {
            return Err(ConfigError::UselessFile {
                what: "configuration file",
                path: path.to_owned(),
                problem: "is too large for a configuration file",
            });
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Self::parse(path, &text)
    }

    /// Types the text of a file; `path` is for messages.
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
        refuse_what_cannot_work(&mut settings)?;
        let mut config = Self {
            command: settings.parsed("cmd.type", "run, backup or rollback")?,
            run_with_backup: settings.boolean("cmd.runWithBackup")?,
            source_version: settings.release("config.sourceVersion")?,
            target_version: settings.release("config.targetVersion")?,
            backup_file: settings.file("config.backupFilePath")?,
            collection_form: settings
                .parsed("config.collectionForm", "auto, split, database or embedded")?,
            segment_form: settings.parsed("config.segmentForm", "auto or inline")?,
            on_broken_record: settings.parsed("config.onBrokenRecord", "fail or skip")?,
            accept_loss: settings.boolean("config.acceptLoss")?,
            allow_ephemeral_backup: settings.boolean("config.allowEphemeralBackup")?,
            allow_empty: settings.boolean("config.allowEmpty")?,
            wait_sessions: settings.duration("config.waitSessions")?,
            wait_lock: settings.duration("config.waitLock")?,
            endpoints: settings.endpoints("etcd.endpoints")?,
            root_path: settings.path_part("etcd.rootPath")?,
            meta_sub_path: settings.path_part("etcd.metaSubPath")?,
            kv_sub_path: settings.path_part("etcd.kvSubPath")?,
            timeout: settings.milliseconds("etcd.requestTimeout")?,
            tls: tls(&mut settings)?,
            auth: auth(&mut settings)?,
            warnings: Vec::new(),
        };
        config.warnings = settings.finish();
        Ok(config)
    }
}

fn refuse_what_cannot_work(settings: &mut Settings<'_>) -> Result<(), ConfigError> {
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

fn tls(settings: &mut Settings<'_>) -> Result<Option<FileTls>, ConfigError> {
    const MIN_VERSION: &str = "etcd.ssl.tlsMinVersion";
    let enabled = settings.boolean("etcd.ssl.enabled")? == Some(true);
    let tls = FileTls {
        ca_cert: settings.file("etcd.ssl.tlsCACert")?,
        cert: settings.file("etcd.ssl.tlsCert")?,
        key: settings.file("etcd.ssl.tlsKey")?,
        server_name: settings.filled_text("etcd.ssl.tlsServerName")?,
    };
    if let Some((version, line)) = settings.located_text(MIN_VERSION)? {
        match version.as_str() {
            "" | "1.0" | "1.1" | "1.2" => {}
            "1.3" => {
                if enabled {
                    settings.warnings.push(format!(
                        "{MIN_VERSION} is 1.3: TLS 1.3 is used wherever etcd offers it, but 1.2 is not refused"
                    ));
                }
            }
            _ => {
                let problem = format!("{version:?} is none of 1.0, 1.1, 1.2, 1.3");
                return Err(settings.wrong(MIN_VERSION, line, problem));
            }
        }
    }
    Ok(enabled.then_some(tls))
}

fn auth(settings: &mut Settings<'_>) -> Result<Option<FileAuth>, ConfigError> {
    let enabled = settings.boolean("etcd.auth.enabled")? == Some(true);
    let auth = FileAuth {
        user: settings.filled_text("etcd.auth.userName")?,
        password: settings
            .filled_text("etcd.auth.password")?
            .map(Password::new),
        password_file: settings.file("etcd.auth.passwordFile")?,
    };
    if !enabled && auth.user.is_some() {
        settings.warnings.push(
            "etcd.auth.userName is set, but etcd.auth.enabled is not true: etcd is used without a user"
                .to_owned(),
        );
    }
    Ok(enabled.then_some(auth))
}

/// The settings that nobody has asked for yet.
struct Settings<'f> {
    path: &'f Path,
    remaining: Vec<Setting>,
    warnings: Vec<String>,
}

impl Settings<'_> {
    /// Takes all settings of a key out, in file order.
    fn take_all(&mut self, key: &'static str) -> Vec<Setting> {
        let wanted = meta_yaml::normalize(key);
        let of_key = |setting: &mut Setting| meta_yaml::normalize(&setting.path) == wanted;
        self.remaining.extract_if(.., of_key).collect()
    }

    /// Takes all settings of a key out; the last one counts.
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

    /// The line of the setting that counts; 0 where there is none.
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

    /// A single value, with its line. A list counts as its members joined with commas, as there.
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

    fn text(&mut self, key: &'static str) -> Result<Option<String>, ConfigError> {
        Ok(self.located_text(key)?.map(|(text, _)| text))
    }

    /// A text that counts as not given when it is empty.
    fn filled_text(&mut self, key: &'static str) -> Result<Option<String>, ConfigError> {
        Ok(self.text(key)?.filter(|text| !text.is_empty()))
    }

    /// The root path or a sub-path, which must not be empty.
    fn path_part(&mut self, key: &'static str) -> Result<Option<String>, ConfigError> {
        let Some((text, line)) = self.located_text(key)? else {
            return Ok(None);
        };
        match milvus_meta::keys::path_part(&text) {
            Ok(text) => Ok(Some(text)),
            Err(problem) => Err(self.wrong(key, line, problem.to_owned())),
        }
    }

    fn file(&mut self, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        Ok(self.filled_text(key)?.map(PathBuf::from))
    }

    /// The official tool takes whatever it cannot read as `false`. For a switch that decides about
    /// backups and encryption that is too much guessing: such text is refused.
    fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        let Some((text, line)) = self.located_text(key)? else {
            return Ok(None);
        };
        match text.to_ascii_lowercase().as_str() {
            "" => Ok(None),
            "true" | "t" | "1" | "yes" | "on" => Ok(Some(true)),
            "false" | "f" | "0" | "no" | "off" => Ok(Some(false)),
            _ => Err(self.wrong(key, line, format!("{text:?} is neither true nor false"))),
        }
    }

    fn parsed<T: FromStr>(
        &mut self,
        key: &'static str,
        expected: &str,
    ) -> Result<Option<T>, ConfigError> {
        let Some((text, line)) = self.located_text(key)?.filter(|(text, _)| !text.is_empty())
        else {
            return Ok(None);
        };
        match text.trim().parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(self.wrong(key, line, format!("{text:?} is not {expected}"))),
        }
    }

    fn release(&mut self, key: &'static str) -> Result<Option<Release>, ConfigError> {
        self.parsed(key, "a version: expected three numbers such as 2.1.4")
    }

    fn milliseconds(&mut self, key: &'static str) -> Result<Option<Duration>, ConfigError> {
        let Some((text, line)) = self.located_text(key)?.filter(|(text, _)| !text.is_empty())
        else {
            return Ok(None);
        };
        match text.trim().parse::<u64>() {
            Ok(milliseconds @ 1..=duration::MILLISECONDS_MAX) => {
                Ok(Some(Duration::from_millis(milliseconds)))
            }
            Ok(_) | Err(_) => Err(self.wrong(
                key,
                line,
                format!("{text:?} is not a number of milliseconds"),
            )),
        }
    }

    fn duration(&mut self, key: &'static str) -> Result<Option<Duration>, ConfigError> {
        let Some((text, line)) = self.located_text(key)?.filter(|(text, _)| !text.is_empty())
        else {
            return Ok(None);
        };
        match duration::parse(&text) {
            Ok(duration) => Ok(Some(duration)),
            Err(problem) => Err(self.wrong(key, line, problem)),
        }
    }

    /// The endpoints of all settings of the key: the Milvus Operator repeats the key for each member.
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

    /// Everything that was not taken is unknown.
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
