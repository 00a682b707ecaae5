//! What the machine has: cores and GPUs.

use std::process::{Command, Stdio};

use crate::flags::Surroundings;

/// Cores and GPUs that the shards may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Devices {
    /// Cores this process may run on, affinity and control group considered; at least 1.
    pub cores: u32,
    /// GPUs that the environment names, if it does.
    pub gpus: Option<VisibleGpus>,
}

/// How many GPUs a variable names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisibleGpus {
    /// How many.
    pub count: u32,
    /// The variable that says so.
    pub variable: &'static str,
}

impl Devices {
    /// Looks at the machine.
    pub fn of_this_machine(surroundings: &Surroundings) -> Self {
        let cores =
            std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
        Self {
            cores,
            gpus: visible_gpus(surroundings, installed_gpus),
        }
    }

    /// Visible GPUs, 0 when no variable names them.
    pub fn gpu_count(&self) -> u32 {
        self.gpus.map_or(0, |gpus| gpus.count)
    }
}

/// The GPUs that `CUDA_VISIBLE_DEVICES`, or else `NVIDIA_VISIBLE_DEVICES`, names. `installed` counts
/// the machine's and is asked only where the variable says `all` or `void`.
pub fn visible_gpus(surroundings: &Surroundings, installed: impl FnOnce() -> u32) -> Option<VisibleGpus> {
    if let Some(list) = &surroundings.cuda_visible_devices {
        // CUDA reads the list up to the first entry that names no device.
        let names = |entry: &&str| !entry.is_empty() && !entry.starts_with('-') && *entry != "NoDevFiles";
        let count = list.split(',').map(str::trim).take_while(names).count();
        return Some(VisibleGpus {
            count: u32::try_from(count).unwrap_or(0),
            variable: "CUDA_VISIBLE_DEVICES",
        });
    }
    let list = surroundings.nvidia_visible_devices.as_deref()?;
    let count = match list.trim() {
        "all" | "void" => installed(),
        "none" => 0,
        list => u32::try_from(list.split(',').filter(|entry| !entry.trim().is_empty()).count()).unwrap_or(0),
    };
    Some(VisibleGpus {
        count,
        variable: "NVIDIA_VISIBLE_DEVICES",
    })
}

/// GPUs that `nvidia-smi` lists, 0 where it is not installed.
fn installed_gpus() -> u32 {
    let listing = Command::new("nvidia-smi")
        .arg("--list-gpus")
        .stdin(Stdio::null())
        .output();
    listing.map_or(0, |listing| {
        let text = String::from_utf8_lossy(&listing.stdout);
        u32::try_from(text.lines().filter(|line| line.starts_with("GPU ")).count()).unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(cuda: Option<&str>, nvidia: Option<&str>) -> Option<(u32, &'static str)> {
        let surroundings = Surroundings {
            cuda_visible_devices: cuda.map(str::to_owned),
            nvidia_visible_devices: nvidia.map(str::to_owned),
            omp_num_threads: None,
            omp_wait_policy: None,
        };
        visible_gpus(&surroundings, || 8).map(|gpus| (gpus.count, gpus.variable))
    }

    #[test]
    fn cuda_visible_devices_comes_first_and_ends_at_the_first_that_is_none() {
        assert_eq!(
            seen(Some("0,1,2"), Some("all")),
            Some((3, "CUDA_VISIBLE_DEVICES"))
        );
        assert_eq!(
            seen(Some("GPU-8932f937, 1"), None),
            Some((2, "CUDA_VISIBLE_DEVICES"))
        );
        assert_eq!(seen(Some("0,-1,2"), None), Some((1, "CUDA_VISIBLE_DEVICES")));
        assert_eq!(seen(Some(""), Some("all")), Some((0, "CUDA_VISIBLE_DEVICES")));
    }

    #[test]
    fn a_containers_share_is_counted_by_nvidia_smi_when_it_names_none() {
        assert_eq!(seen(None, Some("all")), Some((8, "NVIDIA_VISIBLE_DEVICES")));
        assert_eq!(seen(None, Some("void")), Some((8, "NVIDIA_VISIBLE_DEVICES")));
        assert_eq!(seen(None, Some("none")), Some((0, "NVIDIA_VISIBLE_DEVICES")));
        assert_eq!(seen(None, Some("2,3")), Some((2, "NVIDIA_VISIBLE_DEVICES")));
        assert_eq!(seen(None, None), None);
    }
}
