//! From argv and environment to [`Flags`], finding every problem instead of the first.
//!
//! clap stops at the first mistake, so the mistaken words are noted, taken out, and the rest is read
//! again. What a child gets as it is (see [`crate::flags`]) is read from clap's own matches, so that
//! no flag is spelled a second time.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches};

use crate::flags::{Flags, LaunchFlags, LeftOutFlags, MissingFlags, MootFlags, RouterFlags, ShardFlags};
use crate::problem::{Problem, Problems};

/// What was asked of the launcher.
#[derive(Debug)]
pub enum Asked {
    /// To start.
    Run(Box<Parsed>),
    /// To print this text (help or version) and end.
    Print(String),
}

/// Flags, and what of them travels on unchanged.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The flags.
    pub flags: Flags,
    /// argv of the router's share: every [`RouterFlags`] that has a value.
    pub router_arguments: Vec<OsString>,
    /// argv of the shards' share: every [`ShardFlags`] that has a value.
    pub shard_arguments: Vec<OsString>,
    /// Names of the [`MootFlags`] that were given.
    pub moot: Vec<String>,
    /// Environment names that are spent: no child may read them again.
    pub spent_environment: Vec<OsString>,
    /// What is wrong so far: mistaken words (left out of `flags`) and refused flags.
    pub problems: Vec<Problem>,
}

/// Reads the command line (with the program's name first) and the environment.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, Problems> {
    parse_with(Flags::command(), arguments)
}

/// Reads the command line alone: the environment has no say.
pub fn parse_without_environment(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, Problems> {
    parse_with(
        Flags::command().mut_args(|argument| argument.env(None::<&str>)),
        arguments,
    )
}

fn parse_with(command: Command, arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, Problems> {
    let spent_environment = spent_environment(&command);
    let mut command = without_empty_variables(command);
    let mut words: Vec<OsString> = arguments.into_iter().collect();
    let mut problems = Vec::new();
    let matches = loop {
        let error = match command.clone().try_get_matches_from(&words) {
            Ok(matches) => break Some(matches),
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return Ok(Asked::Print(error.to_string()));
        }
        problems.push(describe(&error));
        match without_mistake(&error, &words, &command) {
            Some((fewer_words, smaller_command)) => (words, command) = (fewer_words, smaller_command),
            None => break None,
        }
    };
    let Some(matches) = matches else {
        return Err(Problems(problems));
    };
    problems.extend(refused(&matches));
    let flags = Flags::from_arg_matches(&matches).map_err(|error| Problems(vec![describe(&error)]))?;
    Ok(Asked::Run(Box::new(Parsed {
        flags,
        router_arguments: passed_on::<RouterFlags>(&matches),
        shard_arguments: passed_on::<ShardFlags>(&matches),
        moot: given::<MootFlags>(&matches),
        spent_environment,
        problems,
    })))
}

/// Containers often set a variable to nothing; that is the same as not setting it.
fn without_empty_variables(command: Command) -> Command {
    command.mut_args(|argument| match argument.get_env().map(std::env::var_os) {
        Some(Some(value)) if value.is_empty() => argument.env(None::<&str>),
        _ => argument,
    })
}

/// The arguments that a group of flags declares.
fn declared<Group: Args>() -> Vec<Arg> {
    Group::augment_args(Command::new("group"))
        .get_arguments()
        .cloned()
        .collect()
}

fn spent_environment(command: &Command) -> Vec<OsString> {
    let surroundings = declared::<crate::flags::Surroundings>();
    command
        .get_arguments()
        .filter(|argument| !surroundings.iter().any(|left| left.get_id() == argument.get_id()))
        .filter_map(|argument| argument.get_env().map(OsStr::to_owned))
        .collect()
}

fn long_name(argument: &Arg) -> String {
    format!(
        "--{}",
        argument.get_long().unwrap_or_else(|| argument.get_id().as_str())
    )
}

/// argv of the group's flags that have a value, given or default.
fn passed_on<Group: Args>(matches: &ArgMatches) -> Vec<OsString> {
    let mut words = Vec::new();
    for argument in declared::<Group>() {
        let id = argument.get_id().as_str();
        if matches!(argument.get_action(), ArgAction::SetTrue) {
            if matches.get_flag(id) {
                words.push(long_name(&argument).into());
            }
        } else if let Ok(Some(value)) = matches.try_get_one::<bool>(id) {
            words.extend([long_name(&argument).into(), value.to_string().into()]);
        } else {
            for value in matches.get_raw(id).into_iter().flatten() {
                words.extend([long_name(&argument).into(), value.to_owned()]);
            }
        }
    }
    words
}

/// Names of the group's flags that were given, on the command line or in the environment.
fn given<Group: Args>(matches: &ArgMatches) -> Vec<String> {
    declared::<Group>()
        .iter()
        .filter(|argument| {
            let id = argument.get_id().as_str();
            let given = matches!(
                matches.value_source(id),
                Some(ValueSource::CommandLine | ValueSource::EnvVariable)
            );
            let off = matches!(argument.get_action(), ArgAction::SetTrue) && !matches.get_flag(id);
            given && !off
        })
        .map(long_name)
        .collect()
}

fn refused(matches: &ArgMatches) -> impl Iterator<Item = Problem> {
    let missing = given::<MissingFlags>(matches)
        .into_iter()
        .map(|flag| Problem::NotSupportedYet { flag });
    let left_out = given::<LeftOutFlags>(matches)
        .into_iter()
        .map(|flag| Problem::NotSupported { flag });
    missing.chain(left_out)
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

/// One clap error as one sentence.
fn describe(error: &clap::Error) -> Problem {
    let flag = context(error, ContextKind::InvalidArg).unwrap_or_default();
    let given = context(error, ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if flag.starts_with('-') => Problem::UnknownFlag {
            given: flag,
            nearest: context(error, ContextKind::SuggestedArg),
        },
        ErrorKind::UnknownArgument => Problem::StrayWord { given: flag },
        ErrorKind::InvalidValue if given.is_empty() => Problem::MissingValue { flag },
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => Problem::BadValue {
            flag,
            given,
            reason: reason(error),
        },
        ErrorKind::ArgumentConflict => Problem::Repeated { flag },
        _ => Problem::Other(error.to_string().trim().trim_start_matches("error: ").to_owned()),
    }
}

fn reason(error: &clap::Error) -> String {
    if let Some(ContextValue::Strings(values)) = error.get(ContextKind::ValidValue) {
        return format!(" (it takes {})", values.join(", "));
    }
    match std::error::Error::source(error) {
        Some(source) => format!(": {source}"),
        None => String::new(),
    }
}

/// The command line (and command) without what the error is about, or nothing when it cannot be found.
fn without_mistake(
    error: &clap::Error,
    words: &[OsString],
    command: &Command,
) -> Option<(Vec<OsString>, Command)> {
    let about = context(error, ContextKind::InvalidArg)?;
    let name = about
        .split([' ', '='])
        .next()?
        .trim_matches(|c| c == '[' || c == ']');
    let argument = command
        .get_arguments()
        .find(|argument| long_name(argument) == name);
    let takes_value = argument.is_none_or(|argument| argument.get_action().takes_values());
    let short = argument
        .and_then(Arg::get_short)
        .map(|letter| format!("-{letter}"));
    let is_it =
        |word: &str| word == name || word.split('=').next() == Some(name) || Some(word) == short.as_deref();
    let mut rest = words.iter().peekable();
    let mut kept: Vec<OsString> = rest.next().into_iter().cloned().collect();
    while let Some(word) = rest.next() {
        let text = word.to_string_lossy();
        if !is_it(&text) && !is_short_with_value(&text, short.as_deref()) {
            kept.push(word.clone());
        } else if takes_value && !text.contains('=') && text.starts_with('-') && is_it(&text) {
            rest.next_if(|next| !next.to_string_lossy().starts_with('-'));
        }
    }
    let has_variable = argument.is_some_and(|argument| argument.get_env().is_some());
    if kept.len() < words.len() {
        return Some((kept, command.clone()));
    }
    let id = argument.filter(|_| has_variable)?.get_id().clone();
    Some((
        kept,
        command.clone().mut_arg(id, |argument| argument.env(None::<&str>)),
    ))
}

/// `-p3000`: a short flag with its value in the same word.
fn is_short_with_value(word: &str, short: Option<&str>) -> bool {
    short.is_some_and(|short| word.starts_with(short) && !word.starts_with("--"))
}

/// The names of all flags, with the group that decides their fate; for tests and documentation.
pub fn fates() -> Vec<(String, &'static str)> {
    let groups = [
        (declared::<LaunchFlags>(), "launcher"),
        (declared::<crate::flags::Surroundings>(), "surroundings"),
        (declared::<RouterFlags>(), "router"),
        (declared::<ShardFlags>(), "shard"),
        (declared::<MootFlags>(), "moot"),
        (declared::<MissingFlags>(), "missing"),
        (declared::<LeftOutFlags>(), "left out"),
    ];
    groups
        .into_iter()
        .flat_map(|(arguments, fate)| {
            arguments
                .into_iter()
                .map(move |argument| (long_name(&argument), fate))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problems(words: &str) -> Vec<String> {
        let words = std::iter::once("shardline-launcher").chain(words.split_whitespace());
        match parse_without_environment(words.map(Into::into)) {
            Ok(Asked::Run(parsed)) => parsed.problems.iter().map(ToString::to_string).collect(),
            Ok(Asked::Print(text)) => vec![text],
            Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn each_mistake_is_one_sentence() {
        let cases = [
            ("--prot 80", "--prot is not a flag; the nearest is --port"),
            ("--prot=80", "--prot is not a flag; the nearest is --port"),
            ("--xyzzy", "--xyzzy is not a flag; --help lists them all"),
            (
                "serve",
                "`serve` belongs to no flag: every setting is written --name value",
            ),
            ("--port", "--port <PORT> needs a value"),
            (
                "-p many",
                "--port <PORT>: `many` is not a value it takes: invalid digit found in string",
            ),
            (
                "--port 1 --port 2",
                "--port <PORT> is given more than once: keep one of them",
            ),
            (
                "--dtype int4",
                "--dtype <DTYPE>: `int4` is not a value it takes (it takes float16, bfloat16, float32)",
            ),
            (
                "--cuda-memory-fraction 1.5",
                "--cuda-memory-fraction <CUDA_MEMORY_FRACTION>: `1.5` is not a value it takes: it must be above 0 \
                 and at most 1",
            ),
            (
                "--num-shard 0",
                "--num-shard <NUM_SHARD>: `0` is not a value it takes: 0 is not in 1..=1024",
            ),
            (
                "--cuda-graphs 1,b",
                "--cuda-graphs <CUDA_GRAPHS>: `1,b` is not a value it takes: it must be whole numbers with commas \
                 between them, such as 1,2,4,8",
            ),
        ];
        for (words, sentence) in cases {
            assert_eq!(problems(words), [sentence], "{words}");
        }
    }

    #[test]
    fn one_mistake_does_not_hide_the_next() {
        let found = problems("--prot 80 -p many --dtype int4 --quantize awq --port");
        assert_eq!(found.len(), 4, "{found:?}");
    }

    #[test]
    fn help_and_version_are_printed() {
        assert!(problems("--help")[0].contains("--max-input-tokens"));
        assert_eq!(
            problems("--version"),
            [format!("shardline-launcher {}\n", env!("CARGO_PKG_VERSION"))]
        );
    }

    #[test]
    fn the_declaration_is_sound() {
        Flags::command().debug_assert();
    }

    proptest! {
        #[test]
        fn no_words_confuse_it(
            words in proptest::collection::vec("(--?[a-z-]{0,12}(=[a-z0-9]{0,3})?|--port|-p|-pX|-e|[a-z0-9]{0,4}|--|--sharded)", 0..8)
        ) {
            let words = std::iter::once("shardline-launcher".to_owned()).chain(words);
            let _ = parse_without_environment(words.map(Into::into));
        }
    }
}
