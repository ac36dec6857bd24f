//! `distune completions`: what a shell completes after `distune`.

use clap::Args;
use clap_complete::Shell;

/// Print the completions of a shell, to be put where it looks for them
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut crate::help::command(), "distune", &mut text);
    Ok(std::io::Write::write_all(&mut std::io::stdout(), &text)?)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_knows_every_command_and_option() {
        for shell in Shell::value_variants() {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut crate::help::command(), "distune", &mut text);
            let text = String::from_utf8_lossy(&text);
            for (path, command) in crate::help::tests::commands() {
                assert!(path.last().is_none_or(|name| text.contains(name.as_str())), "{shell}: {path:?}");
                for option in command.get_arguments().filter_map(|arg| arg.get_long()) {
                    assert!(text.contains(option), "{shell}: {path:?} --{option}");
                }
            }
        }
    }
}
