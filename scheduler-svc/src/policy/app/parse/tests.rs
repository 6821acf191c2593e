use super::*;
use crate::policy::app::problem::MAX_PROBLEMS;
use crate::policy::app::{Affinity, Block, Workers};

/// A script in one line: `TAG: BLOCK | BLOCK`, without defaults.
fn line_of(script: &Script) -> String {
    let items = script.items.iter().map(|item| {
        let blocks: Vec<_> = item.blocks.iter().map(line_of_block).collect();
        let followup = if item.followup.as_str() == "fail" { "" } else { ", then default" };
        format!("{}: {}{followup}", item.tag, blocks.join(" | "))
    });
    items.collect::<Vec<_>>().join("; ")
}

fn line_of_block(block: &Block) -> String {
    let mut words = vec![match &block.workers {
        Workers::All => "*".to_owned(),
        Workers::Named(named) => named.iter().map(|named| &*named.name).collect::<Vec<_>>().join(","),
    }];
    words.extend(Some(block.strategy.as_str().to_owned()).filter(|strategy| strategy != "best-first"));
    words.extend(block.capacity_used.map(|percent| format!("{percent}%")));
    words.extend(block.max_concurrent_invocations.map(|most| format!("<{most}")));
    words.extend(block.affinity.iter().map(Affinity::to_string));
    words.join(" ")
}

/// A script or its problems, in the format of the golden cases.
fn read(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(script) => vec![format!("= {}", line_of(&script))],
        Err(problems) => problems
            .iter()
            .map(|Problem { position, message, .. }| {
                format!("> {}:{} {message}", position.line, position.column)
            })
            .collect(),
    }
}

#[track_caller]
fn problems(text: &str) -> Vec<Problem> {
    match parse(text) {
        Ok(script) => panic!("taken as {}: {text}", line_of(&script)),
        Err(problems) => problems,
    }
}

#[test]
fn golden() {
    let (mut script, mut expected, mut cases) = (Vec::new(), Vec::new(), 0);
    let mut wrong = String::new();
    let lines = include_str!("golden.txt").lines().filter(|line| !line.starts_with('#'));
    for line in lines.chain([""]) {
        if line.starts_with("= ") || line.starts_with("> ") {
            expected.push(line);
        } else if !line.is_empty() {
            script.push(line);
        } else if !expected.is_empty() {
            // Line ends and a byte-order mark do not matter.
            for text in [script.join("\n"), format!("\u{feff}{}\r\n", script.join("\r\n"))] {
                let found = read(&text);
                if found != expected {
                    wrong += &format!("\n{}\n{}\n", script.join("\n"), found.join("\n"));
                }
            }
            (script, expected, cases) = (Vec::new(), Vec::new(), cases + 1);
        }
    }
    assert!(wrong.is_empty(), "these are read differently:\n{wrong}");
    assert!(cases > 90, "{cases} cases");
}

#[test]
fn everything_has_its_position() {
    let text = "\
- grün: [{workers: [ä, \"ß\", c], affinity: [é, \"!ü\"]}, {workers: \"*\"}] # ö
-   u: # 日本
    - strategy: random
      workers:
        - x
";
    let script = parse(text).expect("a script");
    let at = |position: Position| (position.line, position.column);
    let [first, second] = &script.items[..] else { panic!("two items") };
    assert_eq!((at(first.position), at(second.position)), ((1, 3), (2, 5)));
    let [block, all] = &first.blocks[..] else { panic!("two blocks") };
    assert_eq!((at(block.position), at(all.position)), ((1, 10), (1, 55)));
    let names = |block: &Block| match &block.workers {
        Workers::Named(named) => named.iter().map(|named| at(named.position)).collect(),
        Workers::All => Vec::new(),
    };
    assert_eq!(names(block), [(1, 21), (1, 24), (1, 29)]);
    let terms: Vec<_> = block.affinity.iter().map(|term| at(term.position)).collect();
    assert_eq!(terms, [(1, 44), (1, 47)]);
    assert_eq!(at(second.blocks[0].position), (3, 7));
    assert_eq!(names(&second.blocks[0]), [(5, 11)]);
}

#[test]
fn a_problem_says_what_it_is_about() {
    let found = problems("- a:\n  - workers: [w]\n  - {}\n- b:\n- 5\n");
    let about: Vec<_> =
        found.iter().map(|problem| (problem.kind, problem.tag.as_deref(), problem.block)).collect();
    let expected = [
        (ProblemKind::NoBlockWorkers, Some("a"), Some(2)),
        (ProblemKind::NoBlocks, Some("b"), None),
        (ProblemKind::UnknownConstruct, None, None),
    ];
    assert_eq!(about, expected);
}

#[test]
fn a_script_without_anything_is_empty() {
    for text in ["", " \n", "# only a comment\n", "---", "...", "---\n...\n", "null", "\u{feff}", "\r\n"] {
        let found = problems(text);
        assert!(found.len() == 1 && found[0].message.contains("the script is empty"), "{text:?}: {found:?}");
        assert_eq!((found[0].kind, found[0].position.column), (ProblemKind::UnknownConstruct, 1), "{text:?}");
    }
}

#[test]
fn limits_that_are_not_whole_numbers() {
    for value in ["-1", "50.0", "0x10", "+5", "5 0", "\"%\"", "50%%", "half", "-300%", "1e1"] {
        let text = format!("- t: [{{workers: [a], invalidate: {{capacity_used: {value}}}}}]");
        let found = problems(&text);
        let expected = "expected capacity_used as a whole number of percent, such as 50%";
        assert!(found.len() == 1 && found[0].message.contains(expected), "{value}: {found:?}");
    }
    for value in ["-1", "1.5", "3%", "4294967296", "\"\"", "[1]"] {
        let text = format!("- t: [{{workers: [a], invalidate: {{max_concurrent_invocations: {value}}}}}]");
        let found = problems(&text);
        let expected = "expected max_concurrent_invocations as a whole number from 0 to 4294967295";
        assert!(found.len() == 1 && found[0].message.contains(expected), "{value}: {found:?}");
    }
}

#[test]
fn limits_of_size() {
    let large = format!("- t: [{{workers: [w]}}] #{}", "x".repeat(MAX_SCRIPT_BYTES));
    let blocks = format!("- t: [{}]", "{workers: [w]},".repeat(257));
    let tag = format!("- {}: [{{workers: [w]}}]", "é".repeat(161));
    for (text, expected) in [
        (large, "unknown_construct: line 1: the script is larger than the limit of 262144 bytes"),
        (blocks, "unknown_construct: tag \"t\", line 1: an item has at most 256 blocks"),
        (tag, "expected one line of at most 160 characters"),
    ] {
        let found = problems(&text);
        assert!(found.len() == 1 && found[0].message.contains(expected), "{found:?}");
        assert!(found[0].message.len() < 300, "a long text is cut: {found:?}");
    }
}

#[test]
fn hostile_scripts_are_refused_quickly() {
    let fill = |piece: &str| piece.repeat(MAX_SCRIPT_BYTES / piece.len());
    for text in [fill("- "), fill("? "), fill("["), fill("{a: "), "[".repeat(20) + &"]".repeat(20)] {
        let [problem] = &problems(&text)[..] else { panic!("one problem: {}", &text[..20]) };
        let says = |words: &str| problem.message.contains(words);
        assert!(says("nested too deep") || says("recursion limit exceeded"), "{problem:?}");
    }
    // The targets of aliases are not copied.
    let mut bomb = "- &a0 t: [{workers: [w, w]}]\n".to_owned();
    for number in 1..30 {
        let before = number - 1;
        bomb += &format!("- &a{number} [*a{before}, *a{before}, *a{before}, *a{before}]\n");
    }
    assert_eq!(problems(&bomb).len(), 29);

    let many = problems(&fill("- 1\n"));
    assert_eq!(many.len(), MAX_PROBLEMS + 1);
    assert!(many[MAX_PROBLEMS].message.contains("and 64536 more problems"), "{:?}", many[MAX_PROBLEMS]);
}
