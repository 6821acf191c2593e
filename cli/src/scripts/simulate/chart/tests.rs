use roxmltree::{Document, Node};

use super::*;
use crate::scripts::simulate::outcome::tests::{invocation, outcome, worker};

/// A rectangle of a chart: left, top, right, bottom, colour.
type Area = (u32, u32, u32, u32, String);

fn boxes(chart: &Document<'_>) -> Vec<Area> {
    let rectangles = chart.descendants().filter(|node| node.has_tag_name("rect"));
    let number = |node: Node<'_, '_>, name: &str| -> u32 {
        node.attribute(name).and_then(|value| value.parse().ok()).expect("a number")
    };
    let read = |node: Node<'_, '_>| {
        let (x, y) = (number(node, "x"), number(node, "y"));
        let colour = node.attribute("fill").expect("a colour").to_owned();
        (x, y, x + number(node, "width"), y + number(node, "height"), colour)
    };
    rectangles.map(read).collect()
}

fn texts(chart: &Document<'_>) -> Vec<(String, u32)> {
    let texts = chart.descendants().filter(|node| node.has_tag_name("text"));
    texts
        .map(|node| {
            let y = node.attribute("y").and_then(|y| y.parse().ok()).expect("a number");
            (node.text().unwrap_or_default().trim().to_owned(), y)
        })
        .collect()
}

/// The boxes of the colour that the legend gives this tag, without the one in the legend.
fn bars<'a>(boxes: &'a [Area], texts: &[(String, u32)], tag: &str) -> Vec<&'a Area> {
    let (_, y) = texts.iter().find(|(text, _)| text.starts_with(tag)).expect("it is in the legend");
    let in_legend: Vec<_> = boxes.iter().filter(|(_, top, _, bottom, _)| top < y && y < bottom).collect();
    let position = texts.iter().filter(|(_, other)| other == y).position(|(text, _)| text.starts_with(tag));
    // The first is the paper.
    let colour = &in_legend[1 + position.expect("it is there")].4;
    boxes.iter().filter(|(_, top, .., other)| other == colour && top > y).collect()
}

#[test]
fn each_worker_has_a_row_and_each_invocation_a_bar() {
    let drawn = draw(&outcome(
        vec![worker("first", 1), worker("<&\"'>", 1), worker("idle", 1)],
        vec![
            (invocation(0, "web", 1, 4000), "first"),
            (invocation(1000, "web", 1, 1000), "first"),
            (invocation(2000, "web", 1, 1000), "first"),
            (invocation(3000, "web", 1, 0), "<&\"'>"),
            (invocation(9000, "db", 1, 1000), "<&\"'>"),
            (invocation(5000, "", 1, 1000), "refused: no_valid_workers"),
        ],
    ));
    let drawn = drawn.expect("drawn");
    let chart = Document::parse(&drawn).expect("well-formed");
    let (boxes, texts) = (boxes(&chart), texts(&chart));
    let y_of = |name: &str| texts.iter().find(|(text, _)| text == name).map(|(_, y)| *y);
    let rows = ["first", "<&\"'>", "idle", "refused"].map(|name| y_of(name).expect(name));
    assert!(rows.is_sorted(), "{rows:?}");
    assert!(y_of("seconds").is_some() && y_of("10").is_some(), "there is an axis: {texts:?}");
    assert!(y_of("6 invocations on 3 workers").is_some());

    let web = bars(&boxes, &texts, "web (4)");
    let [long, early, late, endless] = web[..] else { panic!("{web:?}") };
    assert!(long.3 <= early.1 && early.1 == late.1, "what runs at the same time is stacked: {web:?}");
    assert!(long.0 < early.0 && early.2 <= late.0 && late.2 < long.2, "{web:?}");
    assert!(rows[0] < endless.1 && endless.3 < rows[2], "{web:?}");
    assert!(endless.2 > WIDTH - 3 * MARGIN, "it does not end: {web:?}");
    let db = bars(&boxes, &texts, "db (1)");
    assert!(db.len() == 1 && db[0].1 > endless.1, "{db:?}");
    let refused = bars(&boxes, &texts, "no tag (1)");
    assert!(refused.len() == 1 && refused[0].1 < rows[3] && rows[3] < refused[0].3, "{refused:?}");
}

#[test]
fn many_tags_share_a_colour_and_many_lanes_a_row() {
    let tags: Vec<_> = (0..30).map(|tag| format!("tag-{tag:02}")).collect();
    let load = tags.iter().flat_map(|tag| (0..5).map(move |at| (invocation(at, tag, 1, 1000), "w")));
    let drawn = draw(&outcome(vec![worker("w", 1)], load.collect())).expect("drawn");
    let chart = Document::parse(&drawn).expect("well-formed");
    let texts = texts(&chart);
    assert!(texts.iter().any(|(text, _)| text == "21 other tags (105)"), "{texts:?}");
    let boxes = boxes(&chart);
    let bars = bars(&boxes, &texts, "tag-00");
    let tops: std::collections::BTreeSet<_> = bars.iter().map(|(_, top, ..)| top).collect();
    assert_eq!(tops.len(), 5);
    assert!(boxes[0].3 < 400, "150 lanes are no higher than that: {:?}", boxes[0]);
}

#[test]
fn a_chart_of_nothing_is_a_chart() {
    for (workers, load) in [
        (Vec::new(), Vec::new()),
        (vec![worker("w", 1)], Vec::new()),
        (vec![worker("w", 1)], vec![(invocation(0, "", 1, 0), "w")]),
        (Vec::new(), vec![(invocation(0, "", 1, 1), "refused: no_workers")]),
    ] {
        let drawn = draw(&outcome(workers, load)).expect("drawn");
        Document::parse(&drawn).expect("well-formed");
    }
}

#[test]
fn a_long_load_is_drawn_in_part() {
    let load = (0..20_001).map(|at| (invocation(at, "t", 1, 1), "w")).collect();
    let drawn = draw(&outcome(vec![worker("w", 1)], load)).expect("drawn");
    assert!(drawn.contains("the first 20000 of 20001 invocations on 1 worker"));
}
