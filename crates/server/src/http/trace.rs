//! The position of a request in a distributed trace.
//!
//! A request with a `traceparent` is a span below it. A request without one begins a trace only when it creates
//! something, so that workers that claim all day and pages that poll leave no traces.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use http::{HeaderMap, Method, StatusCode};
use operations::TraceContext;
use traces::{Kind, Span, Traces, nanos_of};

/// The header of W3C Trace Context.
const TRACEPARENT: &str = "traceparent";

/// The trace of a request, which travels with it as an extension. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct TraceSlot(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    traces: Traces,
    /// The span in the header of the client.
    parent: Option<TraceContext>,
    /// The request itself, once it is known whether it is part of a trace.
    own: OnceLock<Option<TraceContext>>,
    began: SystemTime,
}

impl TraceSlot {
    /// `None` when this server does not record traces.
    pub(super) fn of(traces: &Traces, headers: &HeaderMap) -> Option<TraceSlot> {
        if !traces.is_on() {
            return None;
        }
        // According to the standard, a header that is not valid or given twice counts as missing.
        let mut given = headers.get_all(TRACEPARENT).into_iter();
        let parent = match (given.next(), given.next()) {
            (Some(one), None) => one.to_str().ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        let own = OnceLock::new();
        Some(TraceSlot(Arc::new(Inner { traces: traces.clone(), parent, own, began: SystemTime::now() })))
    }

    /// The span below which the operations that this request creates belong, if any: that of the request.
    pub(crate) fn context(&self) -> Option<TraceContext> {
        *self.0.own.get_or_init(|| self.0.traces.below(self.0.parent))
    }

    /// Sends the request's span, when it has been answered.
    pub(super) fn end(&self, method: &Method, route: &str, status: StatusCode) {
        let Inner { traces, parent, own, began } = &*self.0;
        if !traces.are_exported() || (parent.is_none() && own.get().is_none()) {
            return;
        }
        let Some(context) = self.context() else { return };
        traces.send(Span {
            context,
            parent: parent.map(|parent| parent.span_id()),
            name: format!("{method} {route}"),
            kind: Kind::Server,
            start: nanos_of(*began),
            end: nanos_of(SystemTime::now()),
            attributes: vec![
                ("http.request.method", method.as_str().into()),
                ("http.route", route.into()),
                ("http.response.status_code", u32::from(status.as_u16()).into()),
            ],
            failed: status.is_server_error(),
        });
    }
}
