use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use audit_core::{Error, ErrorKind, Result};
use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};
use tower_service::Service;

use super::exchange::{Exchange, Open};
use super::layer::Shared;

/// What [`AuditLayer`](super::AuditLayer) makes of a service.
#[derive(Clone)]
pub struct AuditService<S> {
    pub(super) inner: S,
    pub(super) shared: Arc<Shared>,
}

impl<S, A, B> Service<Request<A>> for AuditService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Default,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = AuditFuture<S::Future, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let open = self.shared.begin(&Exchange {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        });
        if let Some(open) = &open {
            request.extensions_mut().insert(open.audit());
        }
        let waits = self.shared.emitter.waits();
        AuditFuture { inner: self.inner.call(request), open, waits, sending: None }
    }
}

impl<S> fmt::Debug for AuditService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditService")
    }
}

pin_project! {
    /// The future of an [`AuditService`].
    pub struct AuditFuture<F, B> {
        #[pin]
        inner: F,
        open: Option<Open>,
        waits: bool,
        sending: Option<(JoinHandle<Result<()>>, Option<Response<B>>)>,
    }
}

impl<F, B, E> Future for AuditFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some((task, response)) = this.sending {
            let sent = ready!(Pin::new(task).poll(context));
            return Poll::Ready(Ok(answer(flat(sent), response.take().unwrap_or_default())));
        }
        if let Some(open) = this.open.as_mut() {
            open.in_handler = true;
        }
        let polled = this.inner.poll(context);
        if let Some(open) = this.open.as_mut() {
            open.in_handler = false;
        }
        let result = ready!(polled);
        let Some(open) = this.open.take() else { return Poll::Ready(result) };
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                open.failed();
                if let Err(error) = open.send() {
                    tracing::error!(%error, "the audit record of a request was not taken");
                }
                return Poll::Ready(Err(error));
            }
        };
        let (parts, body) = response.into_parts();
        open.answered(&parts);
        let response = Response::from_parts(parts, body);
        let runtime = if *this.waits { Handle::try_current().ok() } else { None };
        let Some(runtime) = runtime else {
            return Poll::Ready(Ok(answer(open.send(), response)));
        };
        // An emitter that waits must not hold up other requests. If the runtime ends before the task
        // runs, the record is sent when the task is dropped.
        let task = runtime.spawn_blocking(move || open.send());
        let (task, response) = this.sending.insert((task, Some(response)));
        let sent = ready!(Pin::new(task).poll(context));
        Poll::Ready(Ok(answer(flat(sent), response.take().unwrap_or_default())))
    }
}

fn flat(sent: Result<Result<()>, JoinError>) -> Result<()> {
    sent.unwrap_or_else(|e| {
        Err(Error::new(ErrorKind::Unexpected, "the audit record was not sent").because(e))
    })
}

/// No answer without a record.
fn answer<B: Default>(sent: Result<()>, response: Response<B>) -> Response<B> {
    let Err(error) = sent else { return response };
    tracing::error!(%error, "the audit record of a request was not taken");
    let mut refused = Response::new(B::default());
    *refused.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    refused
}

impl<F, B> fmt::Debug for AuditFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditFuture")
    }
}
