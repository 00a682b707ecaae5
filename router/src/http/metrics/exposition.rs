//! Prometheus' text format, version 0.0.4, whose counters keep the names they are given.

use std::fmt::{Display, Write};

use crate::histogram::Histogram;

/// What a scrape answers with.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page that is being written.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// A number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.header(name, help, "counter");
        self.sample(name, "", value);
    }

    /// A number that grows by label. `values`: label's value (no quotes or backslashes) and number.
    pub fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.header(name, help, "counter");
        for (key, value) in values {
            self.sample(name, &format!("{{{label}=\"{key}\"}}"), value);
        }
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.header(name, help, "gauge");
        self.sample(name, "", value);
    }

    /// Counts of values by size.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.header(name, help, "histogram");
        let (buckets, count, sum) = histogram.snapshot();
        let bucket = format!("{name}_bucket");
        for (bound, up_to) in buckets {
            self.sample(&bucket, &format!("{{le=\"{bound}\"}}"), up_to);
        }
        self.sample(&bucket, "{le=\"+Inf\"}", count);
        self.sample(&format!("{name}_sum"), "", sum);
        self.sample(&format!("{name}_count"), "", count);
    }

    /// The whole page.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }

    fn header(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.text, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_prometheus_reads() {
        let histogram = Histogram::new(&[0.5, 1.0]);
        histogram.record(0.25);
        histogram.record(3.0);
        let mut page = Page::default();
        page.counter("requests", "All requests.", 7);
        page.counters(
            "failures",
            "By cause.",
            "err",
            &[("overloaded", 2), ("dropped", 0)],
        );
        page.gauge("queue", "Waiting.", 1.5);
        page.histogram("seconds", "Time.", &histogram);
        insta::assert_snapshot!(page.finish(), @r#"
        # HELP requests All requests.
        # TYPE requests counter
        requests 7
        # HELP failures By cause.
        # TYPE failures counter
        failures{err="overloaded"} 2
        failures{err="dropped"} 0
        # HELP queue Waiting.
        # TYPE queue gauge
        queue 1.5
        # HELP seconds Time.
        # TYPE seconds histogram
        seconds_bucket{le="0.5"} 1
        seconds_bucket{le="1"} 1
        seconds_bucket{le="+Inf"} 2
        seconds_sum 3.25
        seconds_count 2
        "#);
    }
}
