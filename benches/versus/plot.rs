//! Bars as SVG, on a logarithmic scale: from nothing to everything in one picture.

use super::Figure;
use super::peers::Peer;
use std::fmt::Write;

const LEFT: f64 = 150.0;
const WIDTH: f64 = 520.0;
const BAR: f64 = 12.0;
const GAP: f64 = 10.0;

/// KiB on the wire.
pub fn bytes(figures: &[Figure]) -> String {
    let values: Vec<f64> = figures.iter().map(|figure| figure.wire_bytes as f64 / 1024.0).collect();
    draw(figures, &values, "KiB on the wire (logarithmic)")
}

/// Seconds from start to end of the client.
pub fn seconds(figures: &[Figure]) -> String {
    let values: Vec<f64> = figures.iter().map(|figure| figure.seconds).collect();
    draw(figures, &values, "seconds (logarithmic)")
}

fn color(peer: Peer) -> &'static str {
    match peer {
        Peer::Rsync => "#888888",
        Peer::Strait => "#1f6fb2",
        Peer::StraitCold => "#8fbfe0",
    }
}

fn draw(figures: &[Figure], values: &[f64], title: &str) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min).max(0.001) / 2.0;
    let most = values.iter().copied().fold(least * 10.0, f64::max);
    let length = |value: f64| (value.max(least) / least).ln() / (most / least).ln() * WIDTH;
    let mut bars = String::new();
    let mut y = 50.0;
    let mut last = None;
    for (figure, value) in figures.iter().zip(values) {
        let group = (figure.link, figure.case);
        if last != Some(group) {
            y += GAP;
            let at = y + 1.6 * BAR;
            let _ = writeln!(
                bars,
                "<text x=\"{}\" y=\"{at}\" text-anchor=\"end\">{}: {}</text>",
                LEFT - 8.0,
                group.0,
                group.1
            );
            last = Some(group);
        }
        let (long, fill) = (length(*value), color(figure.peer));
        let _ = writeln!(
            bars,
            "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{long:.1}\" height=\"{BAR}\" fill=\"{fill}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{value:.2}</text>",
            LEFT + long + 5.0,
            y + BAR - 2.0
        );
        y += BAR + 1.0;
    }
    let mut legend = String::new();
    for (index, peer) in super::PEERS.into_iter().enumerate() {
        let x = LEFT + 130.0 * index as f64;
        let _ = writeln!(
            legend,
            "<rect x=\"{x}\" y=\"32\" width=\"{BAR}\" height=\"{BAR}\" fill=\"{}\"/>\
             <text x=\"{}\" y=\"42\">{}</text>",
            color(peer),
            x + BAR + 5.0,
            peer.name()
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"20\" \
         font-size=\"14\">{title}</text>\n{legend}{bars}</svg>\n",
        LEFT + WIDTH + 80.0,
        y + 20.0
    )
}
