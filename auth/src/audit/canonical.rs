//! JSON in one form only, so that its hash means something (RFC 8785).
//!
//! A value goes in; text comes out in which the members of an object stand in the order of their
//! names' UTF-16 code units, numbers and strings are as `JSON.stringify` prints them, and nothing
//! else is between them. Two values that are equal have the same text, whatever order their members
//! were given in.
//!
//! Numbers are those of JavaScript, doubles: an integer beyond 2⁵³ comes out as the nearest one.
//! [`is_exact`] says whether a number is what it was.

use serde_json::{Map, Number, Value};

/// `value` in its one form. Its depth is the caller's to limit: this recurses.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value);
    text
}

/// Whether `number` is written as the same number: an integer that no double holds is not.
pub fn is_exact(number: &Number) -> bool {
    const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;
    if let Some(integer) = number.as_u64() {
        return integer <= EXACT;
    }
    number
        .as_i64()
        .is_none_or(|integer| integer.unsigned_abs() <= EXACT)
}

fn write(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => write_number(text, number),
        Value::String(string) => write_string(text, string),
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write(text, item);
            }
            text.push(']');
        }
        Value::Object(members) => write_object(text, members),
    }
}

fn write_object(text: &mut String, members: &Map<String, Value>) {
    let mut members: Vec<_> = members.iter().collect();
    members.sort_unstable_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
    text.push('{');
    for (place, (name, value)) in members.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        write_string(text, name);
        text.push(':');
        write(text, value);
    }
    text.push('}');
}

/// Escapes what ECMA-262 §25.5.2.3 escapes, and nothing else: U+2028 stands as it is.
fn write_string(text: &mut String, string: &str) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            '\0'..='\u{1f}' => text.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => text.push(character),
        }
    }
    text.push('"');
}

/// As ECMA-262 §6.1.6.1.20 prints a double: the fewest digits that lead back to it, without an
/// exponent from 1e-6 to below 1e21.
fn write_number(text: &mut String, number: &Number) {
    let double = number.as_f64().unwrap_or(f64::NAN);
    if !double.is_finite() {
        return text.push_str("null");
    }
    if double == 0.0 {
        return text.push('0');
    }
    if double < 0.0 {
        text.push('-');
    }
    // Rust's exponential form has the same digits: the fewest, and of these the closest.
    let form = format!("{:e}", double.abs());
    let (digits, exponent) = form.split_once('e').unwrap_or((&form, "0"));
    let digits = digits.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap_or_default();
    write_digits(text, &digits, exponent);
}

/// Writes 0.`digits` × 10^(`exponent` + 1).
fn write_digits(text: &mut String, digits: &str, exponent: i32) {
    let whole = usize::try_from(exponent + 1).unwrap_or_default();
    match exponent {
        0..21 if digits.len() <= whole => {
            text.push_str(digits);
            text.extend(std::iter::repeat_n('0', whole - digits.len()));
        }
        0..21 => {
            let (whole, fraction) = digits.split_at(whole);
            text.push_str(whole);
            text.push('.');
            text.push_str(fraction);
        }
        -6..0 => {
            text.push_str("0.");
            let zeros = usize::try_from(-exponent - 1).unwrap_or_default();
            text.extend(std::iter::repeat_n('0', zeros));
            text.push_str(digits);
        }
        _ => {
            let (first, rest) = digits.split_at(1);
            text.push_str(first);
            if !rest.is_empty() {
                text.push('.');
                text.push_str(rest);
            }
            text.push_str(&format!("e{exponent:+}"));
        }
    }
}

#[cfg(test)]
mod tests;
