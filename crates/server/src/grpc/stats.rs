//! `longrun.v1.StatsService`.

use operations::Durations;
use proto::longrun::v1 as wire;
use proto::longrun::v1::stats_service_server::StatsService;
use tonic::{Request, Response, Status};

use super::{Call, Face, call, convert};
use crate::calls::stats::{self, GetStats};
use crate::strict::Read;

#[tonic::async_trait]
impl StatsService for Face {
    async fn get_stats(
        &self,
        request: Request<wire::GetStatsRequest>,
    ) -> Result<Response<wire::GetStatsResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let mut violations = Vec::new();
        let mut time = |field, given| Some(convert::given_timestamp(field, given, &mut violations)?.to_string());
        let (from, to) = (time("from", asked.from), time("to", asked.to));
        let value = GetStats { from, to, step: asked.step, group_by: asked.group_by, kind: asked.kind };
        let stats = stats::stats(&self.0, &caller, Read { value, violations }).await?;
        let points = stats.answer.points.into_iter().map(|point| wire::StatsPoint {
            start: Some(convert::timestamp(point.start)),
            kind: point.kind,
            created: point.counts.created,
            started: point.counts.started,
            completed: point.counts.completed,
            failed: point.counts.failed,
            waiting: Some(durations(&point.counts.waiting)),
            running: Some(durations(&point.counts.running)),
        });
        Ok(Response::new(wire::GetStatsResponse {
            step: stats.request.step.name().to_owned(),
            start: Some(convert::timestamp(stats.request.step.start(stats.request.from))),
            end: Some(convert::timestamp(stats.request.to)),
            available_since: stats.answer.available_since.map(convert::timestamp),
            complete_until: stats.answer.complete_until.map(convert::timestamp),
            lag_ms: stats.lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
            points: points.collect(),
        }))
    }
}

fn durations(durations: &Durations) -> wire::StatsDurations {
    let [p50_ms, p90_ms, p99_ms] = [50, 90, 99].map(|percent| durations.quantile_ms(percent));
    wire::StatsDurations { count: durations.count(), sum_ms: durations.sum_ms(), p50_ms, p90_ms, p99_ms }
}
