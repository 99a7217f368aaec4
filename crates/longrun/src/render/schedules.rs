//! Schedules as tables.

use std::io;

use longrun_client::{Schedule, ScheduleAnswer, SchedulePage};

use super::{Answer, Column, Style, printable, table};

fn when(schedule: &Schedule) -> String {
    match (schedule.every.as_str(), schedule.time_zone.as_str()) {
        ("", "") => format!("{} (UTC)", schedule.cron),
        ("", zone) => format!("{} ({zone})", schedule.cron),
        (every, _) => format!("every {every}"),
    }
}

fn listed<'a>(style: Style, schedules: impl IntoIterator<Item = &'a Schedule>) -> String {
    let rows = schedules.into_iter().map(|schedule| {
        let next = match schedule.next_times.first() {
            _ if schedule.paused => "paused".to_owned(),
            Some(next) => style.when(next),
            None => "never".to_owned(),
        };
        let kind = schedule.operation["kind"].as_str().unwrap_or_default().to_owned();
        let last = style.when(schedule.last_time.as_deref().unwrap_or_default());
        [schedule.name.clone(), when(schedule), kind, next, last, schedule.last_error.clone()]
    });
    let columns = [
        Column::whole("NAME"),
        Column::shortened("WHEN", 12),
        Column::shortened("KIND", 10),
        Column::whole("NEXT"),
        Column::whole("LAST").dropped(2),
        Column::shortened("LAST ERROR", 12).dropped(1),
    ];
    table(style, columns, rows)
}

impl Answer for longrun_client::Answer<SchedulePage> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        if self.value.schedules.is_empty() { "no schedules\n".to_owned() } else { listed(style, &self.value.schedules) }
    }

    fn ids(&self) -> Vec<String> {
        self.value.schedules.iter().map(|schedule| schedule.name.clone()).collect()
    }
}

impl Answer for longrun_client::Answer<ScheduleAnswer> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    /// All fields, one per line, since there is only one schedule.
    fn table(&self, _: Style) -> String {
        let Schedule { name, operation, overlap, catch_up, jitter, paused, .. } = &self.value.schedule;
        let schedule = &self.value.schedule;
        let mut lines = vec![
            ("name", name.clone()),
            ("when", when(schedule)),
            ("creates", operation.to_string()),
            ("overlap", overlap.clone()),
            ("catch-up", catch_up.clone()),
            ("jitter", jitter.clone()),
            ("paused", if *paused { "yes" } else { "no" }.to_owned()),
            ("next", schedule.next_times.join("  ")),
        ];
        let optional = [
            ("last time", schedule.last_time.clone().unwrap_or_default()),
            ("last operation", schedule.last_operation.clone()),
            ("last skipped", schedule.last_skipped_time.clone().unwrap_or_default()),
            ("last error", schedule.last_error.clone()),
        ];
        lines.extend(optional.into_iter().filter(|(_, text)| !text.is_empty()));
        lines.iter().map(|(field, text)| format!("{field:<16}{}\n", printable(text))).collect()
    }

    fn ids(&self) -> Vec<String> {
        vec![self.value.schedule.name.clone()]
    }
}
