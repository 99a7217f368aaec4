//! Progress on a terminal for work that may take longer than a second. Nothing is shown elsewhere.

use std::borrow::Cow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A spinner with a message on standard error; vanishes when it is dropped.
#[derive(Debug)]
pub struct Spinner(ProgressBar);

impl Spinner {
    /// Starts the spinner.
    pub fn start(message: impl Into<Cow<'static, str>>) -> Spinner {
        Spinner::with_style(ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}", message)
    }

    /// A progress bar over a number of bytes.
    pub fn bytes(total: u64, message: impl Into<Cow<'static, str>>) -> Spinner {
        Spinner::with_style(ProgressBar::new(total), "{spinner} {msg} {bytes}/{total_bytes} {elapsed}", message)
    }

    fn with_style(bar: ProgressBar, template: &str, message: impl Into<Cow<'static, str>>) -> Spinner {
        // Drawn to a terminal only: indicatif hides a target that is not a terminal.
        bar.set_draw_target(ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
        bar.set_message(message);
        bar.enable_steady_tick(Duration::from_millis(100));
        Spinner(bar)
    }

    /// Changes the message.
    pub fn say(&self, message: impl Into<Cow<'static, str>>) {
        self.0.set_message(message);
    }

    /// Runs something that writes to the terminal while the spinner is hidden.
    pub fn step_aside(&self, write: impl FnOnce()) {
        self.0.suspend(write);
    }

    /// A function that advances the bar by a number of bytes.
    pub fn counter(&self) -> impl Fn(u64) + Clone + Send + Sync + 'static + use<> {
        let bar = self.0.clone();
        move |bytes| bar.inc(bytes)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
