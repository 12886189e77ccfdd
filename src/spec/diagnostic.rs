//! What is wrong with a lab file, and how it is shown.

use std::fmt;

use unicode_width::UnicodeWidthChar;

/// Columns a rendered diagnostic takes where the terminal's width is not known.
pub const DEFAULT_WIDTH: usize = 100;
/// Below this width nothing is cropped or wrapped any further.
const MIN_WIDTH: usize = 32;

/// How many problems are looked for: nobody mends more at once.
pub(super) const MAX_PROBLEMS: usize = 100;
/// Characters that are kept of a line before a place, and from it on. No excerpt is wider.
const CONTEXT: usize = 500;
/// Longest message or advice, in bytes: both quote what stands in the file.
const MAX_MESSAGE: usize = 2000;

/// A stretch of one line of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// First character in the line, from 1.
    pub column: usize,
    /// Number of characters, at least 1.
    pub len: usize,
}

impl Place {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1, len: 1 };

    /// `len` characters from this byte of a text on.
    pub(super) fn at_offset(text: &str, offset: usize, len: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            len: len.max(1),
        }
    }
}

/// One problem in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file as the user knows it.
    pub file: String,
    /// Line, from 1; 0 when the problem is the file as a whole.
    pub line: usize,
    /// Column in characters, from 1; 0 when the problem is the file as a whole.
    pub column: usize,
    /// The text in that place, or its beginning; empty where there is none (an empty file).
    pub offending: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub suggestion: Option<String>,
    /// The line, without its end; of a long one what is around the place.
    pub source_line: String,
    /// Column of the first character of `source_line`.
    pub source_column: usize,
}

impl Diagnostic {
    /// A problem at `place` of a file whose whole content is `text`.
    pub fn new(file: &str, text: &str, place: Place, message: impl Into<String>) -> Self {
        let line = text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
        let start = place.column.saturating_sub(1);
        let cut = start.saturating_sub(CONTEXT);
        let source_line: String = line.chars().skip(cut).take(start - cut + CONTEXT).collect();
        let offending: String = source_line.chars().skip(start - cut).take(place.len).collect();
        Self {
            file: file.to_owned(),
            line: place.line,
            column: place.column,
            offending: offending.trim_end().to_owned(),
            message: shortened(message.into()),
            suggestion: None,
            source_line,
            source_column: cut + 1,
        }
    }

    /// A problem of a file as a whole: line and column are 0, and no excerpt is shown.
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            offending: String::new(),
            message: shortened(message.into()),
            suggestion: None,
            source_line: String::new(),
            source_column: 0,
        }
    }

    /// The same with advice.
    #[must_use]
    pub fn help(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(shortened(suggestion.into()));
        self
    }

    /// The problem as text of at most `width` columns, with colours if asked for.
    pub fn render(&self, width: usize, colour: bool) -> String {
        let width = width.max(MIN_WIDTH);
        let paint = Paint { colour };
        let gutter = self.line.to_string().len();
        let pad = " ".repeat(gutter);
        let message = wrap(&self.message, width, "error: ".len(), 7);
        let head = format!("{}{}", paint.red("error"), paint.bold(&format!(": {message}")));
        let arrow = format!("{pad}{} {}", paint.blue("-->"), printable(&self.file));
        let mut lines = vec![head];
        if self.line == 0 {
            lines.push(arrow);
        } else {
            let bar = paint.blue("|");
            let excerpt = Excerpt::of(self, width.saturating_sub(gutter + 3));
            let line = paint.blue(&self.line.to_string());
            let carets = paint.red(&"^".repeat(excerpt.carets));
            lines.push(format!("{arrow}:{}:{}", self.line, self.column));
            lines.push(format!("{pad} {bar}"));
            lines.push(format!("{line} {bar} {}", excerpt.line));
            lines.push(format!("{pad} {bar} {}{carets}", " ".repeat(excerpt.offset)));
        }
        if let Some(suggestion) = &self.suggestion {
            let indent = gutter + 9;
            let text = wrap(suggestion, width, indent, indent);
            lines.push(format!("{pad} {} {text}", paint.bold("= help:")));
        }
        lines.join("\n") + "\n"
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(DEFAULT_WIDTH, false))
    }
}

/// Everything that is wrong with a lab file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SpecError {
    diagnostics: Vec<Diagnostic>,
}

impl SpecError {
    /// An error of at least one problem; they are put into the order of the files.
    pub(super) fn new(mut diagnostics: Vec<Diagnostic>) -> Self {
        // Stable, and files keep the order in which they first turned up.
        let mut files: Vec<String> = Vec::new();
        for diagnostic in &diagnostics {
            if !files.contains(&diagnostic.file) {
                files.push(diagnostic.file.clone());
            }
        }
        diagnostics.sort_by_key(|diagnostic| {
            let file = files.iter().position(|file| *file == diagnostic.file);
            (file, diagnostic.line, diagnostic.column)
        });
        Self { diagnostics }
    }

    /// The problems; never empty.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The first problem, in one line.
    pub fn in_brief(&self) -> String {
        let Some(first) = self.diagnostics.first() else { return String::new() };
        let place = if first.line == 0 { String::new() } else { format!(":{}:{}", first.line, first.column) };
        let more = match self.diagnostics.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        format!("{}{place}: {}{more}", printable(&first.file), first.message)
    }

    /// Every problem with its excerpt, then how many there are.
    pub fn render(&self, width: usize, colour: bool) -> String {
        let mut out = String::new();
        for diagnostic in &self.diagnostics {
            out.push_str(&diagnostic.render(width, colour));
            out.push('\n');
        }
        let count = match self.diagnostics.len() {
            1 => "1 problem found".to_owned(),
            n if n < MAX_PROBLEMS => format!("{n} problems found"),
            n => format!("{n} problems found; no more were looked for"),
        };
        out.push_str(&count);
        out
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(DEFAULT_WIDTH, false))
    }
}

/// The part of a source line that fits, and where the carets go under it.
struct Excerpt {
    line: String,
    offset: usize,
    carets: usize,
}

impl Excerpt {
    fn of(diagnostic: &Diagnostic, width: usize) -> Self {
        const ELLIPSIS: &str = "...";
        let width = width.min(CONTEXT);
        let start = diagnostic.column.saturating_sub(diagnostic.source_column);
        let end = start + diagnostic.offending.chars().count();
        let chars: Vec<char> = diagnostic.source_line.chars().collect();
        let columns = |range: &[char]| range.iter().map(|c| cell_width(*c)).sum::<usize>();
        let start = start.min(chars.len());
        let end = end.clamp(start, chars.len());

        // Cut on the left until the place starts in the first half, then on the right.
        let mut first = 0;
        if columns(&chars[..end]) > width {
            while first < start && columns(&chars[first..start]) > width / 3 {
                first += 1;
            }
        }
        let prefix = if first > 0 { ELLIPSIS } else { "" };
        let mut room = width.saturating_sub(prefix.len());
        let mut last = first;
        while last < chars.len() && cell_width(chars[last]) <= room {
            room -= cell_width(chars[last]);
            last += 1;
        }
        let mut suffix = "";
        if last < chars.len() {
            suffix = ELLIPSIS;
            while last > first && room < suffix.len() {
                last -= 1;
                room += cell_width(chars[last]);
            }
        }
        let shown: String = chars[first..last].iter().map(|c| cell(*c)).collect();
        let marked = start.min(last)..end.min(last);
        Self {
            offset: prefix.len() + columns(&chars[first..marked.start]),
            carets: columns(&chars[marked]).max(1),
            line: format!("{prefix}{shown}{suffix}").trim_end().to_owned(),
        }
    }
}

/// A character as it is shown: nothing that moves the cursor or turns the text around.
fn cell(c: char) -> String {
    match c {
        '\t' => "    ".to_owned(),
        c if c.is_control() || c.width().unwrap_or(0) == 0 => "\u{fffd}".to_owned(),
        c => c.to_string(),
    }
}

fn cell_width(c: char) -> usize {
    match c {
        '\t' => 4,
        c => c.width().unwrap_or(0).max(1),
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > MAX_MESSAGE {
        text.truncate(text.floor_char_boundary(MAX_MESSAGE));
        text.push_str("...");
    }
    text
}

fn printable(text: &str) -> String {
    text.chars().map(cell).collect()
}

/// Breaks text between words so that no line is wider than `width`, the first starting at column
/// `first` and the others indented by `indent`. Words that are too long stay whole.
fn wrap(text: &str, width: usize, first: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut column = first;
    for (index, word) in text.split(' ').enumerate() {
        let word = printable(word);
        let wide = word.chars().map(cell_width).sum::<usize>();
        if index > 0 && column + 1 + wide > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(&word);
        column += wide;
    }
    out
}

struct Paint {
    colour: bool,
}

impl Paint {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn red(&self, text: &str) -> String {
        self.paint("1;31", text)
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn blue(&self, text: &str) -> String {
        self.paint("1;34", text)
    }
}
