use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::*;
use crate::policy::app::{Affinity, Block, Followup, Item, Strategy as Taking, WorkerName, Workers};
use crate::policy::arbitrary::{script, script_of};

/// Pieces that matter to YAML or to scripts.
const PIECES: [&str; 40] = [
    "-",
    "- ",
    "\n",
    "\n  ",
    "\n    - ",
    ": ",
    "? ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "*",
    "&a ",
    "*a",
    "!",
    "!t",
    "'",
    "\"",
    "\\",
    "#",
    "|",
    ">",
    "%",
    "@",
    "---\n",
    "...\n",
    "\t",
    "\r",
    "\0",
    "\u{feff}",
    "é",
    "日本",
    "workers",
    "\"*\"",
    "50%",
    "followup: default",
    "affinity",
    "~",
    " ",
];

/// Writes scripts in random styles.
struct Writer(SmallRng);

impl Writer {
    fn script(&mut self, script: &Script) -> String {
        let items = script.items.iter().map(|item| self.item(item)).collect::<Vec<_>>();
        if self.0.random() { format!("---\n{}...\n", items.concat()) } else { items.concat() }
    }

    fn item(&mut self, Item { tag, blocks, followup, .. }: &Item) -> String {
        let tag = format!("{}:", quoted(tag));
        let blocks = match self.0.random() {
            true => blocks.iter().fold("\n".to_owned(), |text, block| text + &self.block(block)),
            false => {
                let blocks: Vec<_> = blocks.iter().map(|block| self.flow_block(block)).collect();
                format!(" [{}]\n", blocks.join(", "))
            }
        };
        match (followup, self.0.random()) {
            (Followup::Fail, true) => format!("- {tag}{blocks}"),
            (followup, true) => format!("- {tag}{blocks}  followup: {}\n", followup.as_str()),
            (followup, false) => format!("- followup: '{}'\n  {tag}{blocks}", followup.as_str()),
        }
    }

    fn block(&mut self, block: &Block) -> String {
        let mut text = format!("  - workers: {}\n", self.workers(&block.workers));
        if block.strategy != Taking::BestFirst || self.0.random() {
            text += &format!("    strategy: {} # how\n", block.strategy.as_str());
        }
        if !self.invalidations(block).is_empty() || self.0.random() {
            text += "    invalidate:\n";
            for invalidation in self.invalidations(block) {
                text += &format!("      {invalidation}\n");
            }
        }
        if !block.affinity.is_empty() || self.0.random() {
            text += "    affinity:\n";
            for term in &block.affinity {
                text += &format!("    - {}\n", quoted(&term.to_string()));
            }
        }
        text
    }

    fn flow_block(&mut self, block: &Block) -> String {
        let terms: Vec<_> = block.affinity.iter().map(|term| quoted(&term.to_string())).collect();
        format!(
            "{{affinity: [{}], strategy: \"{}\", workers: {}, invalidate: {{{}}}}}",
            terms.join(", "),
            block.strategy.as_str(),
            self.workers(&block.workers),
            self.invalidations(block).join(", "),
        )
    }

    fn workers(&mut self, workers: &Workers) -> String {
        match workers {
            Workers::All => ["\"*\"", "'*'"][self.0.random_range(0..2)].to_owned(),
            Workers::Named(named) => {
                let names: Vec<_> = named.iter().map(|named| quoted(&named.name)).collect();
                format!("[{}]", names.join(", "))
            }
        }
    }

    fn invalidations(&mut self, block: &Block) -> Vec<String> {
        // No limit: nothing, or more than 100.
        let percent = block.capacity_used.map(u32::from);
        let percent =
            percent.or_else(|| self.0.random::<bool>().then(|| self.0.random_range(101..=u32::MAX)));
        let percent = percent.map(|percent| {
            let forms = [
                format!("{percent}"),
                format!("{percent}%"),
                format!("\"{percent}\""),
                format!("'{percent} %'"),
            ];
            format!("capacity_used: {}", forms[self.0.random_range(0..forms.len())])
        });
        let most = block.max_concurrent_invocations.map(|most| format!("max_concurrent_invocations: {most}"));
        percent.into_iter().chain(most).collect()
    }
}

/// A quoted YAML string.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Removes the positions.
fn bare(script: Script) -> Script {
    let position = Position::default();
    let bare_workers = |workers| match workers {
        Workers::All => Workers::All,
        Workers::Named(named) => {
            Workers::Named(named.into_iter().map(|named| WorkerName { position, ..named }).collect())
        }
    };
    let bare_block = |block: Block| Block {
        workers: bare_workers(block.workers),
        affinity: block.affinity.into_iter().map(|term| Affinity { position, ..term }).collect(),
        position,
        ..block
    };
    let bare_item =
        |item: Item| Item { blocks: item.blocks.into_iter().map(bare_block).collect(), position, ..item };
    Script { items: script.items.into_iter().map(bare_item).collect() }
}

/// Checks what is true of every result.
fn check(text: &str) -> Result<(), TestCaseError> {
    match parse(text) {
        Ok(script) => {
            prop_assert!(!script.items.is_empty());
            for item in &script.items {
                prop_assert!(!item.tag.is_empty() && !item.blocks.is_empty());
                prop_assert_eq!(script.items.iter().filter(|other| other.tag == item.tag).count(), 1);
            }
        }
        Err(problems) => {
            prop_assert!(!problems.is_empty());
            let lines = u32::try_from(text.split(['\n', '\r']).count()).expect("not that many");
            for problem in problems {
                let Position { line, column } = problem.position;
                prop_assert!((1..=lines).contains(&line) && column >= 1, "{:?}", problem);
                prop_assert!(problem.message.starts_with(problem.kind.as_str()));
                prop_assert!(problem.message.contains(&format!("line {line}: ")), "{:?}", problem);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_written_is_read_back(
        script in script_of(
            "[\"-~à-ö一-十][ -~à-ö一-十]{0,12}".boxed(),
            "[ -)+-~à-ö一-十][ -~à-ö一-十]{0,12}".boxed(),
        ),
        seed: u64,
    ) {
        let text = Writer(SmallRng::seed_from_u64(seed)).script(&script);
        match parse(&text) {
            Ok(read) => prop_assert_eq!(bare(read), script, "{}", text),
            Err(problems) => prop_assert!(false, "{}\n{:?}", text, problems),
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), pieces in vec(select(&PIECES[..]), 0..40)) {
        check(&text)?;
        check(&pieces.concat())?;
    }

    #[test]
    fn a_script_with_slips_is_read_or_refused(
        script in script(),
        seed: u64,
        slips in vec((any::<Index>(), 0..4_usize, select(&PIECES[..])), 1..5),
    ) {
        let mut chars: Vec<char> = Writer(SmallRng::seed_from_u64(seed)).script(&script).chars().collect();
        for (at, removed, piece) in slips {
            let at = at.index(chars.len() + 1);
            let end = chars.len().min(at + removed);
            chars.splice(at..end, piece.chars());
        }
        check(&chars.into_iter().collect::<String>())?;
    }
}
