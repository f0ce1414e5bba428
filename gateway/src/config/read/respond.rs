//! Reads `redirect` and `respond`: answers that the gateway makes up itself.

use http::{HeaderValue, StatusCode, Uri};

use super::{
    super::{Redirect, Respond},
    context::Fault,
    path,
    table::Table,
    text::Text,
};

const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// `redirect = "https://www.example.com{path}"` or `{ to = "…", status = 301 }`
pub(super) fn redirect(route: &Table<'_>) -> Option<Redirect> {
    let value = route.get("redirect")?;
    if !value.is_table() {
        let to = value.text()?.parse(target)?;
        return Some(Redirect {
            to,
            status: StatusCode::PERMANENT_REDIRECT,
        });
    }
    let table = value.table("site.route.redirect")?;
    if !table.has("to") {
        table.place.error_hint(
            "`to` is missing",
            "such as `{ to = \"https://www.example.com{path}\" }`",
        );
    }
    let to = table.parse("to", target);
    let status = status(
        &table,
        &|code| REDIRECTS.contains(&code),
        "allowed are 301, 302, 303, 307 and 308",
    );
    table.finish();
    Some(Redirect {
        to: to?,
        status: status.unwrap_or(StatusCode::PERMANENT_REDIRECT),
    })
}

fn target(text: &Text<'_>) -> Result<String, Fault> {
    path::placeholders(text)?;
    // As it will be for some request, to see that what comes out is a URL.
    let sample = text
        .value
        .replace("{path}", "/a")
        .replace("{query}", "?a")
        .replace("{host}", "a");
    let absolute = sample.starts_with("http://") || sample.starts_with("https://");
    let local = sample.starts_with('/') && !sample.starts_with("//");
    if !absolute && !local {
        return Err(Fault::hint(
            format!("`{text}` is not where a redirect can go"),
            "write `https://…`, `http://…` or a path that starts with `/`",
        ));
    }
    // A fragment is fine in a redirect; the URI type refuses to hold one.
    let checked = sample.split('#').next().unwrap_or_default();
    if checked.parse::<Uri>().is_err()
        || HeaderValue::from_str(&sample).is_err()
        || !sample.is_ascii()
    {
        return Err(Fault::hint(
            format!("`{text}` is not a URL"),
            "escape what a URL cannot have: a space is `%20`",
        ));
    }
    Ok(text.value.clone())
}

/// `respond = { status = 200, body = "ok", content_type = "text/plain; charset=utf-8" }`
pub(super) fn respond(route: &Table<'_>) -> Option<Respond> {
    let table = route.get("respond")?.table("site.route.respond")?;
    let status = status(
        &table,
        &|code| (200..=599).contains(&code),
        "allowed are 200 to 599",
    )
    .unwrap_or(StatusCode::OK);
    let body = table
        .text("body")
        .map(|text| text.value)
        .unwrap_or_default();
    let bodiless = [
        StatusCode::NO_CONTENT,
        StatusCode::RESET_CONTENT,
        StatusCode::NOT_MODIFIED,
    ];
    if let (true, false, Some(place)) = (
        bodiless.contains(&status),
        body.is_empty(),
        table.key("body"),
    ) {
        place.error_hint(
            format!("a response with status {} has no body", status.as_u16()),
            "remove `body`, or use 200",
        );
    }
    let content_type = table.parse("content_type", |text| {
        HeaderValue::from_str(&text.value).map_err(|_| {
            Fault::hint(
                format!("`{text}` cannot be the value of a header"),
                "such as `text/html; charset=utf-8`",
            )
        })
    });
    table.finish();
    let content_type =
        content_type.unwrap_or_else(|| HeaderValue::from_static("text/plain; charset=utf-8"));
    Some(Respond {
        status,
        body,
        content_type,
    })
}

fn status(table: &Table<'_>, allowed: &dyn Fn(u16) -> bool, hint: &str) -> Option<StatusCode> {
    let value = table.get("status")?;
    let code = value.whole_number()?;
    let status = u16::try_from(code).ok().filter(|code| allowed(*code));
    let status = status.and_then(|code| StatusCode::from_u16(code).ok());
    if status.is_none() {
        value
            .place
            .error_hint("this status is not possible here", hint);
    }
    status
}
