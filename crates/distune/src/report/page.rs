//! The frame of the page, and what its parts are made with.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{TrainingReport, words};

const STYLE: &str = include_str!("style.css");

/// A part of the page under a heading.
pub(super) struct Section {
    /// What links name it by.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) body: Markup,
}

impl TrainingReport<'_> {
    /// The page as HTML.
    pub fn html(&self) -> String {
        let sections: Vec<Section> = self.sections().into_iter().flatten().collect();
        let title = format!("{}: report of a training", self.name);
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    // nothing is fetched, not even an icon
                    meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                    link rel="icon" href="data:,";
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        p.kind { "Report of a training" }
                        h1 dir="auto" { (self.name) }
                        p.by { (self.in_a_line()) }
                    }
                    main {
                        (self.headline())
                        nav aria-label="Contents" { ul {
                            @for section in &sections { li { a href={ "#" (section.id) } { (section.title) } } }
                        } }
                        @for section in &sections {
                            section id=(section.id) { h2 { (section.title) } (section.body) }
                        }
                    }
                    footer { "Written by distune " (self.environment.version) ", " (self.environment.ended) "." }
                }
            }
        };
        page.into_string()
    }

    /// Its parts in reading order.
    fn sections(&self) -> Vec<Option<Section>> {
        vec![
            self.comparison_section(),
            Some(self.done_section()),
            Some(self.data_section()),
            self.curves_section(),
            Some(self.figures_section()),
            Some(self.classes_section()),
            self.confusion_section(),
            self.trust_section(),
            self.errors_section(),
            self.slices_section(),
            Some(self.environment_section()),
            Some(self.reproduce_section()),
        ]
    }

    /// Model, data and time in a line.
    fn in_a_line(&self) -> Markup {
        let data: Vec<&str> = self.data.iter().map(|data| data.name.as_str()).collect();
        html! {
            bdi { (self.model.name) } " fine-tuned on " bdi { (data.join(", ")) } " · "
            (words::seconds(self.environment.elapsed.as_secs_f64())) " · " (self.environment.ended)
        }
    }
}

/// A picture with what it shows, for those who do not see it, and how to read it.
pub(super) fn figure(svg: &str, shows: &str, caption: &Markup) -> Markup {
    html! {
        figure {
            div.plot role="img" aria-label=(shows) { (PreEscaped(svg)) }
            figcaption { (caption) }
        }
    }
}

/// A table that scrolls within itself where it is wider than the page.
pub(super) fn wide(name: &str, table: &Markup) -> Markup {
    html! { div.scroll tabindex="0" role="region" aria-label=(name) { (table) } }
}

/// Names with values.
pub(super) fn facts(facts: &[(&str, Markup)]) -> Markup {
    html! { dl { @for (name, value) in facts { div { dt { (name) } dd dir="auto" { (value) } } } } }
}
