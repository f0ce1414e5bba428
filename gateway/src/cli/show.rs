//! Answers for people, as tables, and for programs, as JSON.

use serde_json::Value;

/// A column: its title and where its values are.
pub(super) type Column = (&'static str, &'static str);

/// Prints a list.
pub(super) fn list(items: &[Value], json: bool, columns: &[Column]) {
    if json {
        return print_json(&Value::from(items));
    }
    if items.is_empty() {
        println!("none");
        return;
    }
    let mut rows = vec![
        columns
            .iter()
            .map(|(title, _)| (*title).to_owned())
            .collect::<Vec<_>>(),
    ];
    rows.extend(items.iter().map(|item| {
        let cell = |(_, pointer): &Column| text(item.pointer(pointer));
        columns.iter().map(cell).collect()
    }));
    let width = |column: usize| {
        let lengths = rows
            .iter()
            .map(|row: &Vec<String>| row[column].chars().count());
        lengths.max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns.len()).map(width).collect();
    for row in &rows {
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

/// Prints one thing.
pub(super) fn one(item: &Value, json: bool, columns: &[Column]) {
    if json {
        return print_json(item);
    }
    let width = columns
        .iter()
        .map(|(title, _)| title.chars().count())
        .max()
        .unwrap_or_default();
    for (title, pointer) in columns {
        println!("{title:width$}  {}", text(item.pointer(pointer)));
    }
}

/// Prints a sentence, or for programs what the gateway answered.
pub(super) fn done(sentence: &str, answer: &Value, json: bool) {
    match json {
        true => print_json(answer),
        false => println!("{sentence}"),
    }
}

fn print_json(value: &Value) {
    println!("{value:#}");
}

/// What others wrote goes to a terminal: without control characters.
fn text(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let items: Vec<_> = items.iter().map(|item| text(Some(item))).collect();
            items.join(",")
        }
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(other) => other.to_string(),
    };
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
