//! The calls about schedules.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::calls::segment;
use crate::client::{Answer, Client};
use crate::error::Error;
use crate::types::{Deleted, NewOperation, OperationAnswer};

/// A schedule to be created; or, without its name, changes to one: fields that are left out keep their values.
///
/// Durations are seconds with an `s`, e.g. `3600s`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleWish {
    /// Its name; given when it is created, and never changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The cron expression, e.g. `0 3 * * *`. Either this or `every`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The interval between due times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// The time zone of `cron`, e.g. `Europe/Berlin`; default: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The operation to create at each due time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<NewOperation>,
    /// `allow`, `skip` or `cancel_previous`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
    /// `none`, `latest` or `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<String>,
    /// The maximum delay of each due time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<String>,
    /// Whether it is paused: it creates nothing until it is resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// A schedule. Strings that are not set are empty; times, RFC 3339, are `None`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// The cron expression, or empty.
    pub cron: String,
    /// The interval between due times, or empty.
    pub every: String,
    /// The time zone of `cron`; empty for UTC.
    pub time_zone: String,
    /// The operation to create at each due time.
    pub operation: Value,
    /// `allow`, `skip` or `cancel_previous`.
    pub overlap: String,
    /// `none`, `latest` or `all`.
    pub catch_up: String,
    /// The maximum delay of each due time.
    pub jitter: String,
    /// Whether it is paused: it creates nothing until it is resumed.
    pub paused: bool,
    /// When it was created.
    pub created_at: Option<String>,
    /// When it was last changed.
    pub updated_at: Option<String>,
    /// The next five due times.
    pub next_times: Vec<String>,
    /// The last due time at which it created an operation.
    pub last_time: Option<String>,
    /// The id of the last operation that it created, or empty.
    pub last_operation: String,
    /// The last due time at which it created none.
    pub last_skipped_time: Option<String>,
    /// Why it could not create an operation the last time, or empty.
    pub last_error: String,
    /// The time of that error.
    pub last_error_time: Option<String>,
}

/// The answer with one schedule.
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
    /// The token for the next page; empty on the last one.
    #[serde(default)]
    pub next_page_token: String,
}

impl Client {
    /// `POST /v1/schedules`.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 6 when the name is already in use.
    pub async fn create_schedule(&self, wish: &ScheduleWish) -> Result<Answer<ScheduleAnswer>, Error> {
        let address = self.address("v1/schedules");
        // Repeating it creates no second one: its name is unique.
        self.call(|| self.http().post(address.clone()).json(wish)).await
    }

    /// `GET /v1/schedules`: one page of them, by name; the first unless the token from the previous page is given.
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

    /// `PATCH /v1/schedules/{name}`: changes the given fields.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn update_schedule(&self, name: &str, wish: &ScheduleWish) -> Result<Answer<ScheduleAnswer>, Error> {
        let address = self.schedule_address(name, "");
        self.call(|| self.http().patch(address.clone()).json(wish)).await
    }

    /// `DELETE /v1/schedules/{name}`; the operations that it created remain.
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

    /// `POST /v1/schedules/{name}:resume`: it continues from now on.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn resume_schedule(&self, name: &str) -> Result<Answer<ScheduleAnswer>, Error> {
        let address = self.schedule_address(name, ":resume");
        self.call(|| self.http().post(address.clone())).await
    }

    /// `POST /v1/schedules/{name}:trigger`: creates its operation immediately. If the answer is lost, it is unknown
    /// whether the operation was created: then check the schedule's `last_operation`.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 9 when it skips overlapping operations, and its last operation has not ended.
    pub async fn trigger_schedule(&self, name: &str) -> Result<Answer<OperationAnswer>, Error> {
        // Not repeated: that might create a second operation.
        self.call_once(self.http().post(self.schedule_address(name, ":trigger"))).await
    }

    fn schedule_address(&self, name: &str, verb: &str) -> reqwest::Url {
        self.address(&format!("v1/schedules/{}{verb}", segment(name)))
    }
}
