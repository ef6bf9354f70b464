//! Markup: what the page is written with. It is XML as well as HTML, so that tests can read it.

use std::fmt::{Arguments, Display};

use super::super::plot::{Escaped, Svg};
use super::policies;

/// Everything about looks that is no colour of a policy or a plan.
const STYLE: &str = include_str!("style.css");

/// The page as far as it has been written.
pub(super) struct Html(Svg);

impl Html {
    /// Head, title and style.
    pub(super) fn new(title: &str) -> Self {
        let mut html = Self(Svg::default());
        html.add(format_args!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta \
             name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{}</title>\n\
             <style>\n{STYLE}{}</style>\n</head>\n<body>\n<main>\n<h1>{0}</h1>",
            Escaped(title),
            policies::css()
        ));
        html
    }

    /// Markup as it is.
    pub(super) fn add(&mut self, markup: Arguments<'_>) {
        self.0.add(markup);
    }

    pub(super) fn heading(&mut self, id: &str, text: &str) {
        self.add(format_args!("<h2 id=\"{id}\">{}</h2>", Escaped(text)));
    }

    pub(super) fn subheading(&mut self, text: &str) {
        self.add(format_args!("<h3>{}</h3>", Escaped(text)));
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.add(format_args!("<p>{}</p>", Escaped(text)));
    }

    /// A table of texts; `numbers` are the columns that are set to the right.
    pub(super) fn table<R, C>(&mut self, header: &[&str], numbers: &[usize], rows: R)
    where
        R: IntoIterator<Item = C>,
        C: IntoIterator<Item = String>,
    {
        let class = |column: usize| {
            if numbers.contains(&column) {
                " class=\"n\""
            } else {
                ""
            }
        };
        let row = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
            let cells = cells
                .enumerate()
                .map(|(column, cell)| format!("<{tag}{}>{}</{tag}>", class(column), Escaped(cell)));
            let cells: Vec<String> = cells.collect();
            format!("<tr>{}</tr>", cells.concat())
        };
        let head = row("th", &mut header.iter().copied());
        self.add(format_args!(
            "<div class=\"wide\"><table>\n<thead>{head}</thead>\n<tbody>"
        ));
        for cells in rows {
            let cells: Vec<String> = cells.into_iter().collect();
            let cells = row("td", &mut cells.iter().map(String::as_str));
            self.add(format_args!("{cells}"));
        }
        self.add(format_args!("</tbody></table></div>"));
    }

    /// Something drawn, with what is to be known of it.
    pub(super) fn figure(&mut self, drawing: impl Display, caption: &str) {
        self.add(format_args!(
            "<figure>{drawing}<figcaption>{}</figcaption></figure>",
            Escaped(caption)
        ));
    }

    pub(super) fn finish(mut self) -> String {
        self.add(format_args!("</main>\n</body>\n</html>"));
        self.0.0
    }
}
