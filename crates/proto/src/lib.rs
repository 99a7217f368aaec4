//! The messages and services of longrun's gRPC API, generated from the files in `proto/` at the root of the repository,
//! which describe them.

/// `longrun.v1`.
pub mod longrun {
    /// `longrun.v1`.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("longrun.v1");
    }
}

/// Definitions of other APIs.
pub mod google {
    /// `google.rpc`.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }

    /// `google.longrunning`.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod longrunning {
        tonic::include_proto!("google.longrunning");
    }
}

/// All files, as servers return them by reflection: an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
