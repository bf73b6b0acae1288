//! A cache that several machines share: where it is, and what this machine may do there.

/// A cache that several machines share.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedCacheSettings {
    /// `https://host/path`, `http://…`, or `s3://bucket/path`, with `?region=…` and `&endpoint=https://…` where they are
    /// not Amazon's usual ones.
    pub address: String,
    /// Whether what this machine fetched and worked out is put there.
    pub write: bool,
    /// The key that the machines share: without it only downloads are taken and given.
    pub key: Option<Vec<u8>>,
    /// Who this machine is for an S3-compatible store; nobody in particular if it is public.
    pub credentials: Option<S3Credentials>,
}

/// What an S3-compatible store knows a client by.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Credentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret: String,
    /// `AWS_SESSION_TOKEN`.
    pub token: Option<String>,
}

/// Without the secrets.
impl std::fmt::Debug for SharedCacheSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address = crate::fetch::without_credentials(&self.address);
        f.debug_struct("SharedCacheSettings")
            .field("address", &address)
            .field("write", &self.write)
            .finish_non_exhaustive()
    }
}

/// Without the secrets.
impl std::fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Credentials").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}
