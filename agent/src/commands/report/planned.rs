//! What is planned: energy against the deadline, and a frame as it will run. Every number is `plan`'s own.

use jetpace_tables::plan::{self, Problem, SizeClass};
use jetpace_tables::table::Table;
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::BlockId;

use super::material::{Material, Of, Source};
use super::{Goal, mhz, name, percent, row, simulated};
use crate::args::options;
use crate::commands::plan::document::Document;
use crate::commands::plan::{Args as PlanArgs, Made, words};
use crate::failure::Failure;
use crate::report::chart::{Chart, Mark, Series};
use crate::report::page::{Page, Rows};
use crate::report::timeline::{Bar, MARGINS, Timeline};
use crate::session::frames::Pace;
use crate::session::virtual_board::VirtualRun;
use crate::session::{Drive, Summary};
use crate::signals::Stop;
use crate::workers;

/// Deadlines that are planned for, besides the one that is asked for.
const STEPS: u32 = 20;
/// The last one over the shortest frame.
const WIDEST: f64 = 1.9;
/// Frames that a virtual board runs under its stock governor at each deadline.
const STOCK_FRAMES: u64 = 300;
/// More rows of blocks than this are no picture.
const ROWS: usize = 64;

/// A plan of a source's network for a goal.
pub struct Shown<'a> {
    pub source: &'a Source,
    pub network: String,
    material: &'a Material,
    goal: Goal,
    /// What `plan` makes and prints, or why it refuses.
    plan: Result<(Made, Document), Failure>,
    /// The same frames under the stock governor, where the board is a virtual one.
    stock: Option<Summary>,
}

impl<'a> Shown<'a> {
    /// Plans as `jetpace plan` does.
    pub fn new(material: &'a Material, source: &'a Source, network: &str, goal: Goal) -> Self {
        let network = network.to_owned();
        let plan = planned(source, &network, goal, material);
        let stock = stock(source, &network, goal);
        Self { source, network, material, goal, plan, stock }
    }

    /// The memory clock that is planned for.
    pub fn emc(&self) -> Option<Hertz> {
        self.plan.as_ref().ok()?.0.emc
    }

    /// The plan in a sentence; `None` where there is none.
    pub fn headline(&self) -> Option<String> {
        let (_, document) = self.plan.as_ref().ok()?;
        let (other, who) = match self.stock_j() {
            Some(joules) => (joules, "the stock governor"),
            None => (
                document.baselines.max_clock.energy_j,
                "the highest clock (the stock governor did not run for this page)",
            ),
        };
        let saved = 1.0 - document.energy_j / other;
        let word = if saved >= 0.0 { "less" } else { "more" };
        Some(format!(
            "{}, planned for {}: {} {word} energy than {who}, {} late expected of {} allowed{}.",
            self.network,
            self.goal.deadline,
            percent(saved.abs()),
            percent(document.miss_probability),
            percent(document.risk),
            simulated(&self.source.evidence())
        ))
    }

    fn stock_j(&self) -> Option<f64> {
        self.stock.as_ref().and_then(of_frame)
    }

    /// The section of the plan.
    pub fn tell(&self, page: &mut Page) {
        let Goal { deadline, period, risk } = self.goal;
        page.heading(format!("{}: planned for {deadline}", self.network));
        page.text(format!(
            "A frame every {period}, each to end within {deadline}; {} of them may be late.",
            percent(risk)
        ));
        let (made, document) = match &self.plan {
            Ok(found) => found,
            Err(failure) => return page.text(format!("No plan: {failure}")),
        };
        page.table(self.choices(made, document));
        page.note(self.note(document));
        self.tables().for_each(|table| self.belongs(page, table));
        page.figures();
        let (chart, rows) = self.deadlines(made, document);
        page.chart(&chart, rows);
        schedule(page, made);
    }

    /// The plan beside what else could run.
    fn choices(&self, made: &Made, document: &Document) -> Rows {
        let mut rows = vec![row(["", "energy of a period", "mean time", "late at most", "the plan saves"])];
        let mut add = |name: String, energy_j: f64, time_s: f64, late: f64| {
            let more = match 1.0 - document.energy_j / energy_j {
                0.0 => "-".to_owned(),
                saved => format!("{:.1} %", 1e2 * saved),
            };
            rows.push(vec![
                name,
                format!("{energy_j:.4} J"),
                format!("{:.3} ms", 1e3 * time_s),
                format!("{:.2} %", 1e2 * late),
                more,
            ]);
        };
        add("plan".to_owned(), document.energy_j, document.time_s, document.miss_probability);
        for table in self.tables() {
            if let Some(expected) = self.follows(made, &table.is) {
                add(format!("{}, in rehearsal", name(&table.path)), expected.energy_j, document.time_s, expected.miss);
            }
        }
        let baselines = &document.baselines;
        let fixed = [("best fixed clock", &baselines.best_fixed), ("clock by the CPU's model", &baselines.cpu_dvfs)];
        for (name, baseline) in fixed {
            if let Some(b) = baseline {
                add(format!("{name}, {}", b.clock_hz), b.energy_j, b.time_s, b.miss_probability);
            }
        }
        let top = &baselines.max_clock;
        add(format!("highest clock, {}", top.clock_hz), top.energy_j, top.time_s, top.miss_probability);
        if let (Some(run), Some(joules)) = (&self.stock, self.stock_j()) {
            add(
                format!("stock governor, {STOCK_FRAMES} frames run"),
                joules,
                run.quantile(0.5).as_secs_f64(),
                run.miss_rate(),
            );
        }
        rows
    }

    fn note(&self, document: &Document) -> String {
        let known = document
            .energy_sd
            .map_or(String::new(), |sd| format!(" The model knows the plan's energy to {:.1} %.", 1e2 * sd));
        let whose = match document.power_of.is_module() {
            true => "of the module".to_owned(),
            false => format!("of the {} rail alone", document.power_of.word()),
        };
        let stock = match &self.stock {
            Some(_) => " The stock governor ran on the virtual board; its time is the median.",
            None => " The stock governor is not in it: `jetpace run --json` measures it on its board.",
        };
        format!(
            "Predicted, as jetpace plan prints it; energy is {whose}, the gap between frames included.{known}{stock}"
        )
    }

    fn tables(&self) -> impl Iterator<Item = &Of<Box<Table>>> {
        let of_goal = |table: &&Of<Box<Table>>| {
            (table.is.deadline(), table.is.period()) == (self.goal.deadline, self.goal.period)
        };
        self.material.tables(self.source, &self.network).filter(of_goal)
    }

    /// What following a table comes to in rehearsal, where it is one of this model.
    fn follows(&self, made: &Made, table: &Table) -> Option<plan::Expected> {
        let clocks = table.clocks().iter().map(|clock| clock.clock).eq(made.problem.clocks.iter().copied());
        let blocks = table.names().eq(made.problem.blocks.iter().map(|block| block.name.as_str()));
        let of_model = self.source.digest.is_some_and(|digest| digest == *table.model());
        (of_model && clocks && blocks && table.classes() == 1)
            .then(|| plan::expected(&SizeClass::only(&made.problem, &made.plan), table))
    }

    /// Says where a table is not of this model or board.
    fn belongs(&self, page: &mut Page, table: &Of<Box<Table>>) {
        let path = name(&table.path);
        let digest = jetpace_devfreq::board::hex(table.is.board());
        if self.source.model.board.as_ref().is_some_and(|board| board.digest != digest) {
            page.text(format!("{path} is for another board than {}: no board follows both.", name(&self.source.path)));
        }
        match &self.source.digest {
            Some(model) if model != table.is.model() => {
                page.text(format!(
                    "{path} was planned from another model than {}: the plan shown here is this model's.",
                    name(&self.source.path)
                ));
            }
            Some(_) => {}
            None => page.text(format!(
                "The model of {path} is not among the files: the plan shown here is of the one fitted to {}.",
                name(&self.source.path)
            )),
        }
    }

    /// Energy against the deadline: the plan, one clock, the stock governor, and where this plan is.
    fn deadlines(&self, made: &Made, document: &Document) -> (Chart, Rows) {
        let problem = &made.problem;
        let top = problem.clocks.len() - 1;
        let shortest = plan::fixed(problem, top).map_or(problem.deadline_s, |(_, outcome)| problem.bound_s(&outcome));
        let widest = (WIDEST * shortest).max(1.2 * problem.deadline_s);
        // Closer together where the plan changes most.
        let share = |i: u32| (f64::from(i) / f64::from(STEPS)).powf(1.6);
        let mut at: Vec<f64> = (0..=STEPS).map(|i| shortest + (widest - shortest) * share(i)).collect();
        at.push(problem.deadline_s);
        at.sort_by(f64::total_cmp);
        // Where frames come as fast as they must end, a later deadline is a slower camera.
        let away_s = problem.period_s - problem.deadline_s;
        let points = workers::map(&at, |&deadline_s| {
            let again = Problem { deadline_s, period_s: deadline_s + away_s, ..problem.clone() };
            let ours = match deadline_s == problem.deadline_s {
                true => Some(document.energy_j),
                false => plan::held(&again).ok().flatten().map(|plan| plan.outcome.energy_j),
            };
            let fixed = plan::best_fixed(&again).map(|(.., outcome)| outcome.energy_j);
            let top = plan::fixed(&again, top).map(|(_, outcome)| outcome.energy_j);
            let goal = Goal {
                deadline: Nanos::from_secs_f64(deadline_s),
                period: Nanos::from_secs_f64(deadline_s + away_s),
                ..self.goal
            };
            let stock = stock(self.source, &self.network, goal).filter(|run| run.miss_rate() <= goal.risk);
            [ours, fixed, top, stock.as_ref().and_then(of_frame)]
        });
        let names = ["plan", "best fixed clock", "highest clock", "stock governor"];
        let line = |i: usize| {
            let points = at.iter().zip(&points).filter_map(|(s, energies)| Some((1e3 * s, energies[i]?)));
            Series::new(names[i], Mark::Line, points.collect())
        };
        let here = vec![(1e3 * problem.deadline_s, document.energy_j)];
        let series = vec![line(2), line(3), line(1), line(0), Series::new("this plan", Mark::Dots, here)];
        let mut rows = vec![[&["deadline"], &names[..]].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()];
        for (s, energies) in at.iter().zip(&points) {
            let cells = energies.iter().map(|joules| joules.map_or("-".to_owned(), |joules| format!("{joules:.4} J")));
            rows.push(std::iter::once(format!("{:.3} ms", 1e3 * s)).chain(cells).collect());
        }
        let period = if away_s == 0.0 { "deadline and period (ms)" } else { "deadline (ms)" };
        let chart = Chart {
            title: "Energy against the deadline".to_owned(),
            x: period.to_owned(),
            y: "energy of a period (J)".to_owned(),
            series,
            marks_x: vec![(1e3 * problem.deadline_s, format!("planned here: {:.4} J", document.energy_j))],
            ..Chart::default()
        };
        (chart, rows)
    }
}

/// The plan that `jetpace plan` makes for the goal.
fn planned(source: &Source, network: &str, goal: Goal, material: &Material) -> Result<(Made, Document), Failure> {
    let mut words = words(network, goal.deadline, goal.period, goal.risk);
    // A table is followed at the memory clock that it was planned for.
    let emc = material
        .tables(source, network)
        .find(|table| table.is.deadline() == goal.deadline)
        .and_then(|table| table.is.emc());
    if let Some(emc) = emc.filter(|emc| source.model.emc_clocks(network).contains(&Some(*emc))) {
        words.extend(["--emc".into(), format!("{}Hz", emc.get()).into()]);
    }
    // Behind a mark, as a name may begin with one.
    words.extend(["--".into(), source.path.clone().into()]);
    options::<PlanArgs>(words)?.shown(&source.model)
}

/// Frames under the stock governor, where the board is a virtual one and the network one of ours.
fn stock(source: &Source, network: &str, Goal { deadline, period, .. }: Goal) -> Option<Summary> {
    let board = source.board()?.strip_prefix("sim:")?.to_owned();
    let network = crate::args::network(network).ok()?;
    let pace = Pace { deadline, period };
    let case = VirtualRun { board, seed: 1, network, pace, frames: STOCK_FRAMES, triggers: None, sizes: Vec::new() };
    case.run(Drive::Stock, &Stop::never(), |_| Ok(())).ok()
}

fn of_frame(run: &Summary) -> Option<f64> {
    run.energy.map(|energy| energy.as_joules_f64() / run.frames.max(1) as f64)
}

/// A block's name before its number, and the number: `decode.3` is the third of `decode`.
pub fn kind(name: &str) -> (&str, Option<u32>) {
    let split = name.rsplit_once('.').and_then(|(kind, number)| Some((kind, number.parse().ok()?)));
    split.map_or((name, None), |(kind, number)| (kind, Some(number)))
}

/// The frame as planned: every block with its clock, and the power below.
fn schedule(page: &mut Page, made: &Made) {
    let (problem, plan) = (&made.problem, &made.plan);
    let ms = |s: f64| 1e3 * s;
    let starts = plan.block_starts_s.iter().copied();
    let ends = starts.clone().skip(1).chain([plan.outcome.time_s]);
    let mut bars: Vec<Bar> = Vec::new();
    let mut power: Vec<(f64, f64)> = Vec::new();
    let mut rows = vec![row(["block", "from", "to", "clock at its end", "power"])];
    let mut before: Option<(&str, &str, usize)> = None;
    for (((block, &clock), from), to) in problem.blocks.iter().zip(&plan.block_clocks).zip(starts).zip(ends) {
        let (note, watts) = (problem.clocks[clock].to_string(), block.power_w[clock]);
        power.push((ms(from), watts));
        rows.push(vec![
            block.name.clone(),
            format!("{:.3} ms", ms(from)),
            format!("{:.3} ms", ms(to)),
            note.clone(),
            format!("{watts:.3} W"),
        ]);
        // Blocks of one kind at one clock, one behind the other, share a row.
        let (of, number) = kind(&block.name);
        match (before, bars.last_mut()) {
            (Some((kind, first, at)), Some(bar)) if number.is_some() && (kind, at) == (of, clock) => {
                bar.name = format!("{first} .. {}", number.unwrap_or_default());
                bar.span.1 = ms(to);
            }
            _ => {
                bars.push(Bar { name: block.name.clone(), note, span: (ms(from), ms(to)), group: clock });
                before = Some((of, &block.name, clock));
            }
        }
    }
    let end = plan.outcome.time_s;
    let last = plan.block_clocks.last().copied().unwrap_or(0);
    let idle = plan.schedule.idle.unwrap_or(last);
    power.extend([(ms(end), problem.idle_w[idle]), (ms(problem.period_s), problem.idle_w[idle])]);
    bars.push(Bar {
        name: "idle".to_owned(),
        note: problem.clocks[idle].to_string(),
        span: (ms(end), ms(problem.period_s)),
        group: idle,
    });
    if bars.len() > ROWS {
        page.note(format!(
            "The frame has {} blocks, too many for a picture: the table has them.",
            problem.blocks.len()
        ));
        return page.table(rows);
    }
    let timeline = Timeline {
        title: "A frame as planned: each block with its clock".to_owned(),
        end: ms(problem.period_s),
        bars,
        mark: Some(ms(problem.deadline_s)),
    };
    let below = Chart {
        title: "Power in that frame".to_owned(),
        x: "time in the frame (ms)".to_owned(),
        y: "power (W)".to_owned(),
        series: vec![Series::new("power", Mark::Steps, power)],
        marks_x: vec![(ms(problem.deadline_s), "deadline".to_owned()), (ms(end), "end of the last block".to_owned())],
        y_from_zero: true,
        margins: Some(MARGINS),
        x_range: Some((0.0, ms(problem.period_s))),
    };
    page.timeline(&timeline, &below, rows);
}

/// Tables whose model is not among the files: what they say of themselves.
pub fn lone_tables(page: &mut Page, material: &Material) {
    let network = |table: &Of<Box<Table>>| {
        material.sources.iter().any(|source| source.model.networks().contains(&table.is.network()))
    };
    for table in material.tables.iter().filter(|table| !network(table)) {
        let of = &table.is;
        page.heading(format!("{}: a table for {}", name(&table.path), of.network()));
        page.text(format!(
            "Deadline {}, period {}, {} of frames may be late. Its model is not among the files, so time, power and energy are not known.",
            of.deadline(),
            of.period(),
            percent(of.risk())
        ));
        let clock = |rung: jetpace_tables::table::Rung| {
            of.clocks().get(rung.index()).map_or("?".to_owned(), |clock| clock.clock.to_string())
        };
        let mut rows = vec![row(["block", "clock without slack", "with the most slack"])];
        for (i, block) in of.names().enumerate() {
            let look = |slack: i64| clock(of.look_up(0, BlockId(i as u16), of.gap().first, slack));
            let most = i64::try_from(of.deadline().get()).unwrap_or(i64::MAX);
            rows.push(vec![block.to_owned(), look(0), look(most)]);
        }
        rows.push(vec!["idle".to_owned(), clock(of.gap().idle), clock(of.gap().idle)]);
        page.table(rows);
        let clocks: Vec<String> = of.clocks().iter().map(|clock| mhz(clock.clock).to_string()).collect();
        page.note(format!(
            "It chooses among {} MHz, from {} at the frame's start.",
            clocks.join(", "),
            clock(of.gap().first)
        ));
    }
}
