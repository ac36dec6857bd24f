//! The commands of a document.

/// A block of `sh`.
#[derive(Clone, Debug)]
pub struct Block {
    /// Where it begins.
    pub line: usize,
    /// Its lines, without comments.
    pub commands: Vec<String>,
    /// The message that the last one ends with.
    pub message: Option<String>,
}

/// All of them in their order.
pub fn blocks(document: &str) -> Vec<Block> {
    let (mut found, mut lines) = (Vec::<Block>::new(), document.lines().enumerate());
    // whether only empty lines lie between the last block of `sh` and here
    let mut behind_commands = false;
    while let Some((at, line)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            behind_commands &= line.trim().is_empty();
            continue;
        };
        let within: Vec<&str> = lines.by_ref().map(|(_, line)| line.trim()).take_while(|line| *line != "```").collect();
        if language == "text"
            && within.first().is_some_and(|line| ["distune: ", "error: "].iter().any(|it| line.starts_with(it)))
        {
            assert!(behind_commands, "line {}: a message without the command that ends with it", at + 1);
            found.last_mut().unwrap().message = Some(within.join("\n"));
        }
        behind_commands = language == "sh";
        if behind_commands {
            let joined = within.join("\n").replace("\\\n", "");
            let commands = joined.lines().map(without_comment).filter(|line| !line.is_empty());
            found.push(Block { line: at + 1, commands: commands.collect(), message: None });
        }
    }
    found
}

fn without_comment(line: &str) -> String {
    let line = if line.starts_with('#') { "" } else { line.split(" # ").next().unwrap() };
    line.trim().to_owned()
}

/// Whether a message is the one of the document, where "…" is anything.
pub fn is_message(found: &str, told: &str) -> bool {
    let parts: Vec<&str> = told.split('…').collect();
    let (Some((first, rest)), Some(last)) = (parts.split_first(), parts.last()) else { return false };
    let Some(mut found) = found.strip_prefix(first) else { return false };
    for part in rest {
        match found.find(part.trim_end()) {
            Some(at) => found = &found[at + part.trim_end().len()..],
            None => return false,
        }
    }
    last.is_empty() || found.is_empty()
}

#[test]
fn blocks_with_their_messages() {
    let document = "# A\n```sh\n# a comment\ndistune a   # b\n\ndistune c \\\n '#1'\n```\n\n```text\ndistune: wrong …\n```\n```rust\nx\n```\n\
                    1. in a list\n   ```sh\n   distune d\n   ```\nwords\n```text\ne\n```\n";
    let found = blocks(document);
    assert_eq!(found[0].commands, ["distune a", "distune c '#1'"]);
    assert_eq!((found[0].line, found[0].message.as_deref()), (2, Some("distune: wrong …")));
    assert_eq!((found[1].commands.as_slice(), &found[1].message), (&["distune d".to_owned()][..], &None));
}

#[test]
fn messages_with_gaps() {
    assert!(is_message("a b c", "a … c") && is_message("a b c", "a …") && is_message("a", "a"));
    assert!(!is_message("a b c", "a … b") && !is_message("a b c", "b …") && !is_message("a b", "a"));
}
