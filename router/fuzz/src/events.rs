//! Reads server-sent events as strictly as their specification lets a client.

use serde_json::Value;

/// One event.
#[derive(Debug)]
pub struct Event {
    /// `event:`, where there is one.
    pub name: Option<String>,
    /// `data:`
    pub data: String,
}

impl Event {
    /// The data as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// All events of a body.
///
/// # Panics
/// When a line is none that we write, the last event is cut, or a carriage return, which would end a
/// line for a client, stands in one.
#[must_use]
pub fn read(body: &str) -> Vec<Event> {
    assert!(
        body.is_empty() || body.ends_with("\n\n"),
        "the last event is cut: {body:?}"
    );
    assert!(!body.contains('\r'), "a carriage return ends a line: {body:?}");
    let events = body.split_terminator("\n\n").filter(|event| *event != ":");
    events
        .map(|event| {
            let (name, data) = match event
                .strip_prefix("event: ")
                .and_then(|rest| rest.split_once('\n'))
            {
                Some((name, data)) => (Some(name.to_owned()), data),
                None => (None, event),
            };
            let data = data
                .strip_prefix("data: ")
                .unwrap_or_else(|| panic!("no data: {event:?}"));
            assert!(!data.contains('\n'), "a line without a field: {event:?}");
            Event {
                name,
                data: data.to_owned(),
            }
        })
        .collect()
}
