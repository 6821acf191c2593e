//! The differences between files and mesh, for people.

use super::compare::Difference;
use super::plan::{Deletions, FunctionStep, Plan, full_name};
use crate::output::{BAD, GOOD, WARNING, styled};

/// What `fl apply` would do.
pub fn diff(plan: &Plan<'_>) -> String {
    let mut lines = Lines::default();
    for step in &plan.modules {
        lines.add(if step.exists { Mark::Same } else { Mark::New }, &format!("module {}", step.name));
    }
    for step in &plan.scripts {
        let mark = match (&step.old, step.is_done()) {
            (None, _) => Mark::New,
            (Some(_), true) => Mark::Same,
            (Some(_), false) => Mark::Changed,
        };
        lines.add(mark, &format!("script {}", step.name));
        if let (Mark::Changed, Some(old)) = (mark, &step.old) {
            lines.text.push_str(&changed_lines(old, &step.script.content));
        }
    }
    for step in &plan.functions {
        add_function(&mut lines, step);
    }
    let Deletions { functions, scripts, modules, notes, .. } = &plan.deletions;
    for (_, _, (module, name)) in functions {
        lines.add(Mark::Deleted, &format!("function {}", full_name(module, name)));
    }
    for (_, name) in scripts {
        lines.add(Mark::Deleted, &format!("script {name}"));
    }
    for (_, name) in modules {
        lines.add(Mark::Deleted, &format!("module {name}"));
    }
    let notes: String = notes.iter().map(|note| format!("{note}\n")).collect();
    format!("{}{notes}{}\n", lines.text, summary(&lines.counts, ["to create", "to update", "to delete"]))
}

fn add_function(lines: &mut Lines, step: &FunctionStep<'_>) {
    let mark = match &step.current {
        None => Mark::New,
        Some(_) if step.is_done() => Mark::Same,
        Some(_) => Mark::Changed,
    };
    lines.add(mark, &format!("function {}", step.name()));
    for Difference { what, old, new, .. } in &step.differences {
        let line = format!("    {what}: {old} -> {new}").replace(char::is_control, " ");
        lines.text.push_str(&format!("{line}\n"));
    }
}

/// The lines of a text that are not in the other, as `diff` shows them.
fn changed_lines(old: &str, new: &str) -> String {
    let line = |mark: &str, line: &str| format!("    {mark} {}\n", line.replace(char::is_control, " "));
    let start = old.lines().zip(new.lines()).take_while(|(old, new)| old == new).count();
    let (old, new) = (old.lines().skip(start), new.lines().skip(start));
    let (mut old, mut new): (Vec<_>, Vec<_>) = (old.collect(), new.collect());
    while let (Some(one), Some(other)) = (old.last(), new.last())
        && one == other
    {
        old.pop();
        new.pop();
    }
    old.into_iter().map(|it| line("-", it)).chain(new.into_iter().map(|it| line("+", it))).collect()
}

/// What is to be done with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Same,
    New,
    Changed,
    Deleted,
}

/// Lines, and the number of things that are new, changed, deleted and the same.
#[derive(Default)]
struct Lines {
    text: String,
    counts: Counts,
}

/// The number of things that were created, updated, deleted, and that are as they should be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub created: usize,
    pub updated: usize,
    pub deleted: usize,
    pub unchanged: usize,
}

impl Lines {
    fn add(&mut self, mark: Mark, name: &str) {
        let (style, sign, count) = match mark {
            Mark::Same => {
                self.counts.unchanged += 1;
                return;
            }
            Mark::New => (GOOD, '+', &mut self.counts.created),
            Mark::Changed => (WARNING, '~', &mut self.counts.updated),
            Mark::Deleted => (BAD, '-', &mut self.counts.deleted),
        };
        *count += 1;
        self.text.push_str(&format!("{}\n", styled(style, &format!("{sign} {name}"))));
    }
}

/// A sentence for the counts, with words for what is created, updated and deleted.
pub fn summary(counts: &Counts, words: [&str; 3]) -> String {
    let Counts { created, updated, deleted, unchanged } = *counts;
    let parts = [created, updated, deleted].into_iter().zip(words).filter(|(count, _)| *count > 0);
    let parts =
        parts.map(|(count, word)| format!("{count} {word}")).chain([format!("{unchanged} unchanged")]);
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_differ_are_shown() {
        assert_eq!(changed_lines("a\nb\nc\n", "a\nx\ny\nc\n"), "    - b\n    + x\n    + y\n");
        assert_eq!(changed_lines("a\n", "a\nb\n"), "    + b\n");
        assert_eq!(changed_lines("a\na\n", "a\n"), "    - a\n");
    }

    #[test]
    fn a_summary_counts_what_there_is() {
        let counts = Counts { created: 2, unchanged: 1, ..Counts::default() };
        assert_eq!(summary(&counts, ["created", "updated", "deleted"]), "2 created, 1 unchanged");
        assert_eq!(summary(&Counts::default(), ["created", "updated", "deleted"]), "0 unchanged");
    }
}
