//! The calls about schedules.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::calls::segment;
use crate::client::{Answer, Client};
use crate::error::Error;
use crate::types::{Deleted, NewOperation, OperationAnswer};

/// A schedule to be made; or, without its name, the changes to one: fields that are left out stay as they are.
///
/// Durations are seconds with an `s`, e.g. `3600s`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleWish {
    /// What it is called by; given when it is made, and never changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it is due, e.g. `0 3 * * *`. Either this or `every`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Every how long it is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// The time zone of `cron`, e.g. `Europe/Berlin`; UTC unless it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What is created each time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<NewOperation>,
    /// `allow`, `skip` or `cancel_previous`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
    /// `none`, `latest` or `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<String>,
    /// By up to how long each due time is put off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<String>,
    /// It creates nothing until it is resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// A schedule. Strings that are not set are empty; times, RFC 3339, are `None`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Schedule {
    /// What it is called by.
    pub name: String,
    /// When it is due, or empty.
    pub cron: String,
    /// Every how long it is due, or empty.
    pub every: String,
    /// The time zone of `cron`; empty for UTC.
    pub time_zone: String,
    /// What is created each time.
    pub operation: Value,
    /// `allow`, `skip` or `cancel_previous`.
    pub overlap: String,
    /// `none`, `latest` or `all`.
    pub catch_up: String,
    /// By up to how long each due time is put off.
    pub jitter: String,
    /// It creates nothing until it is resumed.
    pub paused: bool,
    /// When it was made.
    pub created_at: Option<String>,
    /// When it was changed last.
    pub updated_at: Option<String>,
    /// The next five due times.
    pub next_times: Vec<String>,
    /// The last due time that has created an operation.
    pub last_time: Option<String>,
    /// The id of the last operation that it has created, or empty.
    pub last_operation: String,
    /// The last due time that has created none.
    pub last_skipped_time: Option<String>,
    /// Why nothing could be created the last time, or empty.
    pub last_error: String,
    /// When that was.
    pub last_error_time: Option<String>,
}

/// The answer that holds a schedule.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ScheduleAnswer {
    /// The schedule.
    pub schedule: Schedule,
}

/// One page of schedules.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SchedulePage {
    /// By name.
    pub schedules: Vec<Schedule>,
    /// The token to ask for the next page with; empty at the end.
    #[serde(default)]
    pub next_page_token: String,
}

impl Client {
    /// `POST /v1/schedules`.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 6 when there is one of this name.
    pub async fn create_schedule(&self, wish: &ScheduleWish) -> Result<Answer<ScheduleAnswer>, Error> {
        let address = self.address("v1/schedules");
        // Not made twice: its name is unique.
        self.call(|| self.http().post(address.clone()).json(wish)).await
    }

    /// `GET /v1/schedules`: one page of them, by name; the first unless the token of the page before is given.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn schedules(&self, page_token: &str) -> Result<Answer<SchedulePage>, Error> {
        let mut address = self.address("v1/schedules");
        if !page_token.is_empty() {
            address.query_pairs_mut().append_pair("page_token", page_token);
        }
        self.call(|| self.http().get(address.clone())).await
    }

    /// `GET /v1/schedules/{name}`.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when there is no such schedule. The same holds for the calls below.
    pub async fn schedule(&self, name: &str) -> Result<Answer<ScheduleAnswer>, Error> {
        let address = self.schedule_address(name, "");
        self.call(|| self.http().get(address.clone())).await
    }

    /// `PATCH /v1/schedules/{name}`: changes what is given.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn update_schedule(&self, name: &str, wish: &ScheduleWish) -> Result<Answer<ScheduleAnswer>, Error> {
        let address = self.schedule_address(name, "");
        self.call(|| self.http().patch(address.clone()).json(wish)).await
    }

    /// `DELETE /v1/schedules/{name}`; what it has created stays.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn delete_schedule(&self, name: &str) -> Result<Answer<Deleted>, Error> {
        let address = self.schedule_address(name, "");
        self.call(|| self.http().delete(address.clone())).await
    }

    /// `POST /v1/schedules/{name}:pause`: it creates nothing until it is resumed.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn pause_schedule(&self, name: &str) -> Result<Answer<ScheduleAnswer>, Error> {
        let address = self.schedule_address(name, ":pause");
        self.call(|| self.http().post(address.clone())).await
    }

    /// `POST /v1/schedules/{name}:resume`: it goes on from now.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn resume_schedule(&self, name: &str) -> Result<Answer<ScheduleAnswer>, Error> {
        let address = self.schedule_address(name, ":resume");
        self.call(|| self.http().post(address.clone())).await
    }

    /// `POST /v1/schedules/{name}:trigger`: creates its operation now. Whether it did is not known when the answer is
    /// lost: then look at the schedule's `last_operation`.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 9 when it skips what overlaps, and its last operation has not ended.
    pub async fn trigger_schedule(&self, name: &str) -> Result<Answer<OperationAnswer>, Error> {
        // Not repeated: it might create a second one.
        self.call_once(self.http().post(self.schedule_address(name, ":trigger"))).await
    }

    fn schedule_address(&self, name: &str, verb: &str) -> reqwest::Url {
        self.address(&format!("v1/schedules/{}{verb}", segment(name)))
    }
}
