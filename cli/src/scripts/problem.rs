//! What the mesh finds in a script.

use std::path::Path;

use serde::Deserialize;

/// Something wrong or doubtful.
#[derive(Debug, Deserialize)]
pub struct Problem {
    /// Begins with what kind of problem it is.
    message: String,
    line: u32,
    column: u32,
}

impl Problem {
    /// In a line, with the place as editors know it.
    pub fn at(&self, file: &Path) -> String {
        let Self { message, line, column } = self;
        // What is quoted from the file must neither break the line nor steer the terminal.
        let message = message.replace(char::is_control, " ");
        format!("{}:{line}:{column}: {message}", file.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_a_line() {
        let text = r#"{"kind":"no_blocks","message":"no_blocks: tag\n\"a\", line 3","tag":"a","block":0,
            "line":3,"column":5}"#;
        let problem: Problem = serde_json::from_str(text).expect("a problem");
        assert_eq!(problem.at(Path::new("a.yml")), r#"a.yml:3:5: no_blocks: tag "a", line 3"#);
    }
}
