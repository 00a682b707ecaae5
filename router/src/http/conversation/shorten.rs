//! Which messages are left out of a conversation when not all of them fit.
//!
//! Instructions stay. Of the others the oldest ones go, up to a user's message: an answer without its
//! question says little. When not even the last question fits with all that came of it, the model's
//! own steps go too, each together with the results of its calls.

use serde_json::Value;

use crate::http::conversation::types::Message;
use crate::http::conversation::validate::Conversation;
use crate::http::error::ApiError;

/// Tries the whole conversation, then leaves out as few messages as possible.
///
/// # Errors
/// As `attempt` on the whole conversation; when it is too long, as on the shortest one.
pub(super) fn fitting<T>(
    conversation: &Conversation,
    mut attempt: impl FnMut(Conversation) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let mut refusal = match attempt(conversation.clone()) {
        Err(error @ ApiError::TooLong { .. }) => error,
        done => return done,
    };
    let begins = beginnings(&conversation.messages);
    let mut found = None;
    let (mut low, mut high) = (1, begins.len());
    while low < high {
        let middle = low.midpoint(high);
        match attempt(from(conversation, begins[middle])) {
            Ok(done) => {
                found = Some(done);
                high = middle;
            }
            Err(error) => {
                match error {
                    ApiError::TooLong { .. } => refusal = error,
                    // Some templates want a user's message first.
                    ApiError::Template { .. } => {}
                    error => return Err(error),
                }
                low = middle + 1;
            }
        }
    }
    found.ok_or(refusal)
}

/// Where a shortened conversation may begin; the first place is that of the whole one.
fn beginnings(messages: &[Message]) -> Vec<usize> {
    let last_question = messages.iter().rposition(|message| role(message) == "user");
    let fits = |(place, message): (usize, &Message)| {
        let begins = match role(message) {
            "user" => true,
            "assistant" => last_question.is_none_or(|last| place > last),
            _ => false,
        };
        begins.then_some(place)
    };
    let first = messages
        .iter()
        .position(|message| !instructs(message))
        .unwrap_or(0);
    let later = messages.iter().enumerate().skip(first + 1).filter_map(fits);
    std::iter::once(first).chain(later).collect()
}

fn from(conversation: &Conversation, begin: usize) -> Conversation {
    let messages = conversation.messages.iter().enumerate();
    Conversation {
        messages: messages
            .filter(|(place, message)| *place >= begin || instructs(message))
            .map(|(_, message)| message.clone())
            .collect(),
        ..conversation.clone()
    }
}

fn instructs(message: &Message) -> bool {
    ["system", "developer"].contains(&role(message))
}

fn role(message: &Message) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::http::conversation::validate::Opening;

    /// A letter a message: System, Developer, User, Assistant, Tool.
    fn conversation(roles: &str) -> Conversation {
        let message = |letter: char| {
            let role = match letter {
                'S' => "system",
                'D' => "developer",
                'U' => "user",
                'A' => "assistant",
                _ => "tool",
            };
            Map::from_iter([("role".to_owned(), json!(role))])
        };
        Conversation::new(
            roles.chars().map(message).collect(),
            None,
            Map::new(),
            Opening::Fresh,
        )
        .unwrap()
    }

    fn letters(conversation: &Conversation) -> String {
        let letter = |message: &Message| role(message)[..1].to_uppercase();
        conversation.messages.iter().map(letter).collect()
    }

    fn too_long(messages: usize) -> ApiError {
        ApiError::TooLong {
            param: "input",
            message: format!("{messages} messages"),
        }
    }

    /// What is left of `roles` when `most` messages fit.
    fn left(roles: &str, most: usize) -> Result<String, String> {
        let whole = conversation(roles);
        let left = fitting(&whole, |conversation| match conversation.messages.len() {
            given if given > most => Err(too_long(given)),
            _ => Ok(letters(&conversation)),
        });
        left.map_err(|error| error.to_string())
    }

    #[test]
    fn what_fits_is_left_alone() {
        assert_eq!(left("SUAUA", 5).unwrap(), "SUAUA");
    }

    #[test]
    fn a_question_goes_together_with_its_answer_and_instructions_stay() {
        assert_eq!(left("SUAUAU", 5).unwrap(), "SUAU");
        assert_eq!(left("SUAUAU", 3).unwrap(), "SU");
        assert_eq!(left("SUADATATU", 3).unwrap(), "SDU");
    }

    #[test]
    fn the_last_question_goes_before_what_came_of_it() {
        assert_eq!(left("UATATTAT", 8).unwrap(), "UATATTAT");
        assert_eq!(left("UATATTAT", 7).unwrap(), "ATATTAT");
        assert_eq!(left("UATATTAT", 4).unwrap(), "AT");
    }

    #[test]
    fn the_refusal_is_that_of_the_shortest_one() {
        assert_eq!(left("SUAUAU", 1).unwrap_err(), "2 messages");
        assert_eq!(left("U", 0).unwrap_err(), "1 messages");
    }

    #[test]
    fn as_little_as_possible_is_left_out_in_few_attempts() {
        let whole = conversation(&"UA".repeat(500));
        for most in [2, 3, 500, 999] {
            let mut attempts = 0;
            let left = fitting(&whole, |conversation| {
                attempts += 1;
                match conversation.messages.len() {
                    given if given > most => Err(too_long(given)),
                    given => Ok(given),
                }
            });
            assert_eq!(left.unwrap(), most / 2 * 2);
            assert!(attempts <= 11, "{attempts}");
        }
    }

    #[test]
    fn a_template_that_refuses_a_beginning_gets_another_one() {
        let whole = conversation("UATAT");
        let left = fitting(&whole, |conversation| match letters(&conversation).as_str() {
            "UATAT" => Err(too_long(5)),
            "ATAT" => Err(ApiError::Template {
                message: "no".to_owned(),
            }),
            letters => Ok(letters.to_owned()),
        });
        assert_eq!(left.unwrap(), "AT");
    }

    #[test]
    fn other_errors_end_the_search() {
        let left = fitting(&conversation("UAU"), |_| Err::<(), _>(ApiError::missing("x")));
        assert!(matches!(left, Err(ApiError::Invalid { .. })));
    }
}
