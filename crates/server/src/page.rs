//! The page at `/`, compiled into the program: three files, which ask for nothing from elsewhere.

use axum::http::HeaderName;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::IntoResponse;

/// Nothing from elsewhere, nothing sent elsewhere, and no script or style but those of the two files.
const POLICY: &str = "default-src 'none'; connect-src 'self'; img-src data:; style-src 'self'; script-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const INDEX: &str = include_str!("../page/index.html");
const STYLE: &str = include_str!("../page/page.css");
const SCRIPT: &str = include_str!("../page/page.js");

fn file(kind: &'static str, contents: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, contents)
}

pub(crate) async fn index() -> impl IntoResponse {
    file("text/html; charset=utf-8", INDEX)
}

pub(crate) async fn style() -> impl IntoResponse {
    file("text/css; charset=utf-8", STYLE)
}

pub(crate) async fn script() -> impl IntoResponse {
    file("text/javascript; charset=utf-8", SCRIPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the browser would refuse or fetch; `.ci/serve_page.py` looks at the page in one.
    #[test]
    fn nothing_from_elsewhere_and_no_markup_of_texts() {
        for (name, file) in [("index.html", INDEX), ("page.css", STYLE), ("page.js", SCRIPT)] {
            for wrong in
                ["http:", "https:", "=\"//", "url(", "@import", "<style", " style=", "<script>", "onclick", "HTML"]
            {
                assert!(!file.contains(wrong), "{name} has {wrong}");
            }
        }
    }
}
