//! Where the programs of the group are.

use std::path::{Path, PathBuf};

use crate::flags::LaunchFlags;
use crate::plan::Programs;
use crate::problem::{Problem, Problems};

impl Programs {
    /// Finds them beside the launcher's own program or in the folders of PATH, unless flags name them.
    pub fn find(flags: &LaunchFlags) -> Result<Self, Problems> {
        let own_folder = std::env::current_exe()
            .ok()
            .and_then(|path| path.parent().map(Path::to_owned));
        let search_path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = own_folder
            .clone()
            .into_iter()
            .chain(std::env::split_paths(&search_path))
            .collect();
        let find = |given: &Option<PathBuf>, name: &'static str| match given {
            Some(path) => Ok(path.clone()),
            None => find_in(&folders, name).ok_or_else(|| Problem::NoProgram {
                name,
                beside: own_folder.clone().unwrap_or_default(),
            }),
        };
        let router = find(&flags.router_program, "shardline-router");
        let shard = find(&flags.shard_program, "shardline-server");
        match (router, shard) {
            (Ok(router), Ok(shard)) => Ok(Self { router, shard }),
            (router, shard) => Err(Problems(router.err().into_iter().chain(shard.err()).collect())),
        }
    }
}

fn find_in(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
