//! The manual as one page of Markdown.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

/// The page of a command and all of its subcommands.
pub fn page(mut command: Command) -> String {
    command.build();
    let mut page = format!(
        "# The command line\n\n<!-- Written by `cargo xtask reference` from the definition of the commands. -->\n\n\
         `{0}` is the client of a mesh, and runs one on this machine with [`{0} up`](#fl-up). `{0} help COMMAND` prints the \
         same in a terminal, `{0} completions SHELL` a script that completes commands, and `{0} man FOLDER` writes manual \
         pages.\n\n\
         The exit code is 0 for success, 1 for a failure and 2 for wrong usage. The last line of a failure on standard \
         error is `{0}: error: MESSAGE`.\n",
        command.get_name()
    );
    heading(&mut page, 2, "Options of every command");
    let globals = command.get_arguments().filter(|argument| is_shown(argument));
    table(&mut page, ["option", "meaning"], globals.map(|option| [name(option), meaning(option)]));
    for subcommand in shown(&command) {
        write_command(&mut page, subcommand, 2);
    }
    page
}

fn write_command(page: &mut String, command: &Command, level: usize) {
    let full_name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    heading(page, level, &format!("`{full_name}`"));
    let about = command.get_long_about().or_else(|| command.get_about());
    paragraphs(page, &sentence(&about.map(ToString::to_string).unwrap_or_default()));
    let usage = command.clone().render_usage().to_string();
    let usages = usage.trim_start_matches("Usage:").lines().map(str::trim).filter(|line| !line.is_empty());
    let usages: Vec<_> = usages.map(|line| format!("`{line}`")).collect();
    paragraphs(page, &format!("Usage: {}", usages.join(", or ")));
    let aliases: Vec<_> = command.get_visible_aliases().map(|alias| format!("`{alias}`")).collect();
    match aliases.len() {
        0 => {}
        1 => paragraphs(page, &format!("Alias: {}.", aliases[0])),
        _ => paragraphs(page, &format!("Aliases: {}.", aliases.join(", "))),
    }
    let own = || command.get_arguments().filter(|argument| is_shown(argument) && !argument.is_global_set());
    let row = |argument: &Arg| [name(argument), meaning(argument)];
    table(page, ["argument", "meaning"], own().filter(|argument| argument.is_positional()).map(row));
    table(page, ["option", "meaning"], own().filter(|argument| !argument.is_positional()).map(row));
    paragraphs(page, &command.get_after_long_help().map(ToString::to_string).unwrap_or_default());
    for subcommand in shown(command) {
        write_command(page, subcommand, 3);
    }
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

fn is_shown(argument: &Arg) -> bool {
    !argument.is_hide_set() && !matches!(argument.get_id().as_str(), "help" | "version")
}

/// How an argument is written: `<FILE>`, or `-m`, `--module <MODULE>`.
fn name(argument: &Arg) -> String {
    let takes_value = argument.get_action().takes_values();
    let values = argument.get_value_names().unwrap_or_default().iter();
    let values: Vec<_> = values.map(|value| format!("<{value}>")).collect();
    let values = if takes_value { values.join(" ") } else { String::new() };
    if argument.is_positional() {
        let values = if argument.is_required_set() {
            values
        } else {
            format!("[{}]", values.trim_matches(['<', '>']))
        };
        let more = if matches!(argument.get_action(), ArgAction::Append) { "..." } else { "" };
        return format!("`{values}{more}`");
    }
    let short = argument.get_short_and_visible_aliases().unwrap_or_default();
    let long = argument.get_long_and_visible_aliases().unwrap_or_default();
    let short = short.into_iter().map(|short| format!("-{short}"));
    let mut names: Vec<_> = short.chain(long.into_iter().map(|long| format!("--{long}"))).collect();
    if let Some(last) = names.last_mut().filter(|_| !values.is_empty()) {
        last.push(' ');
        last.push_str(&values);
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The help, with default, possible values and variable.
fn meaning(argument: &Arg) -> String {
    let help = argument.get_long_help().or_else(|| argument.get_help());
    let mut meaning = sentence(&help.map(ToString::to_string).unwrap_or_default());
    let mut add = |title: &str, values: Vec<String>| {
        if !values.is_empty() {
            let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
            let _ = write!(meaning, " {title}: {}.", values.join(", "));
        }
    };
    let takes_value = argument.get_action().takes_values();
    if takes_value && !argument.is_hide_possible_values_set() {
        let values = argument.get_possible_values();
        let names =
            values.iter().filter(|value| !value.is_hide_set()).map(|value| value.get_name().to_owned());
        add("Values", names.collect());
    }
    if takes_value && !argument.is_hide_default_value_set() {
        let defaults = argument.get_default_values().iter();
        add("Default", defaults.map(|value| value.to_string_lossy().into_owned()).collect());
    }
    let variable = argument.get_env().filter(|_| !argument.is_hide_env_set());
    add("Variable", variable.map(|name| name.to_string_lossy().into_owned()).into_iter().collect());
    meaning
}

/// The text with the full stop that clap removes from comments.
fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() || text.ends_with(['.', ':', '?', '!']) { text.to_owned() } else { format!("{text}.") }
}

fn heading(page: &mut String, level: usize, text: &str) {
    let _ = write!(page, "\n{} {text}\n", "#".repeat(level));
}

fn paragraphs(page: &mut String, text: &str) {
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let _ = write!(page, "\n{}\n", escaped(paragraph));
    }
}

fn table(page: &mut String, header: [&str; 2], rows: impl Iterator<Item = [String; 2]>) {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return;
    }
    let _ = write!(page, "\n| {} |\n|---|---|\n", header.join(" | "));
    for [name, meaning] in rows {
        let cells = [name, escaped(&meaning)].map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
}

/// Text on one line, in which `<` outside of code stands for itself.
fn escaped(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let parts = words.join(" ");
    let parts = parts.split('`').enumerate();
    parts
        .map(
            |(index, part)| {
                if index % 2 == 0 { part.replace('<', "&lt;").replace('*', "\\*") } else { part.to_owned() }
            },
        )
        .collect::<Vec<_>>()
        .join("`")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::args::Arguments;

    #[test]
    fn the_committed_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/fl.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        let page = super::page(Arguments::command());
        assert!(committed == page, "docs/reference/fl.md is out of date: run cargo xtask reference");
    }

    #[test]
    fn arguments_have_names_and_meanings() {
        let page = super::page(Arguments::command());
        for line in [
            "| `-H`, `--host <URL>` | Address of the REST API, such as http://127.0.0.1:4000 or 127.0.0.1:4000. Default: \
             `api_host` of the profile. Variable: `FL_API_HOST`. |",
            "### `fl fn invoke`",
            "## `fl up`",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
        }
        assert!(!page.contains("conservation"), "hidden commands are not in it");
    }
}
