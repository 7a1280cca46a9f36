//! Just enough of Rust's grammar to see what a file imports and which names it makes.
//!
//! No parser: comments, strings and test code are blanked out, and the rest is read word by word.

/// The code of a file without comments, without the insides of strings, and without `#[cfg(test)]` items.
pub fn shipped_code(text: &str) -> String {
    without_tests(&blanked(text))
}

/// A word of code: an identifier or number, `::`, or one other character.
pub type Word<'a> = &'a str;

pub fn words(code: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_letter(first) {
            rest.find(|letter| !is_letter(letter)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        words.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    words
}

/// Every path that is written in the code, whole: those of `use` trees unfolded, and those in the middle
/// of code that have at least two parts.
pub fn paths(words: &[Word]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let is_import = words[at] == "use" && words.get(at + 1) != Some(&"<");
        if is_import {
            at += 1;
            unfold(words, &mut at, &[], &mut paths);
        } else if is_name(words[at]) && begins_path(words, at) {
            paths.push(inline_path(words, &mut at));
        } else {
            at += 1;
        }
    }
    paths
}

/// The names that the code makes: after `fn`, `struct`, `let` and the like, and before a single colon.
pub fn made_names<'a>(words: &[Word<'a>]) -> Vec<Word<'a>> {
    const MAKERS: [&str; 12] = [
        "fn",
        "struct",
        "enum",
        "union",
        "trait",
        "mod",
        "type",
        "const",
        "static",
        "let",
        "mut",
        "macro_rules",
    ];
    let is_made = |index: usize| {
        let follows_maker = index > 0 && MAKERS.contains(&words[index - 1]);
        follows_maker || words.get(index + 1) == Some(&":")
    };
    (0..words.len())
        .filter(|&index| is_name(words[index]) && is_made(index))
        .map(|index| words[index])
        .collect()
}

fn is_letter(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn is_name(word: Word) -> bool {
    word.starts_with(|letter: char| is_letter(letter) && !letter.is_ascii_digit())
}

/// Whether a path of at least two parts begins here (and is not the tail of another, or a method).
fn begins_path(words: &[Word], at: usize) -> bool {
    let is_tail = at > 0 && words[at - 1] == "."
        || at > 1 && words[at - 1] == "::" && {
            let before = words[at - 2];
            is_name(before) || before == ">"
        };
    !is_tail && words.get(at + 1) == Some(&"::")
}

fn inline_path(words: &[Word], at: &mut usize) -> Vec<String> {
    let mut path = vec![words[*at].to_string()];
    *at += 1;
    while words.get(*at) == Some(&"::") && words.get(*at + 1).is_some_and(|word| is_name(word)) {
        path.push(words[*at + 1].to_string());
        *at += 2;
    }
    path
}

/// Unfolds one `use` tree, from just behind `use` or inside braces.
fn unfold(words: &[Word], at: &mut usize, before: &[String], paths: &mut Vec<Vec<String>>) {
    let mut path = before.to_vec();
    while *at < words.len() {
        match words[*at] {
            "::" => *at += 1,
            "{" => {
                *at += 1;
                while *at < words.len() && words[*at] != "}" {
                    unfold(words, at, &path, paths);
                    if words.get(*at) == Some(&",") {
                        *at += 1;
                    }
                }
                *at += 1;
                return;
            }
            "as" => *at += 2,
            "," | ";" | "}" => break,
            word => {
                path.push(word.to_string());
                *at += 1;
            }
        }
    }
    paths.push(path);
}

/// Blanks comments and the insides of strings and of character literals.
fn blanked(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = comment_bytes(rest).or_else(|| literal_bytes(rest, code.chars().next_back()));
        match skipped {
            Some(length) => {
                code.push_str("\" \"");
                rest = &rest[length..];
            }
            None => {
                code.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    code
}

fn comment_bytes(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(at)
}

/// Length of a string, raw string or character literal that begins here.
fn literal_bytes(rest: &str, before: Option<char>) -> Option<usize> {
    let in_word = before.is_some_and(is_letter);
    let prefix = rest.find(|letter| !matches!(letter, 'b' | 'c' | 'r')).filter(|&length| length <= 2)?;
    if in_word && prefix > 0 {
        return None;
    }
    let body = &rest[prefix..];
    if rest[..prefix].contains('r') && body.starts_with(['"', '#']) {
        let hashes = body.bytes().take_while(|&byte| byte == b'#').count();
        if !body[hashes..].starts_with('"') {
            return None;
        }
        let end = format!("\"{}", "#".repeat(hashes));
        let inside = &body[hashes + 1..];
        return inside.find(&end).map(|at| prefix + hashes + 1 + at + end.len());
    }
    if body.starts_with('"') {
        return quoted_bytes(body, '"').map(|length| prefix + length);
    }
    let is_character = body.starts_with("'\\") || body.starts_with('\'') && body.chars().nth(2) == Some('\'');
    is_character.then(|| quoted_bytes(body, '\'')).flatten().map(|length| prefix + length)
}

fn quoted_bytes(body: &str, quote: char) -> Option<usize> {
    let mut letters = body.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            _ if letter == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Cuts out every item that stands behind `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        kept.push_str(&rest[..at]);
        rest = &rest[at + MARK.len()..];
        rest = &rest[item_bytes(rest)..];
    }
    kept + rest
}

/// Length of one item: up to its `;`, or to the end of its braces.
fn item_bytes(code: &str) -> usize {
    let mut depth = 0;
    for (at, letter) in code.char_indices() {
        match letter {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth -= 1;
                if depth == 0 && letter == '}' {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}
