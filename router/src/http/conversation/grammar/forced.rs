//! A call that the client wants, whether the model likes it or not.

use crate::http::conversation::grammar::MAX_CALLS;
use crate::http::conversation::grammar::arguments::{head, of_schema};
use crate::http::conversation::tools::Tools;

/// The arguments of one tool and nothing else, as the rule `answer`.
pub(super) fn named(tools: &Tools, name: &str) -> Option<String> {
    let tool = tools.list.iter().find(|tool| tool.name() == name)?;
    Some(format!("answer: {}\n", of_schema(tool)))
}

/// A list of calls, as the rule `answer`. `key`: the arguments' name within a call.
pub(super) fn required(tools: &Tools, key: &str) -> String {
    // An empty range is no range.
    let more = if tools.parallel {
        format!(" (\", \" call){{0,{}}}", MAX_CALLS - 1)
    } else {
        String::new()
    };
    let mut rules = format!("answer: \"[\" call{more} \"]\"\n");
    let names: Vec<String> = (0..tools.list.len())
        .map(|index| format!("call{index}"))
        .collect();
    rules.push_str(&format!("call: {}\n", names.join(" | ")));
    for (index, tool) in tools.list.iter().enumerate() {
        let head = head(tool.name(), key);
        rules.push_str(&format!("call{index}: {head} {} \"}}\"\n", of_schema(tool)));
    }
    rules
}
