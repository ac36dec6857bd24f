//! With what the training was computed, and how to do it again.

use maud::html;

use super::page::{Section, facts, wide};
use super::words::{bytes, seconds};
use super::{Environment, TrainingReport};

impl TrainingReport<'_> {
    pub(super) fn environment_section(&self) -> Section {
        let Environment { version, cpu, instructions, threads, system, precision, ended, elapsed, peak_memory } =
            self.environment;
        let mut named = vec![
            ("Program", html! { "distune " (version) }),
            ("CPU", html! { (cpu) }),
            ("Instructions", html! { (instructions) }),
            ("Threads", html! { (threads) }),
            ("System", html! { (system) }),
            ("Linear layers in", html! { (precision) }),
            ("Ended", html! { (ended) }),
            (
                "Time in all",
                html! { (seconds(elapsed.as_secs_f64())) ", of it " (seconds(self.outcome.train_seconds)) " of training steps" },
            ),
        ];
        if let Some(memory) = peak_memory {
            named.push(("Most memory", html! { (bytes(*memory)) }));
        }
        Section { id: "environment", title: "Environment", body: facts(&named) }
    }

    pub(super) fn reproduce_section(&self) -> Section {
        let toml = self.settings.to_toml().unwrap_or_default();
        let table = html! {
            table {
                caption { "What the training began with" }
                tbody { @for (what, checksum) in self.checksums { tr { th scope="row" { (what) } td { code { (checksum) } } } } }
            }
        };
        let body = html! {
            p { "The run keeps its whole recipe. In its directory, this trains again, to the same bits on the same kind of CPU with the same data:" }
            pre { code { "distune train recipe.toml --output ../again" } }
            @if self.settings.data.iter().any(|data| data == "-") { p { "The data came from standard input and have to be given there again." } }
            p { "And this judges rows with the saved model:" }
            pre { code { "distune eval --model . --data DATA" } }
            details { summary { "recipe.toml" } pre { code { (toml) } } }
            details { summary { "Checksums" } (wide("Checksums", &table)) }
        };
        Section { id: "reproduce", title: "Do it again", body }
    }
}
