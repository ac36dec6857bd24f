//! `distune man`: the manual pages, one of each command.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use distune::Error;
use serde_json::json;

use crate::Common;
use crate::output::line;

/// Write the manual pages of all commands into a directory
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Directory to write distune.1, distune-train.1 and so on into; pages that are there are replaced
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
}

pub(crate) fn run(args: &ManArgs, common: &Common) -> anyhow::Result<()> {
    let directory = &args.output;
    std::fs::create_dir_all(directory).map_err(|error| Error::io(directory, "create the directory", &error))?;
    let mut command = crate::help::command().disable_help_subcommand(true);
    // the options of every command are on each page
    command.build();
    let pages = write(&command, "distune", directory)?;
    if common.json {
        return Ok(line(json!({"event": "man", "output": directory, "pages": pages}))?);
    }
    Ok(line(format!("Wrote {pages} pages to {}.", directory.display()))?)
}

/// Writes the page of a command and of those below it; returns how many there are.
fn write(command: &Command, name: &str, directory: &Path) -> anyhow::Result<usize> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name).render(&mut page)?;
    distune::model::write(&directory.join(format!("{name}.1")), &page)?;
    let below = command.get_subcommands().map(|below| write(below, &format!("{name}-{}", below.get_name()), directory));
    Ok(1 + below.sum::<anyhow::Result<usize>>()?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::help::tests::commands;

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = crate::help::command().disable_help_subcommand(true);
        command.build();
        assert_eq!(super::write(&command, "distune", directory.path()).unwrap(), commands().len());
        for (path, command) in commands() {
            let name = ["distune".to_owned()].into_iter().chain(path).collect::<Vec<_>>().join("-");
            // roff writes a hyphen that is one as \-
            let page = std::fs::read_to_string(directory.path().join(format!("{name}.1"))).unwrap().replace("\\-", "-");
            assert!(page.starts_with(".ie") && page.contains(&format!(".TH {name} 1")), "{name}: {page:.200}");
            assert!(page.contains("Examples:"), "{name}");
            for option in command.get_arguments().filter_map(|arg| arg.get_long()) {
                assert!(page.contains(&format!("--{option}")), "{name}: --{option}");
            }
        }
    }
}
