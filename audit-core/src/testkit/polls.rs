use std::future::Future;
use std::pin::pin;
use std::task::Poll;

/// Polls a future until it is ready or was pending `pendings` times, then drops it there.
pub(super) async fn poll_times<T>(future: impl Future<Output = T>, pendings: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = pendings;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => {
                left -= 1;
                if left == 0 { Poll::Ready(None) } else { Poll::Pending }
            }
        }
    })
    .await
}
