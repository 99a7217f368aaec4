//! Measurements bypass the seal: they have no texts.

use async_trait::async_trait;
use meters::Meters;

use super::Sealed;
use crate::StoreError;
use crate::measured::{Measured, Standings};

#[async_trait]
impl Measured for Sealed {
    fn meters(&self) -> Meters {
        self.inner.meters()
    }

    async fn standings(&self) -> Result<Standings, StoreError> {
        self.inner.standings().await
    }
}
