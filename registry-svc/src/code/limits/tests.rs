//! Modules at and above each limit.

use std::time::{Duration, Instant};

use super::super::invalid::InvalidCode;
use super::super::outline::Outline;
use super::super::validate::validate;
use super::{Limit, TABLE_ELEMENTS, of_function, of_module};

const LOCAL_GET: u8 = 0x20;
const DROP: u8 = 0x1a;
const BR_IF_0: [u8; 2] = [0x0d, 0];
const BLOCK: [u8; 2] = [0x02, EMPTY];
const LOOP: [u8; 2] = [0x03, EMPTY];
const EMPTY: u8 = 0x40;
const END: u8 = 0x0b;
const I32: u8 = 0x7f;
const V128: u8 = 0x7b;

/// Types of functions: the entry, no values, one result, 1000 values in and out.
const NOTHING: u8 = 1;
const ONE_RESULT: u8 = 2;
const THOUSAND: u8 = 3;

/// The parts of a module that the limits are about.
#[derive(Default)]
struct Module {
    more_types: usize,
    imports: usize,
    tables: Vec<u32>,
    globals: usize,
    exports: usize,
    elements: usize,
    functions: Vec<Function>,
}

/// A function with this type and these locals, all of one type.
#[derive(Clone)]
struct Function {
    r#type: u8,
    locals: (u32, u8),
    body: Vec<u8>,
}

fn function(locals: u32, body: Vec<u8>) -> Function {
    Function { r#type: NOTHING, locals: (locals, I32), body }
}

fn of(functions: Vec<Function>) -> Module {
    Module { functions, ..Module::default() }
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(if number == 0 { byte } else { byte | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}

fn with_size(bytes: Vec<u8>) -> Vec<u8> {
    [leb(bytes.len()), bytes].concat()
}

fn section(id: u8, items: Vec<Vec<u8>>) -> Vec<u8> {
    if items.is_empty() {
        return Vec::new();
    }
    let count = leb(items.len());
    [vec![id], with_size([count, items.concat()].concat())].concat()
}

fn named(name: &str, rest: &[u8]) -> Vec<u8> {
    [with_size(name.as_bytes().to_vec()), rest.to_vec()].concat()
}

impl Module {
    /// The binary, which exports a memory and an entry that does nothing.
    fn binary(&self) -> Vec<u8> {
        let thousand = with_size(vec![I32; 1000]);
        let mut types = vec![
            vec![0x60, 1, I32, 1, I32],
            vec![0x60, 0, 0],
            vec![0x60, 0, 1, I32],
            [vec![0x60], thousand.clone(), thousand].concat(),
        ];
        types.extend(vec![vec![0x60, 0, 0]; self.more_types]);
        types.push(vec![0x60, 2, I32, I32, 0]);
        let log = [leb(types.len() - 1)].concat();
        let import = || named("fl_imps", &named("__console_log", &[vec![0], log.clone()].concat()));
        let entry = Function { r#type: 0, locals: (0, I32), body: vec![0x41, 0] };
        let functions = || std::iter::once(&entry).chain(&self.functions);
        let mut exports =
            vec![named("memory", &[2, 0]), named("__invoke", &[vec![0], leb(self.imports)].concat())];
        exports.extend((2..self.exports).map(|number| named(&number.to_string(), &[2, 0])));
        let elements = [vec![1, 0], leb(self.elements), vec![0; self.elements]].concat();
        let code = |function: &Function| {
            let locals = match function.locals {
                (0, _) => vec![0],
                (count, kind) => [vec![1], leb(count as usize), vec![kind]].concat(),
            };
            with_size([locals, function.body.clone(), vec![END]].concat())
        };
        let table = |size: &u32| [vec![0x70, 0], leb(*size as usize)].concat();
        [
            b"\0asm\x01\0\0\0".to_vec(),
            section(1, types),
            section(2, (0..self.imports).map(|_| import()).collect()),
            section(3, functions().map(|function| vec![function.r#type]).collect()),
            section(4, self.tables.iter().map(table).collect()),
            section(5, vec![vec![0, 1]]),
            section(6, vec![vec![I32, 0, 0x41, 0, END]; self.globals]),
            section(7, exports),
            section(9, if self.elements == 0 { Vec::new() } else { vec![elements] }),
            section(10, functions().map(code).collect()),
        ]
        .concat()
    }
}

fn repeat(code: &[u8], times: usize) -> Vec<u8> {
    code.repeat(times)
}

fn nop(count: usize) -> Vec<u8> {
    vec![0x01; count]
}

fn br_table(entries: usize) -> Vec<u8> {
    [vec![0x41, 0, 0x0e], leb(entries - 1), vec![0; entries]].concat()
}

/// Blocks that are left in two ways, each after using this number of locals.
fn joins(count: usize, locals: usize) -> Vec<u8> {
    let uses: Vec<_> =
        (0..locals).flat_map(|local| [vec![LOCAL_GET], leb(local), vec![DROP]].concat()).collect();
    let join = [&BLOCK[..], &uses, &[LOCAL_GET, 0], &BR_IF_0, &[END]].concat();
    repeat(&join, count)
}

/// Loops inside each other, the innermost of which changes all of the locals.
fn loops(depth: usize, locals: usize) -> Vec<u8> {
    let change = |local| [vec![LOCAL_GET], leb(local), vec![0x41, 1, 0x6a, 0x21], leb(local)].concat();
    let changes = (0..locals).flat_map(change).collect();
    let ends = repeat(&[LOCAL_GET, 0, 0x0d, 0, END], depth);
    [repeat(&LOOP, depth), changes, ends].concat()
}

/// So many blocks that take and leave 1000 values.
fn thousands(blocks: usize) -> Function {
    let values: Vec<_> = (0..1000).flat_map(|local| [vec![LOCAL_GET], leb(local)].concat()).collect();
    let body = [values, repeat(&[0x02, THOUSAND, END], blocks)].concat();
    Function { r#type: THOUSAND, locals: (0, I32), body }
}

fn calls(count: usize) -> Vec<Function> {
    let one = Function { r#type: ONE_RESULT, locals: (0, I32), body: vec![0x41, 0] };
    vec![one, function(0, repeat(&[0x10, 1, DROP], count))]
}

/// A limit, a module that has just as much, one that has more, and how much more.
type Case = (Limit, Module, Module, u64);

fn of_functions() -> Vec<Case> {
    use of_function::{
        BLOCKS, BLOCKS_TIMES_LOCALS, BR_TABLE_ENTRIES, BYTES, COST, LOCALS, LOOP_DEPTH, MERGED_VALUES,
        OPERANDS,
    };
    let one = |locals, body| of(vec![function(locals, body)]);
    vec![
        (BYTES, one(0, nop((2 << 20) - 2)), one(0, nop((2 << 20) - 1)), 1),
        (LOCALS, one(10_000, vec![]), one(10_001, vec![]), 1),
        (BLOCKS, one(0, repeat(&[2, EMPTY, END], 49_999)), one(0, repeat(&[2, EMPTY, END], 50_000)), 1),
        (LOOP_DEPTH, one(1, loops(200, 1)), one(1, loops(201, 1)), 1),
        (BR_TABLE_ENTRIES, one(0, br_table(100_000)), one(0, br_table(100_001)), 1),
        (OPERANDS, of(calls(100_000)), of(calls(100_001)), 1),
        (
            BLOCKS_TIMES_LOCALS,
            one(1000, repeat(&[2, EMPTY, END], 9_999)),
            one(1000, repeat(&[2, EMPTY, END], 10_000)),
            1000,
        ),
        (MERGED_VALUES, one(10, joins(15_000, 10)), one(10, [joins(15_000, 10), joins(1, 1)].concat()), 1),
        (COST, one(1000, joins(20, 1000)), one(1000, [joins(20, 1000), joins(1, 1)].concat()), 1),
    ]
}

fn of_modules() -> Vec<Case> {
    use of_module::{
        BLOCKS_TIMES_LOCALS, BR_TABLE_ENTRIES, COST, ELEMENTS, EXPORTS, FUNCTIONS, IMPORTS, LOCALS, OPERANDS,
        TYPES,
    };
    let copies = |count, locals, body: Vec<u8>| of(vec![function(locals, body); count]);
    let and = |mut module: Module, locals, body| {
        module.functions.push(function(locals, body));
        module
    };
    let blocks = || repeat(&[2, EMPTY, END], 9_999);
    let with = |elements| Module { elements, ..Module::default() };
    let operands = |count| of(vec![thousands(50); count]);
    vec![
        (TYPES, Module { more_types: 99_995, ..of(vec![]) }, Module { more_types: 99_996, ..of(vec![]) }, 1),
        (IMPORTS, Module { imports: 1000, ..of(vec![]) }, Module { imports: 1001, ..of(vec![]) }, 1),
        (EXPORTS, Module { exports: 100_000, ..of(vec![]) }, Module { exports: 100_001, ..of(vec![]) }, 1),
        (FUNCTIONS, copies(99_999, 0, vec![]), copies(100_000, 0, vec![]), 1),
        (ELEMENTS, with(500_000), with(500_001), 1),
        // The entry has a parameter.
        (LOCALS, and(copies(99, 10_000, vec![]), 9_999, vec![]), copies(100, 10_000, vec![]), 1),
        (
            BR_TABLE_ENTRIES,
            copies(10, 0, br_table(100_000)),
            and(copies(10, 0, br_table(100_000)), 0, br_table(1)),
            1,
        ),
        (OPERANDS, operands(50), and(operands(50), 0, vec![2, 0x7f, 0x41, 0, END, DROP]), 1),
        (
            BLOCKS_TIMES_LOCALS,
            and(copies(19, 1000, blocks()), 999, blocks()),
            copies(20, 1000, blocks()),
            // The entry has one local and one block.
            1,
        ),
        (COST, copies(10, 1000, joins(20, 1000)), and(copies(10, 1000, joins(20, 1000)), 1, joins(1, 1)), 1),
    ]
}

fn of_instances() -> Vec<Case> {
    let tables = |tables: &[u32]| Module { tables: tables.to_vec(), ..Module::default() };
    let globals = |globals| Module { globals, ..Module::default() };
    vec![
        (of_module::TABLES, tables(&[1; 4]), tables(&[1; 5]), 1),
        (TABLE_ELEMENTS, tables(&[1, 100_000]), tables(&[1, 100_001]), 1),
        // The entry takes as much as two globals.
        (of_module::INSTANCE_BYTES, globals(65_534), globals(65_535), 16),
    ]
}

fn check(cases: Vec<Case>, is_expected: fn(&InvalidCode) -> bool) {
    for (limit, at, above, more) in cases {
        // Without the validation that follows, which takes long for large modules in a debug build.
        assert_eq!(Outline::read(&at.binary()).map(drop), Ok(()), "{}", limit.what);
        let refused = Outline::read(&above.binary()).expect_err(limit.what);
        assert!(is_expected(&refused), "{refused}");
        let expected = format!("has {} {}; the limit is {}", limit.max + more, limit.what, limit.max);
        assert!(refused.to_string().ends_with(&expected), "{refused:?} does not end with {expected:?}");
    }
}

/// The modules of the other tests are valid.
#[test]
fn small_modules_of_these_tests_are_valid() {
    let modules = [
        of(vec![
            function(1, loops(200, 1)),
            function(10, joins(10, 10)),
            function(0, br_table(10)),
            thousands(2),
        ]),
        of(calls(10)),
        Module { imports: 2, tables: vec![1, 2], globals: 3, exports: 4, elements: 5, ..of(vec![]) },
    ];
    for module in modules {
        assert_eq!(validate(&module.binary()).map(drop), Ok(()));
    }
}

#[test]
fn functions_are_accepted_up_to_each_limit_and_refused_above_it() {
    check(of_functions(), |refused| matches!(refused, InvalidCode::TooComplex(_)));
}

#[test]
fn modules_are_accepted_up_to_each_limit_and_refused_above_it() {
    check(of_modules(), |refused| matches!(refused, InvalidCode::TooComplex(_)));
}

#[test]
fn modules_that_no_worker_has_room_for_are_refused() {
    check(of_instances(), |refused| matches!(refused, InvalidCode::NeverRunnable(_)));
}

#[test]
fn what_would_take_a_compiler_minutes_is_refused_in_milliseconds() {
    let one = |locals, body| of(vec![function(locals, body)]).binary();
    let vectors = Function { r#type: NOTHING, locals: (50_000, V128), body: vec![] };
    let bombs = [
        ("20000 locals", one(20_000, loops(300, 20_000))),
        ("loops inside each other", one(1000, loops(300, 1000))),
        ("estimated compilation cost", one(1000, loops(100, 1000))),
        ("where control flow joins", one(1000, nested_joins(300, 1000))),
        ("50000 locals", of(vec![vectors; 100]).binary()),
        (
            "`br_table` entries",
            one(0, [0x41, 0, 0x0e].into_iter().chain(leb(1_900_000)).chain(vec![0; 1_900_001]).collect()),
        ),
        ("5000006 bytes", one(0, br_table(4_999_997))),
        ("7500000 bytes", one(0, nop(7_499_998))),
        ("operands of calls and blocks", of(vec![thousands(1000)]).binary()),
    ];
    for (expected, bomb) in bombs {
        let began = Instant::now();
        let refused = validate(&bomb).expect_err(expected).to_string();
        assert!(began.elapsed() < Duration::from_secs(1), "{expected}: {:?}", began.elapsed());
        assert!(
            refused.starts_with("is too complex to compile: ") && refused.contains(expected),
            "{refused}"
        );
    }
}

/// Blocks inside each other that are left in two ways; the innermost changes all of the locals.
fn nested_joins(depth: usize, locals: usize) -> Vec<u8> {
    let begin = repeat(&[2, EMPTY, LOCAL_GET, 0, 0x0d, 0], depth);
    [begin, loops(0, locals), repeat(&[END], depth)].concat()
}

/// Interpreters have hundreds of cases in one loop, and the cases share their locals.
#[test]
fn the_loop_of_an_interpreter_is_accepted() {
    const CASES: usize = 1000;
    const LOCALS: usize = 100;
    let targets: Vec<_> = (0..CASES).flat_map(leb).collect();
    let dispatch = [vec![LOCAL_GET, 0, 0x0e], leb(CASES - 1), targets].concat();
    // Each case uses ten locals and goes on with the loop, which is outside of the remaining cases.
    let case = |number: usize| {
        let uses =
            (0..10).flat_map(|local| [vec![LOCAL_GET], leb((number + local) % LOCALS), vec![DROP]].concat());
        [vec![END], uses.collect(), vec![0x0c], leb(CASES - 1 - number)].concat()
    };
    let cases: Vec<_> = (0..CASES).flat_map(case).collect();
    let body = [LOOP.to_vec(), repeat(&BLOCK, CASES), dispatch, cases, vec![END]].concat();
    let module = of(vec![function(LOCALS as u32, body)]);
    assert_eq!(validate(&module.binary()).map(drop), Ok(()));
}

#[test]
fn the_documentation_has_each_limit() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let cases = of_functions().into_iter().chain(of_modules()).chain(of_instances());
    for (Limit { what, max }, ..) in cases {
        let what = if what == TABLE_ELEMENTS.what { "elements of one table" } else { what };
        let row = format!("\n| {what} | {max} |\n");
        assert!(page.contains(&row), "docs/configuration.md has no row {row:?}");
    }
}
