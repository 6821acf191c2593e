//! Estimates what it costs to compile a function, in one pass over its code.
//!
//! The expensive part of a compiler is what becomes of the locals where control flow joins: at the start of a loop,
//! and after a block that is left in several ways. There, each local that was used inside needs a new value, a phi
//! node, and the register allocator compares those of one place with each other. So the estimate is the sum of the
//! squares of their number over all such places. Optimised code of real programs stays below six million; the
//! compiler takes seconds for ten million.

use wasmparser::{BlockType, FunctionBody, Operator};

use super::limits::{Exceeded, Place, of_function, of_module};

/// The number of parameters and results of a function type.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Arity {
    pub(super) params: u32,
    pub(super) results: u32,
}

/// The types of a module, and those of its functions.
#[derive(Debug, Default)]
pub(super) struct Types {
    pub(super) types: Vec<Arity>,
    /// Indices of `types`; imported functions come first.
    pub(super) functions: Vec<u32>,
}

impl Types {
    /// Nothing for a type that does not exist: validation refuses it.
    fn arity(&self, index: u32) -> Arity {
        self.types.get(index as usize).copied().unwrap_or_default()
    }

    fn arity_of_function(&self, index: u32) -> Arity {
        self.functions.get(index as usize).map_or_else(Arity::default, |index| self.arity(*index))
    }

    /// The values that a block takes and leaves.
    fn arity_of_block(&self, block: BlockType) -> Arity {
        match block {
            BlockType::Empty => Arity::default(),
            BlockType::Type(_) => Arity { params: 0, results: 1 },
            BlockType::FuncType(index) => self.arity(index),
        }
    }
}

/// The sums of all functions of a module so far.
#[derive(Debug, Default)]
pub(super) struct Totals {
    locals: u64,
    br_table_entries: u64,
    operands: u64,
    blocks_times_locals: u64,
    cost: u64,
}

/// Why a function is refused.
#[derive(Debug)]
pub(super) enum Refused {
    Exceeded(Exceeded),
    Malformed(wasmparser::Error),
}

impl From<Exceeded> for Refused {
    fn from(exceeded: Exceeded) -> Self {
        Self::Exceeded(exceeded)
    }
}

impl From<wasmparser::Error> for Refused {
    fn from(error: wasmparser::Error) -> Self {
        Self::Malformed(error)
    }
}

impl Totals {
    /// Checks the function with this index and adds it to the sums.
    pub(super) fn add(&mut self, types: &Types, index: u32, body: &FunctionBody<'_>) -> Result<(), Refused> {
        let place = Place::Function(index);
        let range = body.range();
        of_function::BYTES.check(place, (range.end - range.start) as u64)?;
        let mut locals = u64::from(types.arity_of_function(index).params);
        for group in body.get_locals_reader()? {
            locals += u64::from(group?.0);
            of_function::LOCALS.check(place, locals)?;
        }
        self.locals += locals;
        of_module::LOCALS.check(Place::Module, self.locals)?;

        let mut function = Function::new(types, place, locals);
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            function.add(&operators.read()?)?;
        }
        function.check(locals)?;
        self.br_table_entries += function.br_table_entries;
        self.operands += function.operands;
        self.blocks_times_locals += function.blocks * locals;
        self.cost += function.cost;
        of_module::BR_TABLE_ENTRIES.check(Place::Module, self.br_table_entries)?;
        of_module::OPERANDS.check(Place::Module, self.operands)?;
        of_module::BLOCKS_TIMES_LOCALS.check(Place::Module, self.blocks_times_locals)?;
        of_module::COST.check(Place::Module, self.cost)?;
        Ok(())
    }
}

/// A block, loop, or branch of an `if` that has not ended yet.
#[derive(Debug, Default)]
struct Frame {
    is_loop: bool,
    /// The number of the operator that begins it.
    begins: u32,
    /// The values that a branch to it carries.
    label_values: u32,
    /// From how many places control flow comes to its label.
    predecessors: u32,
    /// The operator that was the last to branch to it.
    last_branch: u32,
    /// The rest cannot be reached.
    is_dead: bool,
    /// How many different locals are used in it. Locals used in blocks inside of it are added when these end.
    locals_used: i64,
}

/// The counts of one function.
struct Function<'a> {
    types: &'a Types,
    place: Place,
    frames: Vec<Frame>,
    /// The number of the present operator, from 1.
    now: u32,
    /// The number of the last operator that uses each local. 0: none so far.
    last_uses: Vec<u32>,
    loop_depth: u64,
    blocks: u64,
    br_table_entries: u64,
    operands: u64,
    merged_values: u64,
    cost: u64,
}

impl<'a> Function<'a> {
    fn new(types: &'a Types, place: Place, locals: u64) -> Self {
        Self {
            types,
            place,
            frames: vec![Frame { begins: 1, ..Frame::default() }],
            now: 0,
            last_uses: vec![0; usize::try_from(locals).unwrap_or_default()],
            loop_depth: 0,
            blocks: 1,
            br_table_entries: 0,
            operands: 0,
            merged_values: 0,
            cost: 0,
        }
    }

    fn check(&self, locals: u64) -> Result<(), Exceeded> {
        of_function::BR_TABLE_ENTRIES.check(self.place, self.br_table_entries)?;
        of_function::OPERANDS.check(self.place, self.operands)?;
        of_function::BLOCKS_TIMES_LOCALS.check(self.place, self.blocks * locals)?;
        of_function::MERGED_VALUES.check(self.place, self.merged_values)?;
        of_function::COST.check(self.place, self.cost)
    }

    fn add(&mut self, operator: &Operator<'_>) -> Result<(), Refused> {
        self.now += 1;
        match operator {
            Operator::Block { blockty } => self.begin(*blockty, false)?,
            Operator::TryTable { try_table } => self.begin(try_table.ty, false)?,
            Operator::Loop { blockty } => {
                self.begin(*blockty, true)?;
                self.loop_depth += 1;
                of_function::LOOP_DEPTH.check(self.place, self.loop_depth)?;
            }
            Operator::If { blockty } => {
                self.begin(*blockty, false)?;
                // The end can be reached from both branches.
                self.top(|frame| frame.predecessors += 1);
            }
            Operator::Else => self.top(|frame| {
                frame.predecessors -= u32::from(frame.is_dead).min(frame.predecessors);
                frame.is_dead = false;
            }),
            Operator::End => self.end(),
            Operator::Br { relative_depth } => {
                self.branch(*relative_depth);
                self.top(|frame| frame.is_dead = true);
            }
            Operator::BrIf { relative_depth }
            | Operator::BrOnNull { relative_depth }
            | Operator::BrOnNonNull { relative_depth } => {
                self.branch(*relative_depth);
                self.count_block()?;
            }
            Operator::BrTable { targets } => {
                for target in targets.targets() {
                    self.branch(target?);
                }
                self.branch(targets.default());
                self.br_table_entries += u64::from(targets.len()) + 1;
                self.top(|frame| frame.is_dead = true);
                self.count_block()?;
            }
            Operator::Return | Operator::Unreachable => self.top(|frame| frame.is_dead = true),
            Operator::LocalGet { local_index }
            | Operator::LocalSet { local_index }
            | Operator::LocalTee { local_index } => self.use_local(*local_index),
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                self.call(self.types.arity_of_function(*function_index));
            }
            Operator::CallIndirect { type_index, .. }
            | Operator::ReturnCallIndirect { type_index, .. }
            | Operator::CallRef { type_index }
            | Operator::ReturnCallRef { type_index } => self.call(self.types.arity(*type_index)),
            _ => {}
        }
        Ok(())
    }

    fn top(&mut self, change: impl FnOnce(&mut Frame)) {
        if let Some(frame) = self.frames.last_mut() {
            change(frame);
        }
    }

    fn count_block(&mut self) -> Result<(), Exceeded> {
        self.blocks += 1;
        of_function::BLOCKS.check(self.place, self.blocks)
    }

    fn begin(&mut self, block: BlockType, is_loop: bool) -> Result<(), Exceeded> {
        let arity = self.types.arity_of_block(block);
        self.call(arity);
        self.frames.push(Frame {
            is_loop,
            begins: self.now,
            label_values: if is_loop { arity.params } else { arity.results },
            predecessors: u32::from(is_loop),
            ..Frame::default()
        });
        self.count_block()
    }

    fn end(&mut self) {
        let Some(mut frame) = self.frames.pop() else { return };
        if frame.is_loop {
            self.loop_depth -= 1;
        } else if !frame.is_dead {
            frame.predecessors += 1;
        }
        if frame.predecessors > 1 {
            let merged = frame.locals_used.max(0).unsigned_abs() + u64::from(frame.label_values);
            self.merged_values += merged;
            self.cost += merged * merged;
        }
        self.top(|outer| outer.locals_used += frame.locals_used);
    }

    fn branch(&mut self, depth: u32) {
        let now = self.now;
        let index = self.frames.len().checked_sub(depth as usize + 1);
        let Some(frame) = index.and_then(|index| self.frames.get_mut(index)) else { return };
        self.operands += u64::from(frame.label_values);
        // Entries of one `br_table` are one branch.
        if std::mem::replace(&mut frame.last_branch, now) != now {
            frame.predecessors += 1;
        }
    }

    fn call(&mut self, arity: Arity) {
        self.operands += u64::from(arity.params) + u64::from(arity.results);
    }

    /// Counts a local in each open frame that has not used it yet. These are the innermost ones: its last use is
    /// inside of the others.
    fn use_local(&mut self, index: u32) {
        let Some(last_use) = self.last_uses.get_mut(index as usize) else { return };
        let before = std::mem::replace(last_use, self.now);
        let outer = self.frames.partition_point(|frame| frame.begins <= before);
        if outer < self.frames.len() {
            self.top(|frame| frame.locals_used += 1);
            // Taken back where the frames end that have counted it before.
            if let Some(counted) = outer.checked_sub(1).and_then(|index| self.frames.get_mut(index)) {
                counted.locals_used -= 1;
            }
        }
    }
}
