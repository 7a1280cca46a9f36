//! The signals that end a program in order, either of the two.

use crate::client::event::{Event, Report};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Listens for the signals from the moment of the call on: before, they would end the process at once.
pub fn stop_on_signal(
    stopper: watch::Sender<bool>,
    events: &'static dyn Report,
) -> impl Future<Output = ()> + Send + 'static {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else { return };
        let why = tokio::select! {
            _ = interrupt.recv() => "interrupted",
            _ = terminate.recv() => "told to end",
        };
        events.event(Event::Stopping { why: why.to_owned() });
        stopper.send_replace(true);
        // Hold the channel: dropping it would look like another stop.
        std::future::pending::<()>().await;
    }
}
