//! Compiles the files in `proto/`, without `protoc`.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "longrun/v1/operations.proto",
        "longrun/v1/schedules.proto",
        "longrun/v1/worker.proto",
        "longrun/v1/workers.proto",
        "longrun/v1/evidence.proto",
        "longrun/v1/stats.proto",
        "longrun/v1/tokens.proto",
        "longrun/v1/organizations.proto",
        "longrun/v1/audit.proto",
        "longrun/v1/sessions.proto",
        "longrun/v1/views.proto",
        "longrun/v1/waivers.proto",
        "google/longrunning/operations.proto",
    ];
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}");
    let descriptors = protox::compile(files, [root])?;
    // Servers return these files by reflection.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().build_transport(false).bytes(".").compile_fds(descriptors)?;
    Ok(())
}
