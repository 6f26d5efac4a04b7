//! `man`.

use std::io::{self, Write as _};

use clap::Command;

use super::output::exit::Exit;
use super::output::failure::Failure;
use super::{EXIT_CODES, Outcome, examples, output, version};

/// Print the manual page of the program or of one command
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The command, such as migrate or backup list; without one, the page of the program
    command: Vec<String>,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let mut page = super::command();
    page.build();
    for name in &args.command {
        page = match page.find_subcommand(name) {
            Some(command) => command.clone(),
            None => return Err(Failure::usage(format!("there is no command {name:?}"))),
        };
    }
    let text =
        render(page).map_err(|error| Failure::caused("cannot write the manual page", &error))?;
    output::write(&text)?;
    Ok(Exit::Done)
}

fn render(mut page: Command) -> io::Result<Vec<u8>> {
    let examples = examples::of(page.get_name());
    let variables = variables(&page);
    // The end of the help is split into sections here.
    page = page.after_help("").after_long_help("");
    // The generator leaves out the text of options that the short help does not list.
    page = page.mut_args(|option| option.hide_short_help(false));
    let has_commands = page.has_subcommands();
    let man = clap_mangen::Man::new(page).source(format!("meta-migration {}", version::VERSION));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if has_commands {
        man.render_subcommands_section(&mut text)?;
    }
    section(&mut text, "ENVIRONMENT", &variables)?;
    let codes = EXIT_CODES
        .iter()
        .map(|(code, meaning)| ((*code).to_owned(), (*meaning).to_owned()));
    section(&mut text, "\"EXIT STATUS\"", &codes.collect::<Vec<_>>())?;
    if !examples.is_empty() {
        writeln!(text, ".SH EXAMPLES")?;
        for (line, what) in examples {
            writeln!(
                text,
                ".PP\n{}:\n.PP\n.nf\n    {}\n.fi",
                escaped(what),
                escaped(&examples::continued(line, "        "))
            )?;
        }
    }
    Ok(text)
}

/// Returns the environment variables of a command's options, and the others that it reads.
fn variables(page: &Command) -> Vec<(String, String)> {
    let options = page.get_arguments().filter(|it| !it.is_hide_set());
    let own = options.filter_map(|argument| {
        let name = argument.get_env()?.to_string_lossy().into_owned();
        Some((name, format!("the option --{}", argument.get_long()?)))
    });
    let mut all: Vec<_> = own.collect();
    let is_program = page.get_name() == "meta-migration";
    let has_etcd = all
        .iter()
        .any(|(name, _)| name == "META_MIGRATION_ENDPOINTS");
    if is_program {
        let name = "META_MIGRATION_ and the option in capitals";
        all.push((
            name.to_owned(),
            "options of the commands, such as META_MIGRATION_ROOT_PATH".to_owned(),
        ));
    }
    if is_program || has_etcd {
        let more = [
            ("META_MIGRATION_PASSWORD", "the password of the etcd user"),
            (
                "ETCDCTL_ENDPOINTS, ETCDCTL_CACERT, ETCDCTL_CERT, ETCDCTL_KEY, ETCDCTL_USER, ETCDCTL_PASSWORD",
                "the variables of etcdctl, read where neither an option nor a variable above says it and no YAML \
                 file is given",
            ),
        ];
        all.extend(more.map(|(name, what)| (name.to_owned(), what.to_owned())));
    }
    let everywhere = [
        ("NO_COLOR", "no colours, if it is not empty"),
        ("COLUMNS", "the width of tables and messages"),
    ];
    all.extend(everywhere.map(|(name, what)| (name.to_owned(), what.to_owned())));
    all
}

fn section(text: &mut Vec<u8>, name: &str, entries: &[(String, String)]) -> io::Result<()> {
    writeln!(text, ".SH {name}")?;
    for (name, what) in entries {
        writeln!(text, ".TP\n\\fB{}\\fR\n{}", escaped(name), escaped(what))?;
    }
    Ok(())
}

/// Escapes text for roff.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.strip_prefix(['.', '\'']) {
        Some(_) => format!("\\&{text}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_options(page: &Command) {
        let text = String::from_utf8(render(page.clone()).unwrap()).unwrap();
        let text = text.replace("\\-", "-").replace("\\*(Aq", "'");
        for option in page.get_arguments().filter(|it| !it.is_hide_set()) {
            if option.get_id() == "help" {
                continue;
            }
            let help = option.get_long_help().or(option.get_help());
            let help = help.unwrap().to_string();
            assert!(text.contains(&help), "{}: {help}", page.get_name());
        }
        page.get_subcommands().for_each(check_options);
    }

    #[test]
    fn every_option_is_described_in_the_manual() {
        let mut program = crate::cli::command();
        program.build();
        check_options(&program);
    }
}
