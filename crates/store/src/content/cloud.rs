//! Content in a bucket of a cloud, or of anything that speaks as one does.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, RetryConfig};

use super::{ContentError, ContentStore};
use crate::seal::Keyring;

/// Bytes gathered before they are sent as one part: S3 takes no smaller ones, and with these ten thousand parts make 80
/// GB. Each upload under way holds this many.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// A failed request is tried again this often, and not once this much time has passed: the caller gets an answer before
/// it gives up.
const RETRIES: usize = 3;
const RETRIES_LAST: Duration = Duration::from_secs(20);

/// The form of an address, for messages.
const FORM: &str = "an address such as s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX";

/// Why an address is not that of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {FORM}")]
pub struct InvalidBucket;

/// Which cloud.
enum Cloud {
    S3,
    Google,
    Azure,
}

/// Reads an address: the cloud, the bucket in it, and the prefix in that, which may be empty.
fn parse(url: &str) -> Result<(Cloud, &str, Path), InvalidBucket> {
    let (scheme, rest) = url.split_once("://").ok_or(InvalidBucket)?;
    let cloud = match scheme {
        "s3" => Cloud::S3,
        "gs" => Cloud::Google,
        "az" => Cloud::Azure,
        _ => return Err(InvalidBucket),
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if bucket.is_empty() || !bucket.chars().all(is_plain) || !prefix.chars().all(|c| is_plain(c) || c == '/') {
        return Err(InvalidBucket);
    }
    Ok((cloud, bucket, Path::parse(prefix.trim_end_matches('/')).map_err(|_| InvalidBucket)?))
}

fn retries() -> RetryConfig {
    RetryConfig { max_retries: RETRIES, retry_timeout: RETRIES_LAST, ..RetryConfig::default() }
}

impl ContentStore {
    /// Whether an address has the right form.
    ///
    /// # Errors
    /// [`InvalidBucket`].
    pub fn check_bucket(url: &str) -> Result<(), InvalidBucket> {
        parse(url).map(drop)
    }

    /// The content store in a bucket: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`. Credentials,
    /// and other servers that speak the same way, come from the environment, by the names that the clouds' own tools
    /// know: `AWS_…`, `GOOGLE_…`, `AZURE_…`. The bucket is not accessed yet: see [`ContentStore::check`]. `limit`
    /// is the most bytes per piece.
    ///
    /// # Errors
    /// [`ContentError::Bucket`] when the address has another form; [`ContentError::Store`] when the environment has
    /// values that are not valid.
    pub fn bucket(url: &str, limit: u64) -> Result<ContentStore, ContentError> {
        let (cloud, bucket, prefix) = parse(url)?;
        // The first call sets it; every part of the program sets the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let objects: Arc<dyn ObjectStore> = match cloud {
            Cloud::S3 => Arc::new(AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retries()).build()?),
            Cloud::Google => {
                Arc::new(GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(retries()).build()?)
            }
            Cloud::Azure => {
                Arc::new(MicrosoftAzureBuilder::from_env().with_container_name(bucket).with_retry(retries()).build()?)
            }
        };
        Ok(ContentStore::over(objects, prefix, limit))
    }

    /// On any object store, below a prefix.
    pub(super) fn over(objects: Arc<dyn ObjectStore>, prefix: Path, limit: u64) -> ContentStore {
        let objects = Arc::new(PrefixStore::new(objects, prefix));
        ContentStore { objects, incoming: None, part_bytes: PART_BYTES, limit, keyring: Keyring::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_buckets_are_told_from_others() {
        for fine in ["s3://evidence", "s3://evidence/", "gs://my-bucket/a/b", "az://container/longrun/"] {
            assert_eq!(ContentStore::check_bucket(fine), Ok(()), "{fine}");
        }
        for bad in [
            "",
            "evidence",
            "s3:/x",
            "s3://",
            "s3:///x",
            "http://x/y",
            "file:///x",
            "s3://a b",
            "s3://a/b?c=d",
            "s3://k:s@b",
        ] {
            assert_eq!(ContentStore::check_bucket(bad), Err(InvalidBucket), "{bad}");
        }
    }
}
