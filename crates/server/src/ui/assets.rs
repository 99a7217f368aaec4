//! The style sheet and the scripts of the page, compiled in.
//!
//! Their address contains a digest of their content, so that browsers can cache them permanently and a new version of
//! the server has new addresses.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, VARY};
use sha2::{Digest, Sha256};

use super::respond::{gzip, takes_gzip};
use crate::error::ApiError;

/// Name, type and content.
const FILES: [(&str, &str, &[u8]); 6] = [
    ("page.css", "text/css; charset=utf-8", include_bytes!("../../assets/page.css")),
    ("lists.css", "text/css; charset=utf-8", include_bytes!("../../assets/lists.css")),
    ("overview.css", "text/css; charset=utf-8", include_bytes!("../../assets/overview.css")),
    ("page.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/page.js")),
    ("overview.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/overview.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("../../assets/icon.svg")),
];

/// The digest of all of them, and each compressed.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    FILES.iter().for_each(|(_, _, content)| digest.update(content));
    digest.finalize().iter().take(6).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a text takes everything");
        text
    })
});
static COMPRESSED: LazyLock<[Bytes; FILES.len()]> =
    LazyLock::new(|| FILES.map(|(_, _, content)| gzip(content, Compression::best())));

/// For templates: the addresses of the files.
#[derive(Clone, Copy)]
pub(super) struct Assets;

impl Assets {
    /// The address of a file.
    pub(super) fn url(self, name: &str) -> String {
        format!("/ui/assets/{}/{name}", *VERSION)
    }
}

/// `GET /ui/assets/{version}/{name}`. Open to everybody: they contain no data.
pub(super) async fn asset(Path((_, name)): Path<(String, String)>, headers: HeaderMap) -> Result<Response, ApiError> {
    let index = FILES.iter().position(|(known, _, _)| *known == name).ok_or(ApiError::NotFound("path"))?;
    let (_, content_type, content) = FILES[index];
    // Also at the address of an old version: a page of another server of the same installation may request it during an
    // update.
    let head = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (VARY, "accept-encoding"),
    ];
    if takes_gzip(&headers) {
        return Ok((head, [(CONTENT_ENCODING, "gzip")], COMPRESSED[index].clone()).into_response());
    }
    Ok((head, content).into_response())
}
